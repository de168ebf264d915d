"""Settings of band events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.sound.detector import SoundSettings
from wheeltapper.models.sound.frontend import FrontEnd

LEAST_WINDOWS = 2


@dataclass(frozen=True)
class BandEventSettings(SoundSettings):
    """Settings of band events."""

    DETECTOR: ClassVar[str] = "band-events"

    n_fft: Annotated[int, Field(ge=64, le=16384, description="samples of one DFT")] = 1024
    frame_hop: Annotated[int, Field(ge=16, description="samples from one DFT to the next")] = 512
    bands: Annotated[int, Field(ge=4, le=256, description="mel bands of each channel")] = 32
    floor_db: Annotated[
        float,
        Field(le=60, description="added to each band's energy: levels far below it are silence, dB of full scale"),
    ] = -80.0
    block_frames: Annotated[
        int, Field(ge=1, description="frames whose mean level is compared: how long an event is")
    ] = 8
    block_hop: Annotated[int, Field(ge=1, description="frames from one block to the next")] = 4
    band_noise_db: Annotated[
        float, Field(gt=0, description="of every band, added to what training shows, standard deviation in dB")
    ] = 0.1

    def check(self) -> None:
        if self.n_fft % 2:
            self.refuse("n_fft", "an even number")
        if self.block_hop > self.block_frames:
            self.refuse("block_hop", f"at most block_frames, {self.block_frames}: else frames are left out")

    def frontend(self, sample_rate: int) -> FrontEnd:
        """Its front end for samples of this rate."""
        return FrontEnd(
            sample_rate, n_fft=self.n_fft, hop=self.frame_hop, bands=self.bands, floor=float(10 ** (self.floor_db / 10))
        )
