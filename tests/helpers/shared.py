"""One broker for all test processes of a run: whoever asks first starts it and stops it once nobody uses it any more."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

_numbers = itertools.count(1)


def folder_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all test processes of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def shared(folder: Path, name: str, start: Callable[[Path], AbstractContextManager[str]]) -> Iterator[str]:
    """What `start(folder of its own)` yields, a line of text such as an address, by whichever process came first.

    Its owner leaves the block only when no other process is in it: each of these holds a lock that ends with it, so that a
    process that dies does not keep the owner waiting. Who comes after the owner has begun to leave starts another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gate, told = folder / f"{name}.gate", folder / f"{name}.told"
    with _locked(gate, fcntl.LOCK_EX) as gate_lock:
        if told.is_file():
            users, line = told.read_text().split("\n", 1)
            with _locked(Path(users), fcntl.LOCK_SH):
                fcntl.flock(gate_lock, fcntl.LOCK_UN)
                yield line
            return
        own = folder / f"{name}-{os.getpid()}-{next(_numbers)}"
        own.mkdir()
        users = str(own / "users")
        with start(own) as line:
            told.write_text(f"{users}\n{line}")
            fcntl.flock(gate_lock, fcntl.LOCK_UN)
            try:
                yield line
            finally:
                with _locked(gate, fcntl.LOCK_EX):
                    told.unlink()
                with _locked(Path(users), fcntl.LOCK_EX):
                    pass


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[int]:
    """Wait for the lock on a file and hold it; yields the open file."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, kind)
        yield file
    finally:
        os.close(file)
