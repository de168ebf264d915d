"""Settings of KMeansAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.row_scaling import CLIP, Scale
from wheeltapper.models.settings import DetectorSettings

LEAST_ROWS = 50
# Default window, rows: a single channel has nothing but its past to be told apart by.
WINDOW, WINDOW_SINGLE_CHANNEL = 20, 64

Normalise = Literal["none", "level", "shape"]


@dataclass(frozen=True)
class KMeansSettings(DetectorSettings):
    """Settings of KMeansAD."""

    DETECTOR: ClassVar[str] = "kmeans-ad"

    window: Annotated[
        int, Field(ge=1, description=f"rows; {WINDOW_SINGLE_CHANNEL} for a single channel where nobody says")
    ] = WINDOW
    clusters: Annotated[
        int, Field(ge=1, description="centroids; fewer where the train part has fewer distinct windows")
    ] = 60
    normalise: Annotated[
        Normalise,
        Field(
            description="what is taken out of each window, channel by channel: `none`, its mean (`level`), or mean and "
            "deviation (`shape`)"
        ),
    ] = "none"
    clip: Annotated[float, Field(gt=0, description="standard deviations beyond which a value counts no further")] = CLIP
    scale: Annotated[
        Scale,
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"

    def check(self) -> None:
        if self.normalise != "none" and self.window < 2:
            self.refuse("window", f"2 rows or more for normalise={self.normalise}")

    @property
    def least_rows(self) -> int:
        """Training rows that a fit needs."""
        return max(LEAST_ROWS, 2 * self.window)
