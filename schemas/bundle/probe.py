"""Tries a bundle in another process before this one loads it: there it may hang, crash or take too much memory.

For bundles that a worker is told of while it works. Those given at start have nothing to disturb: `deadline.py` is enough for them,
and the second that a process takes to start is saved. The process stays for the next bundle and ends by itself when none comes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import orjson

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.limits import LOAD_MEMORY_MB, MIB

IDLE_S = 20.0
"""The process ends when no bundle has come for so long."""

START_S = 60.0
"""A busy machine may take so long to start it, beside what loading may take."""


class BundleProbe:
    """One process that tries bundles, started when it is needed. For any thread; one bundle at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._memory_mb = 0
        self._passed: set[str] = set()

    def check(self, location: Path, sha256: str, *, timeout_s: float, memory_mb: int = LOAD_MEMORY_MB) -> None:
        """Load the bundle there, on the CPU.

        Args:
            location: a path of this machine.
            sha256: of its manifest.json: another bundle that has come there meanwhile is refused.
            memory_mb: that it may take.

        Raises:
            InputError: it is refused, does not load in time, or ends the process.
        """
        with self._lock:
            if sha256 in self._passed:
                return
            request = {"location": str(location), "sha256": sha256, "timeout_s": timeout_s}
            answer = self._ask(request, timeout_s, memory_mb)
            if answer is None:  # it ended, as it had been idle, while it was asked
                answer = self._ask(request, timeout_s, memory_mb) or {"error": self._crashed(location, 0)}
            if answer["error"] is not None:
                raise InputError(answer["error"])
            self._passed.add(sha256)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, request: dict[str, Any], timeout_s: float, memory_mb: int) -> dict[str, Any] | None:
        """The answer; None where the process had ended by itself."""
        process = self._running(memory_mb)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(orjson.dumps(request) + b"\n")
            process.stdin.flush()
        line = _read_line(process.stdout, START_S + timeout_s)
        if line is None:
            self._end()
            return {
                "error": f"{request['location']}: did not load within {timeout_s:g} s (bundles.load_timeout_s), tried in a process of its "
                "own; its graph may not end: do not use it, or allow more time"
            }
        if line:
            answer: dict[str, Any] = orjson.loads(line)
            return answer
        code = process.wait()
        self._end()
        return None if code == 0 else {"error": self._crashed(Path(request["location"]), code)}

    @staticmethod
    def _crashed(location: Path, code: int) -> str:
        return (
            f"{location}: a process that loaded it for a try ended with code {code}: its graph crashes, or needs more memory than "
            "bundles.load_memory_mb; do not use it, or allow more memory"
        )

    def _running(self, memory_mb: int) -> subprocess.Popen[bytes]:
        if self._process is not None and (self._process.poll() is not None or self._memory_mb != memory_mb):
            self._end()
        if self._process is None:
            self._memory_mb = memory_mb
            path = os.pathsep.join(entry for entry in (_package_root(), os.environ.get("PYTHONPATH", "")) if entry)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(memory_mb)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the worker
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


SHARED_PROBE = BundleProbe()
"""That of this process."""


def _package_root() -> str:
    import wheeltapper

    assert wheeltapper.__file__ is not None
    return str(Path(wheeltapper.__file__).resolve().parents[1])


def _read_line(pipe: IO[bytes], seconds: float) -> bytes | None:
    """A line; b'' at the end of the pipe, None when time ran out."""
    until, found = time.monotonic() + seconds, bytearray()
    while not found.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        piece = os.read(pipe.fileno(), 65_536)
        if not piece:
            return b""
        found += piece
    return bytes(found)


# -- the process itself ---------------------------------------------------------------------------------------------------


def main(memory_mb: int) -> None:
    """Answer requests on stdin, a JSON line each, on what was stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.schemas.bundle.normal_blocks import check_tables

    _limit_memory(memory_mb)
    while True:
        line = _read_line(sys.stdin.buffer, IDLE_S)
        if not line:
            return
        request = orjson.loads(line)
        error: str | None = None
        try:
            bundle = open_bundle(request["location"])
            if bundle.manifest_sha256 != request["sha256"]:
                raise InputError(f"{request['location']}: another bundle has come there; deploy it again")
            bundle.open_graph(device="cpu", timeout_s=request["timeout_s"], warm_up=True)
            check_tables(bundle)
        except InputError as refused:
            error = str(refused)
        except Exception as fault:  # foreign data: whatever it is, it is no bundle to use
            error = f"{request['location']}: cannot be loaded ({type(fault).__name__}: {str(fault)[:200]})"
        answers.write(orjson.dumps({"error": error}) + b"\n")
        answers.flush()


def _limit_memory(memory_mb: int) -> None:
    """Beside what the libraries take up by themselves."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # systems without /proc, or without the limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory_mb * MIB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))
