"""Hash of the rows that a detector was trained on."""

from __future__ import annotations

import hashlib

import numpy as np


def rows_sha256(rows: np.ndarray) -> str:
    """Hex digest of [T, C] rows as float32 bytes in C order: `TrainingData.sha256` of a manifest."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype=np.float32).tobytes()).hexdigest()
