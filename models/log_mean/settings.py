"""Settings of the mean of log scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.row_scaling import Scale
from wheeltapper.models.settings import DetectorSettings


@dataclass(frozen=True)
class LogMeanSettings(DetectorSettings):
    """Settings of the mean of log scores."""

    DETECTOR: ClassVar[str] = "log-mean"

    window: Annotated[int | None, Field(ge=2, description="rows, of every member; none: each member's own default")] = (
        None
    )
    rate: Annotated[
        float,
        Field(
            gt=0, description="false alarms per machine and day at which the members' scores count as equally strange"
        ),
    ] = 1.0
    offset: Annotated[
        float,
        Field(gt=0, description="added to a member's calibrated score before the logarithm: what counts as ordinary"),
    ] = 0.01
    scale: Annotated[
        Scale, Field(description="of every member: `train` scales by the train part, `given` takes values as they come")
    ] = "train"
