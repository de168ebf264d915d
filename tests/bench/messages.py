"""The workload as messages, in the project's own encodings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson
from workload import CHANNEL_NAMES, Workload

from wheeltapper.schemas.sensor_block import SensorBlock

Message = tuple[bytes, bytes, list[tuple[str, bytes]]]


def json_rows(workload: Workload, rows_per_machine: int) -> Iterator[Message]:
    """One row a message, machines in turn, as a plant would send them."""
    keys = [machine.encode() for machine in workload.machines]
    rows = decimals(workload.values[:, :rows_per_machine])
    for step in range(rows_per_machine):
        ts = int(workload.ts[step])
        for index, machine in enumerate(workload.machines):
            values = dict(zip(CHANNEL_NAMES, rows[index, step].tolist(), strict=True))
            yield keys[index], orjson.dumps({"machine": machine, "ts": ts, "values": values}), []


def decimals(values: np.ndarray) -> np.ndarray:
    """float32 as the float64 decimals with three places that they came from: what a sender's JSON shows."""
    return np.round(values.astype(np.float64), 3)


def arrow_blocks(workload: Workload, rows_per_machine: int, rows_per_message: int) -> Iterator[Message]:
    """Blocks of rows, machines in turn."""
    from wheeltapper.schemas.codec import encode_sensor_block

    headers = [("content-type", b"application/vnd.apache.arrow.stream")]
    for start in range(0, rows_per_machine, rows_per_message):
        stop = min(start + rows_per_message, rows_per_machine)
        for index, machine in enumerate(workload.machines):
            block = SensorBlock(machine, workload.ts[start:stop], CHANNEL_NAMES, workload.values[index, start:stop])
            yield machine.encode(), encode_sensor_block(block, "arrow"), headers
