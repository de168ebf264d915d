"""Hash of the data that a detector was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from wheeltapper.training.datasets.sound.series import Clip


def rows_sha256(rows: np.ndarray) -> str:
    """Hex digest of [T, C] rows as float32 bytes in C order: `TrainingData.sha256` of a manifest."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype=np.float32).tobytes()).hexdigest()


def clips_sha256(clips: Sequence[Clip]) -> str:
    """Hex digest of clips in order, each its recording, attributes and [n, C] samples as float32 bytes."""
    digest = hashlib.sha256()
    for clip in clips:
        said = {"group": clip.group, "attributes": dict(clip.attributes), "shape": list(clip.samples.shape)}
        digest.update(json.dumps(said, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(clip.samples, dtype=np.float32).data)
    return digest.hexdigest()
