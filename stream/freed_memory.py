"""Gives memory that was freed back to the system.

Kafka's clients run threads, and the C library keeps what each thread has freed for itself: a worker that opens clients at every rebalance
held a megabyte more behind each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _trim_of_this_system() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # only glibc has it
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim  # type: ignore[no-any-return]


_TRIM = _trim_of_this_system()


def give_back() -> None:
    """Takes about a millisecond; does nothing where the C library cannot."""
    if _TRIM is not None:
        _TRIM(0)
