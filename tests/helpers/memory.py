"""How much memory a process takes, as Linux tells."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 2**20


def resident(process: int | None = None) -> float:
    """MiB that a process has in memory now; this one without a number."""
    return _read(process, "VmRSS")


def peak(process: int | None = None) -> float:
    """MiB that it has had at most, since its start or `forget_peak`."""
    return _read(process, "VmHWM")


def forget_peak(process: int | None = None) -> None:
    """Begin anew to look for the peak."""
    _folder(process).joinpath("clear_refs").write_text("5")


def _folder(process: int | None) -> Path:
    return Path("/proc") / str(os.getpid() if process is None else process)


def _read(process: int | None, field: str) -> float:
    for line in (_folder(process) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(field)
