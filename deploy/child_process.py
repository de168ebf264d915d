"""A child process that never outlives its parent, however the parent ends."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

# The shell becomes the command by exec, so the child's pid is the command's. The subshell before it waits on our end of
# a pipe: a line says that all is well, end of file that we died without a word (kill -9), and the child must go too.
_LAUNCH = """
exec 3<&0
( read -r word <&3 || kill -KILL $$ ) &
exec "$@" 3<&- </dev/null
"""


class ChildProcess:
    """Started with the object; a context manager that stops it.

    Ctrl-C in the terminal does not reach it: its owner decides when it ends, after those that need it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stop_timeout_s: float = 10.0,
    ) -> None:
        """
        Args:
            log_file: receives its output; None: discarded.
            environment: all of its variables; none: ours.
            folder: where it runs; none: where we do.
            stop_timeout_s: how long `stop` waits before it kills.

        Raises:
            OSError: the log cannot be written.
        """
        self._stop_timeout_s = stop_timeout_s
        output: int | IO[bytes] = subprocess.DEVNULL
        if log_file is not None:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            output = log_file.open("ab")
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCH, "wheeltapper-child", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        finally:
            if not isinstance(output, int):
                output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end: the exit code, or None if it still runs after `timeout_s` seconds."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it: asked first, killed when it takes too long. Nothing happens if it has ended."""
        if self.is_running:
            self._process.terminate()
            if self.wait(self._stop_timeout_s) is None:
                self._process.kill()
                self._process.wait()
        stdin, self._process.stdin = self._process.stdin, None
        if stdin is not None:
            # Its watcher must not kill a pid that is no longer ours; it may be gone already.
            with suppress(OSError):
                stdin.write(b"bye\n")
                stdin.flush()
            with suppress(OSError):
                stdin.close()
