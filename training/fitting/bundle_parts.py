"""What bundles of every kind hold besides the graph, and how it becomes files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.arrow_arrays import arrow_array
from wheeltapper.schemas.bundle import BundleManifest, Graph, TrainingData

# Enough for thresholds and drift tests to start from; some megabytes at most.
MAX_CALIBRATION_ROWS = 4_000
MAX_REFERENCE_VALUES = 1_000_000


@dataclass(frozen=True)
class BundleContent:
    """What a kind of input puts into a bundle.

    Attributes:
        model: the .onnx bytes; graph: the same, opened and found to keep its contract.
        golden: inputs and outputs by name; input_names: which of them are inputs.
        twin: TorchScript bytes that agree with the graph, or None.
        training_data: for the manifest.
        essentials: what a .onnx file that lost its folder should still say of itself, beside what all kinds say.
        calibration, reference, drift: columns of the .parquet files.
        manifest: the kind's; fields: of it, beside what all kinds have.
        warnings: what was found while the content was made.
    """

    model: bytes
    graph: Graph
    golden: Mapping[str, np.ndarray]
    input_names: tuple[str, ...]
    twin: bytes | None
    training_data: TrainingData
    essentials: Mapping[str, Any]
    calibration: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    drift: Mapping[str, np.ndarray]
    manifest: Callable[..., BundleManifest]
    fields: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def channel_fields(names: Sequence[str], units: Sequence[str]) -> list[dict[str, str]]:
    """Channels for a manifest, which says what is wrong with them."""
    return [{"name": name, "unit": unit} for name, unit in zip(names, units, strict=True)]


def digest_of(model: bytes, essentials: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> str:
    """Of contents, not of files: parquet and npz carry the versions of their writers."""
    digest = hashlib.sha256(model)
    digest.update(json.dumps(essentials, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def parquet_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """[n] arrays as plain columns, [n, D] float32 as list<float32>."""
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 1:
            arrays[name] = arrow_array(values)
        else:
            offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
            arrays[name] = pa.ListArray.from_arrays(
                arrow_array(offsets), arrow_array(values.ravel().astype(np.float32))
            )
    buffer = BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()
