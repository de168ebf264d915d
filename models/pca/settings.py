"""Settings of PCA error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from wheeltapper.models.row_scaling import CLIP, Scale, recency_weights
from wheeltapper.models.settings import DetectorSettings

# Fewer rows than that give no covariance worth the name.
LEAST_ROWS = 100


@dataclass(frozen=True)
class PcaSettings(DetectorSettings):
    """Settings of PCA error."""

    DETECTOR: ClassVar[str] = "pca"

    window: Annotated[int, Field(ge=1, description="rows that a score averages over; 1 judges each row alone")] = 32
    half_life: Annotated[
        float, Field(gt=0, description="rows, of that average; long windows need no more than a few of them")
    ] = 4.0
    components: Annotated[
        int | None,
        Field(
            ge=1,
            description="components that are taken away, at most half of the channels that vary; none takes 10 below 50 "
            "channels, 30 from there on, 2 for a single channel",
        ),
    ] = None
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
