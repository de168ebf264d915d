"""Settings of band profile: every number and its meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.sound.detector import SoundSettings
from wheeltapper.models.sound.frontend import FrontEnd, Scale

# From that rate on, samples are rather an accelerometer's than a microphone's, unless the rate is one of audio's own.
VIBRATION_RATE = 20_000
AUDIO_RATES = (22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
LEAST_WINDOWS = 2
AUTO = "auto"


@dataclass(frozen=True)
class BandProfileSettings(SoundSettings):
    """Settings of band profile."""

    DETECTOR: ClassVar[str] = "band-profile"

    n_fft: Annotated[int, Field(ge=64, le=16384, description="samples of one DFT")] = 1024
    frame_hop: Annotated[int, Field(ge=16, description="samples from one DFT to the next")] = 512
    scale: Annotated[
        Scale,
        Field(
            description="of the bands: `mel`, or `log`, a constant share of their frequency wide, which tells the low harmonics "
            "of slow shafts apart"
        ),
    ] = "mel"
    bands: Annotated[int, Field(ge=4, le=256, description="of each channel")] = 32
    low_hz: Annotated[float, Field(ge=0, description="where the lowest band begins, Hz")] = 0.0
    high_hz: Annotated[
        float | None, Field(gt=0, description="where the highest band ends, Hz; none: half the sample rate")
    ] = None
    floor_db: Annotated[
        float,
        Field(le=60, description="added to each band's energy: levels far below it are silence, dB of full scale"),
    ] = -80.0
    gain_db: Annotated[
        float, Field(ge=0, description="common change of all bands that is harmless, standard deviation in dB")
    ] = 1.0
    band_noise_db: Annotated[
        float, Field(gt=0, description="of every band, added to what training shows, standard deviation in dB")
    ] = 0.1
    nearest: Annotated[int, Field(ge=1, description="references whose mean distance is the score")] = 3
    neighbours: Annotated[int, Field(ge=1, description="references around each that tell how dense they are there")] = 8
    references: Annotated[
        int, Field(ge=8, le=4096, description="at most; with more windows the centres of k-means stand for them")
    ] = 1000
    condition: Annotated[
        str,
        Field(
            description="attributes whose linear effect on the levels is taken out: names with commas, e.g. `speed,load`; `auto`: "
            "every number that has three values or more in training; `none`"
        ),
    ] = AUTO
    orders: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="bands over frequency by shaft speed, beside the others; 0: none. Needs the attribute that "
            "`speed_attribute` names",
        ),
    ] = 0
    speed_attribute: Annotated[str, Field(min_length=1, description="holds the shaft's speed in rpm")] = "speed"

    def check(self) -> None:
        if self.n_fft % 2:
            self.refuse("n_fft", "an even number")
        if self.scale == "log" and not self.low_hz > 0:
            self.refuse("low_hz", "above 0 Hz for scale=log")
        if self.high_hz is not None and self.high_hz <= self.low_hz:
            self.refuse("high_hz", f"above low_hz, {self.low_hz:g} Hz")

    @property
    def floor(self) -> float:
        return float(10 ** (self.floor_db / 10))

    def condition_names(self, numbers: Sequence[str]) -> tuple[str, ...]:
        """Attributes whose effect is taken out.

        Args:
            numbers: those that `auto` stands for.
        """
        if self.condition == AUTO:
            return tuple(numbers)
        names = tuple(name.strip() for name in self.condition.split(",") if name.strip())
        return () if names == ("none",) else names

    def frontend(self, sample_rate: int) -> FrontEnd:
        """
        Raises:
            InputError: bands that this sample rate does not have.
        """
        return FrontEnd(
            sample_rate,
            n_fft=self.n_fft,
            hop=self.frame_hop,
            bands=self.bands,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
            floor=self.floor,
            scale=self.scale,
        )


def is_vibration(sample_rate: int) -> bool:
    """Whether samples of this rate are rather an accelerometer's than a microphone's."""
    return sample_rate >= VIBRATION_RATE and sample_rate not in AUDIO_RATES
