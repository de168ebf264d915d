"""Settings of the zones of vibration velocity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.sound.detector import SoundSettings

MachineClass = Literal["medium-rigid", "medium-flexible", "large-rigid", "large-flexible"]
Unit = Literal["auto", "g", "m/s2", "mm/s"]

LIMITS: dict[MachineClass, tuple[float, float, float]] = {
    "medium-rigid": (1.4, 2.8, 4.5),
    "medium-flexible": (2.3, 4.5, 7.1),
    "large-rigid": (2.3, 4.5, 7.1),
    "large-flexible": (3.5, 7.1, 11.0),
}
"""RMS velocity, mm/s, at which zone B, C and D begin, by ISO 20816-3's classes of size and support."""


@dataclass(frozen=True)
class VelocityZoneSettings(SoundSettings):
    """Settings of the zones of vibration velocity."""

    DETECTOR: ClassVar[str] = "iso-20816"

    machine_class: Annotated[
        MachineClass,
        Field(
            description="whose limits hold: a machine of 15 to 300 kW (`medium`) or above (`large`), on a support that is stiff or "
            "soft at its speed"
        ),
    ] = "medium-rigid"
    limit_b: Annotated[float | None, Field(gt=0, description="mm/s where zone B begins; none: the class's")] = None
    limit_c: Annotated[float | None, Field(gt=0, description="mm/s where zone C begins; none: the class's")] = None
    limit_d: Annotated[
        float | None, Field(gt=0, description="mm/s where zone D begins, which is the alarm level; none: the class's")
    ] = None
    unit: Annotated[
        Unit,
        Field(
            description="of the samples: acceleration in `g` or `m/s2`, which is integrated, or velocity in `mm/s`; `auto`: what the "
            "channels say"
        ),
    ] = "auto"
    low_hz: Annotated[
        float, Field(gt=0, description="where the velocity's band begins, Hz; 2 for shafts below 600 rpm")
    ] = 10.0
    high_hz: Annotated[float, Field(gt=0, description="where it ends, Hz")] = 1000.0
    bands: Annotated[int, Field(ge=1, le=100, description="parts of it, for blame")] = 12

    def check(self) -> None:
        if self.high_hz <= self.low_hz:
            self.refuse("high_hz", f"above low_hz, {self.low_hz:g} Hz")
        zone_b, zone_c, zone_d = self.limits
        if not zone_b < zone_c < zone_d:
            self.refuse("limit_c", f"between limit_b, {zone_b:g} mm/s, and limit_d, {zone_d:g} mm/s")

    @property
    def limits(self) -> tuple[float, float, float]:
        """mm/s at which zone B, C and D begin."""
        zone_b, zone_c, zone_d = LIMITS[self.machine_class]
        return self.limit_b or zone_b, self.limit_c or zone_c, self.limit_d or zone_d
