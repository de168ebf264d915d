"""numpy to pyarrow. `pyarrow.array` would load pandas where that is installed, to see whether it was given something of it: half a second."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def own_copy(data: bytes) -> pa.Buffer:
    """Bytes that belong to Arrow. Its threads may let go of them late: of an object of Python's they must not while Python ends, or the
    process aborts."""
    buffer = pa.allocate_buffer(len(data))
    np.frombuffer(buffer, dtype=np.uint8)[:] = np.frombuffer(data, dtype=np.uint8)
    return buffer


def arrow_array(values: np.ndarray) -> pa.Array:
    """[n] numbers as an array of the same type, without nulls; NaN stays NaN."""
    contiguous = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(contiguous.dtype), len(contiguous), [None, pa.py_buffer(contiguous)], null_count=0
    )
