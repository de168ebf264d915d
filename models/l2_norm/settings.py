"""Settings of L2 norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from wheeltapper.models.row_scaling import CLIP, Scale, recency_weights
from wheeltapper.models.settings import DetectorSettings

# Fewer rows than that give no mean and deviation worth the name.
LEAST_ROWS = 50


@dataclass(frozen=True)
class L2NormSettings(DetectorSettings):
    """Settings of L2 norm."""

    DETECTOR: ClassVar[str] = "l2-norm"

    window: Annotated[int, Field(ge=1, description="rows that a score looks at; 1 judges each row alone")] = 32
    half_life: Annotated[float, Field(gt=0, description="rows, of the average of squares over the window")] = 4.0
    clip: Annotated[float, Field(gt=0, description="standard deviations beyond which a value counts no further")] = CLIP
    scale: Annotated[
        Scale,
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"

    @property
    def least_rows(self) -> int:
        """Training rows that a fit needs."""
        return max(LEAST_ROWS, 2 * self.window)

    def row_weights(self) -> np.ndarray:
        """w [W] float64, sum 1."""
        return recency_weights(self.window, self.half_life)
