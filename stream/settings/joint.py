"""[joint]: one alert where a machine's sensors and its sound agree."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class JointSettings(BaseModel):
    """Joint alerts of machines that have sensors and a microphone. Times are event time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(
        default=False,
        description="read the topic `alerts` too, and raise an alert of the rule 'joint' where a machine's rows and its sound agree; "
        "for all workers of a group alike",
    )
    within_s: float = Field(default=60.0, gt=0, description="most that the openings of alerts that agree may lie apart")
