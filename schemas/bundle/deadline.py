"""Loading a bundle ends, whatever its graph does.

A graph is foreign code: a loop that never ends is a valid one. onnxruntime looks between two operators whether it is told to stop, so
an endless loop is ended and the bundle refused. One operator that never returns cannot be ended from within: then the process ends,
with a line that names the bundle. Workers that must go on try such bundles in another process first (`probe.py`).
"""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import NoReturn, Protocol, Self

from wheeltapper.schemas.errors import InputError

GRACE_S = 10.0
"""An operator that has begun is waited for so long."""


class Interruptible(Protocol):
    def interrupt(self) -> None:
        """End a run that goes on in another thread."""
        ...


class LoadDeadline:
    """A limit for what is done within its `with` block."""

    def __init__(self, what: str, seconds: float, grace_s: float = GRACE_S) -> None:
        """
        Args:
            what: is being loaded, for errors.
            grace_s: waited for after an interruption, before the process ends.
        """
        self._text = (
            f"{what}: its graph did not load and give its outputs within {seconds:g} s (bundles.load_timeout_s); it may hold a loop "
            "that does not end: do not use it, or allow more time"
        )
        self._seconds = seconds
        self._grace_s = grace_s
        self._done = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._watch, name="load-deadline", daemon=True)
        self.graph: Interruptible | None = None
        """What to interrupt, once it is there."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Raises:
            InputError: time ran out.
        """
        self._done.set()
        self._thread.join()
        if self._over and (error is None or isinstance(error, Exception)):
            raise InputError(self._text) from error

    def _watch(self) -> None:
        if self._done.wait(self._seconds):
            return
        self._over = True
        if self.graph is not None:
            self.graph.interrupt()
        if not self._done.wait(self._grace_s):
            _end_process(self._text)


def _end_process(text: str) -> NoReturn:
    """From another thread than the one that hangs in native code: nothing else can end it."""
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
    os._exit(2)
