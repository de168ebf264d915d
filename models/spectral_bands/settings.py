"""Settings of spectral bands: every number and its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.sound.detector import SoundSettings


@dataclass(frozen=True)
class SpectralBandSettings(SoundSettings):
    """Settings of spectral bands."""

    DETECTOR: ClassVar[str] = "spectral-bands"

    n_fft: Annotated[int, Field(ge=64, le=16384, multiple_of=2, description="samples of one DFT")] = 1024
    frame_hop: Annotated[int, Field(ge=16, description="samples from one DFT to the next")] = 512
    bands: Annotated[int, Field(ge=4, le=256, description="mel bands of each channel")] = 32
    floor_db: Annotated[
        float,
        Field(le=60, description="added to each band's energy: levels far below it are silence, dB of full scale"),
    ] = -80.0
    least_spread_db: Annotated[
        float, Field(gt=0, description="of a band, added to what training shows, standard deviation in dB")
    ] = 0.5
    top: Annotated[int, Field(ge=1, description="strangest bands that the score is the mean of")] = 4

    def check(self) -> None:
        if self.top > self.bands:
            self.refuse("top", f"at most {self.bands}, the bands of a channel")
