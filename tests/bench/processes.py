"""Running a contender as a process of its own, and what it cost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# One numeric thread a process: the ratio is about CPU-seconds, not about who spins more threads.
THREAD_LIMITS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Usage:
    """What one process took, from start to exit.

    Attributes:
        cpu_s: user + system time of all its threads and of the children that it waited for (wait4).
        wall_s: from fork to exit.
        peak_mb: largest resident size of the process itself; 0 where there is no /proc.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float


class MeasuredProcess:
    """A child in a process group of its own, whose rusage is taken when it ends; killed when the block is left."""

    def __init__(
        self, command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / "process.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WHEELTAPPER_")}
        with self.log.open("wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **THREAD_LIMITS, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> MeasuredProcess:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def end(self) -> None:
        """Asks it to end (SIGTERM); `wait` tells whether it did."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float) -> Usage:
        """Waits for its end.

        Raises:
            RuntimeError: it did not end in time, or not with exit code 0; the text holds the end of its output.
        """
        deadline = self._started + timeout_s
        peak_mb = 0.0
        while True:
            peak_mb = max(peak_mb, self._peak_mb())
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"still running after {timeout_s:.0f} s: {self._tail()}")
            time.sleep(0.02)
        wall_s = time.monotonic() - self._started
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != 0:
            raise RuntimeError(f"exit code {self._process.returncode}: {self._tail()}")
        return Usage(usage.ru_utime + usage.ru_stime, wall_s, peak_mb)

    def cpu_s_so_far(self) -> float | None:
        """User + system time of all its threads until now, in steps of 10 ms; None where there is no /proc, or it has ended."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _peak_mb(self) -> float:
        """Largest resident size so far; rusage's would also count this process's own, from before the exec."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0.0
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0

    def _tail(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-6:])
