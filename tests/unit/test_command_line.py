"""The command line: mistakes are one line with the name that was meant, closed pipes are no fault, shells complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wheeltapper
from tests.helpers.covering import covering
from wheeltapper.cli import COMMANDS, main
from wheeltapper.completion import SHELLS, shell_code

CHECKOUT = Path(wheeltapper.__file__).parents[1]


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a wrong command line: one line, and exit code 2."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1, said.err
    return said.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'?"),
        (["dead_letters", "tail"], "did you mean 'dead-letters'?"),
        (["topics", "ceate"], "did you mean 'create'?"),
        (["alerts", "--sicne", "2h"], "did you mean '--since'?"),
        (["train", "pca", "--datset", "simulated", "--out", "x"], "did you mean '--dataset'?"),
        (["train", "pca", "--dataset", "Simulatd", "--out", "x"], "did you mean 'simulated'?"),
        (["train", "range_band", "--dataset", "simulated", "--entity", "pump-1", "--out", "x"], "did you mean 'range-bands'?"),
        (["train", "pca", "--dataset", "simulated", "--entity", "pmup-1", "--out", "x"], "pump-1"),
        (["train", "pca", "--dataset", "simulated", "--entity", "pump-1", "--out", "x", "--set", "windw=3"], "did you mean 'window'?"),
        (["train", "auto", "--dataset", "simulated", "--entity", "pump-1", "--out", "x", "--kind", "process plnt"], "did you mean 'process plant'?"),
        (["config", "show", "treshold"], "did you mean 'threshold'?"),
        (["config", "show", "kafka.broker"], "did you mean 'kafka.brokers'?"),
        (["dead-letters", "tail", "--reason", "no-rout"], "did you mean 'no-route'?"),
        (["dead-letters", "replay"], "--all"),
        (["dead-letters", "tail", "--all"], "goes with replay"),
        (["alerts", "--severity", "101"], "from 0 to 100"),
        (["label", "--alert", "3f6a21d0", "--answer", "normal"], "false, right, unsure"),
        (["label", "--request", "3f6a21d0", "--answer", "right"], "normal, anomalous, unsure"),
        (["label", "--alert", "3f6a21d0"], "--answer goes with"),
        (["scores", "tail", "--limit", "0"], "1 or more"),
        (["alerts", "a\nb"], "does not know a b"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_what_was_meant(
    words: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found in complaint(words, capsys)


@covering(
    strength=1,
    line=["--help", "train alora --help", "config show --all", "completion bash", "evaluate --help"],
    streams=["stdout", "both"],
)
def test_a_closed_pipe_is_no_fault(line: str, streams: str) -> None:
    # given a reader that went away before the first line, as `| true`
    reader, writer = os.pipe()
    os.close(reader)
    # when a command prints
    done = subprocess.run(
        [sys.executable, "-m", "wheeltapper", *line.split()],
        cwd=CHECKOUT,
        stdout=writer,
        stderr=writer if streams == "both" else subprocess.PIPE,
        timeout=120,
    )
    os.close(writer)
    # then it ends well, and without a word
    assert done.returncode == 0
    assert not done.stderr


def test_wrong_use_is_told_by_the_exit_code_where_nobody_reads_the_line() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "wheeltapper", "trian"], cwd=CHECKOUT, stderr=writer, timeout=120)
    os.close(writer)
    assert done.returncode == 2


def completions(line: str, tmp_path: Path) -> list[str]:
    """What a shell would be told for a line with the cursor at its end."""
    answer = tmp_path / "answer"
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "wheeltapper"], cwd=CHECKOUT, env=environment, capture_output=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wheeltapper dead", ["dead-letters"]),
        ("wheeltapper topics c", ["create"]),
        ("wheeltapper train range", ["range-bands"]),
        ("wheeltapper train pca --dataset simulated --entity pump", ["pump-1", "pump-2", "pump-3", "pump-4"]),
        ("wheeltapper train range-bands --set pres", ["preset="]),
        ("wheeltapper alerts --sev", ["--severity"]),
        ("wheeltapper train pca --dataset csv --data /nowhere --entity ", [""]),
    ],
)
def test_a_shell_is_told_what_may_come(line: str, expected: list[str], tmp_path: Path) -> None:
    assert completions(line, tmp_path) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_code_for_the_command(shell: str) -> None:
    code = shell_code(shell)
    assert "wheeltapper" in code
    assert "_ARGCOMPLETE" in code
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=code, text=True, check=True)


def test_every_command_says_what_it_is() -> None:
    assert all(summary and not summary.endswith(".") for summary in COMMANDS.values())
