"""numpy to pyarrow. `pyarrow.array` would load pandas where that is installed, to see whether it was given something of it: half a second."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """[n] numbers as an array of the same type, without nulls; NaN stays NaN."""
    contiguous = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(contiguous.dtype), len(contiguous), [None, pa.py_buffer(contiguous)], null_count=0
    )
