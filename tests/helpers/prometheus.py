"""Prometheus itself and its promtool, where Debian's package `prometheus` is installed or can be had.

Where it is not installed, the package is unpacked below .cache, without being installed: tests need its two programs alone.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "prometheus"
APT_TIMEOUT_S = 60


@cache
def find_program(name: str) -> str | None:
    """Path of `prometheus` or `promtool`; None where there is none."""
    unpacked = CACHE / "usr" / "bin" / name
    if found := shutil.which(name):
        return found
    if not unpacked.is_file():
        _unpack()
    return str(unpacked) if unpacked.is_file() else None


def program(name: str) -> str:
    """`find_program`; skips the test where there is none."""
    found = find_program(name)
    if found is None:
        pytest.skip(f"{name} is not installed and apt has no package for it; on Debian: apt install prometheus")
    return found


def _unpack() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        for command in (("download", "prometheus"), ("update", "-qq"), ("download", "prometheus")):
            try:
                subprocess.run(
                    ["apt-get", *command], cwd=folder, capture_output=True, check=False, timeout=APT_TIMEOUT_S
                )
            except subprocess.TimeoutExpired:
                return
            packages = list(Path(folder).glob("prometheus_*.deb"))
            if packages:
                break
        else:
            return
        target = Path(folder) / "unpacked"
        done = subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(target)], capture_output=True, check=False)
        if done.returncode == 0 and not CACHE.exists():  # another test process may have been faster
            target.replace(CACHE)
