"""Reading a block of rows the plain way, for the programs that stand beside ours and import nothing of the project."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def rows_of(message: bytes, channels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """ts [n] int64 microseconds and values [n, C] float32 of an Arrow IPC stream with a column `ts` and one a channel."""
    table = pa.ipc.open_stream(message).read_all()
    values = np.empty((len(table), len(channels)), dtype=np.float32)
    for column, name in enumerate(channels):
        values[:, column] = table.column(name).to_numpy()
    return table.column("ts").cast(pa.int64()).to_numpy(), values
