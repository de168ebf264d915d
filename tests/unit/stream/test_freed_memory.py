"""Memory that was freed in threads is given back, and threads share few pools."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from wheeltapper.stream.freed_memory import MOST_POOLS, give_back

PROGRAM = """
import ctypes, sys, threading
from tests.helpers.memory import resident
from wheeltapper.stream.freed_memory import give_back, share_pools

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes, library.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if "share" in sys.argv:
    share_pools()
everywhere = threading.Barrier(8)

def work():
    # as a client does: much is freed again, and the last little thing keeps the pool from shrinking
    everywhere.wait()
    taken = [library.malloc(100_000) for _ in range(100)]
    for each in taken:
        ctypes.memset(each, 1, 100_000)
    kept.append(library.malloc(64))
    for each in taken:
        library.free(each)
    everywhere.wait()

kept, before = [], resident()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
held = resident() - before
give_back()
library.fopen.restype, library.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
library.fclose.argtypes = [ctypes.c_void_p]
file = library.fopen(sys.argv[1].encode(), b"w")
library.malloc_info(0, file)
library.fclose(file)
print(held, resident() - before, open(sys.argv[1]).read().count("<heap nr"))
"""


def held(folder: Path, *words: str, **variables: str) -> tuple[float, float, int]:
    """MB held by freed memory of eight threads, before and behind `give_back`; and the number of pools."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | variables
    command = [sys.executable, "-c", PROGRAM, str(folder / "pools"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    before, after, pools = done.stdout.split()
    return float(before), float(after), int(pools)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_what_threads_have_freed_is_given_back(tmp_path: Path) -> None:
    # given eight threads that took and freed memory, each with a pool of its own
    before, after, pools = held(tmp_path)
    assert before > 20
    assert pools > MOST_POOLS
    # then what they freed goes back to the system
    assert after < before / 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_threads_share_few_pools_unless_a_variable_says_otherwise(tmp_path: Path) -> None:
    assert held(tmp_path, "share")[2] <= MOST_POOLS
    assert held(tmp_path, "share", MALLOC_ARENA_MAX="5")[2] == 5


def test_it_may_be_asked_for_at_any_time() -> None:
    give_back()
    give_back()
