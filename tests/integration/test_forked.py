"""A command that is forked is to its test what one that Python starts is."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.helpers import forked
from tests.helpers.forked import Command

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("variables", [{}, {"PYTHONUTF8": "1"}], ids=["forked", "started"])
def test_words_folder_variables_output_and_exit_code_are_those_of_a_start(
    variables: dict[str, str], tmp_path: Path
) -> None:
    # given settings in a folder and in a variable
    (tmp_path / "here.toml").write_text('[kafka]\ngroup = "of the file"\n')
    environment = {**os.environ, "WHEELTAPPER_TOPICS__PREFIX": "of-the-variable.", **variables}
    # when a command shows them, and another one is wrong
    words = ["config", "show", "--config", "here.toml"]
    shown = forked.run(words, text=True, timeout=120, cwd=tmp_path, env=environment)
    wrong = forked.run(["config", "shw"], text=True, timeout=120, env=environment)
    # then both were found, and the exit code tells of the wrong one
    assert shown.returncode == 0, shown.stderr
    assert "of the file" in shown.stdout
    assert "of-the-variable." in shown.stdout
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'show'?" in wrong.stderr


def test_it_is_a_child_that_can_be_killed_and_whose_cpu_time_counts() -> None:
    # given a command that waits for its input
    process = Command(
        ["record", "--stdin", "--machine", "m", "--rate", "8000", "--brokers", "127.0.0.1:1"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    status = Path(f"/proc/{process.pid}/status").read_text()
    # then it is this process' child, in a session of its own
    assert f"\nPPid:\t{os.getpid()}\n" in status
    assert os.getsid(process.pid) == process.pid
    # when it is killed: then its exit code says so, and nothing is left of it
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process.kill()
    assert process.wait(60) == -9
    process.communicate()
    assert not Path(f"/proc/{process.pid}").exists()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime > before.ru_utime + before.ru_stime
