"""Settings of isolation forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from wheeltapper.models.row_scaling import CLIP, Scale, recency_weights
from wheeltapper.models.settings import DetectorSettings

LEAST_ROWS = 50


@dataclass(frozen=True)
class ForestSettings(DetectorSettings):
    """Settings of isolation forest."""

    DETECTOR: ClassVar[str] = "isolation-forest"

    window: Annotated[int, Field(ge=1, description="rows that a score averages over; 1 judges each row alone")] = 16
    half_life: Annotated[float, Field(gt=0, description="rows, of the average of depths and distances")] = 8.0
    trees: Annotated[int, Field(ge=1, description="number of trees")] = 100
    samples: Annotated[int, Field(ge=2, description="rows that each tree is grown on")] = 256
    outside: Annotated[
        bool,
        Field(
            description="values outside of the training range count by their distance; false is the published method"
        ),
    ] = True
    clip: Annotated[
        float,
        Field(gt=0, description="training ranges beyond which a value counts no further; of the embedding, deviations"),
    ] = CLIP
    scale: Annotated[
        Scale,
        Field(
            description="of the embedding alone: `train` or `given`; splits and ranges do not depend on a channel's scale"
        ),
    ] = "train"

    @property
    def least_rows(self) -> int:
        """Training rows that a fit needs."""
        return max(LEAST_ROWS, 2 * self.window)

    def row_weights(self) -> np.ndarray:
        """w [W] float64, sum 1."""
        return recency_weights(self.window, self.half_life)
