"""`wheeltapper demo` as a newcomer runs it, on the simulated station, with a detector that is fitted in seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.broker

READY = "worker ready"


def demo_command(out: Path, *options: str) -> list[str]:
    # Enough rows for a labelled event of the first pump.
    common = ["--simulated", "--detectors", "range-bands", "--out", str(out)]
    return [sys.executable, "-m", "wheeltapper", "demo", *common, *options]


def processes_that_mention(text: str) -> list[str]:
    """Command lines of living processes; Linux only."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


@pytest.mark.parametrize("runner", ["faust", pytest.param("direct", marks=pytest.mark.nightly)])
def test_demo_shows_alerts_a_summary_and_a_plot(tmp_path: Path, runner: str) -> None:
    result = subprocess.run(
        demo_command(tmp_path, "--seconds", "0", "--runner", runner), capture_output=True, text=True, timeout=240
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "opened" in result.stdout
    assert "alerts against the labels" in result.stdout
    assert "10,080 rows" in result.stdout
    plot = tmp_path / "pump-1-range-bands.png"
    assert str(plot) in result.stdout.replace("\n", "")
    assert plot.stat().st_size > 20_000


@pytest.mark.nightly
def test_the_demo_of_sound_hears_its_faults_and_cuts_a_clip(tmp_path: Path) -> None:
    # given no data sets; when the sound is sent forty times as fast as it lasts
    result = subprocess.run(
        [sys.executable, "-m", "wheeltapper", "demo-sound", "--speed", "40", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        env={name: value for name, value in os.environ.items() if name != "WHEELTAPPER_DATA"},
    )
    # then every fault was heard and blamed where it is, which its exit code says, and the plots and a clip are there
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 faults heard" in result.stdout
    assert (tmp_path / "sound.png").stat().st_size > 20_000
    assert [path.suffix for path in sorted(tmp_path.glob("fan-1-*"))] == [".png", ".wav"]
    assert "real recordings are left out" in result.stdout


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left processes in /proc")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.nightly),
        pytest.param(signal.SIGTERM, marks=pytest.mark.nightly),
        signal.SIGKILL,
    ],
)
def test_no_process_is_left_behind_when_the_demo_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    # Given a demo whose worker and replay are running
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        # Python's own handler, as in a terminal: a shell's background job would ignore SIGINT.
        demo = subprocess.Popen(
            demo_command(tmp_path, "--seconds", "600"), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 180
            while READY not in log.read_text():
                assert demo.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            prefix = f"wheeltapper-demo-{demo.pid}"
            assert processes_that_mention(prefix)

            # When it is told to end, or killed
            os.kill(demo.pid, number)
            code = demo.wait(120)
        finally:
            demo.kill()

    # Then nothing of it lives on
    assert code == (-9 if number == signal.SIGKILL else 130), log.read_text()
    deadline = time.monotonic() + 60
    while left := processes_that_mention(prefix):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
