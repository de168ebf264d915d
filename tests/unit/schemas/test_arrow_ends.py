"""Arrow's threads hold nothing of Python's that they would let go of while Python ends: the process would abort then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from wheeltapper.schemas.arrow_arrays import own_copy

CHECKOUT = Path(__file__).resolve().parents[3]
READS = """
import io, os, pyarrow as pa, pyarrow.parquet as pq
from wheeltapper.schemas.bundle.files import read_parquet
file = io.BytesIO()
pq.write_table(pa.table({"window": [[1.0, 2.0]] * 1000, "time": list(range(1000))}), file)
before = len(os.listdir("/proc/self/task"))
assert read_parquet(file.getvalue(), "reference.parquet").num_rows == 1000
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_a_bundles_table_is_read_without_threads() -> None:
    done = subprocess.run([sys.executable, "-c", READS], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def test_a_copy_for_arrows_threads_is_no_object_of_pythons() -> None:
    # given bytes, and a copy of them
    data = bytes(range(256)) * 4
    copy = own_copy(data)
    # then it holds the same, elsewhere, and nobody holds the bytes for it
    assert copy.to_pybytes() == data
    assert copy.address != pa.py_buffer(data).address
    assert sys.getrefcount(data) == 2
    assert len(own_copy(b"")) == 0
