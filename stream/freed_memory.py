"""Keeps freed memory from piling up in the C library.

Kafka's clients run threads, and glibc gives threads pools of memory of their own, up to eight a core; what is freed in one is not used by
another. A worker opens clients at every rebalance, with new threads: it held a megabyte more behind each, and tens of megabytes behind a
backlog that it had caught up with, while what is in use stayed the same.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

MOST_POOLS = 2
"""One for the thread that works, one for the clients' threads."""

_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def _glibc() -> Any:
    """The C library; None where it is another."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        return library
    except (OSError, AttributeError):
        return None


_LIBRARY = _glibc()


def share_pools() -> None:
    """Have few pools; to be called before threads are started. The variable MALLOC_ARENA_MAX says otherwise."""
    if _LIBRARY is not None and "MALLOC_ARENA_MAX" not in os.environ:
        _LIBRARY.mallopt(_M_ARENA_MAX, MOST_POOLS)


def give_back() -> None:
    """Return to the system what is free; takes a few milliseconds. Does nothing where the C library cannot."""
    if _LIBRARY is not None:
        _LIBRARY.malloc_trim(0)
