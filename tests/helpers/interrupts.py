"""SIGINT in a test process: it may end a run, but never pass unnoticed, and never arrive once all tests are done.

Python prints and drops a KeyboardInterrupt that comes while a garbage collector's callback or a finalizer runs. A test would
go on with half of its work undone. So each SIGINT is noted, and raised again at the end of the test that dropped it.

Tests that send SIGINT send it to one child process, never to a group; nothing here protects from a test that does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from types import FrameType

import pytest


class Interrupts:
    """A plugin of each test process."""

    def __init__(self) -> None:
        self._noted = 0
        # Started in the background of a script, Ctrl-C is ignored, and so it would be by every process that tests start and
        # interrupt. A handler of ours ends that: a started process gets the default one.
        signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted += 1
        signal.default_int_handler(number, frame)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        before = self._noted
        result = yield
        if self._noted > before:
            raise KeyboardInterrupt(f"{item.nodeid}: SIGINT came in this test, and the KeyboardInterrupt was dropped")
        return result

    def pytest_unconfigure(self) -> None:
        # A process of pytest-xdist that takes longer than 5 s from here to its end (its garbage is collected five times) gets
        # a SIGINT from execnet, which shows up as an exception in whatever runs then.
        if "PYTEST_XDIST_WORKER" in os.environ:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
