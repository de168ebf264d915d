"""Settings of the log-mel nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.sound.detector import SoundSettings
from wheeltapper.models.sound.frontend import FrontEnd

LEAST_WINDOWS = 2


@dataclass(frozen=True)
class KnnMelSettings(SoundSettings):
    """Settings of the log-mel nearest neighbour."""

    DETECTOR: ClassVar[str] = "knn-mel"

    n_fft: Annotated[int, Field(ge=64, le=16384, description="samples of one DFT")] = 1024
    frame_hop: Annotated[int, Field(ge=16, description="samples from one DFT to the next")] = 512
    bands: Annotated[int, Field(ge=4, le=256, description="mel bands of each channel")] = 128
    floor_db: Annotated[
        float,
        Field(le=60, description="added to each band's energy: levels far below it are silence, dB of full scale"),
    ] = -80.0
    nearest: Annotated[int, Field(ge=1, description="references whose mean distance is the score")] = 1
    references: Annotated[
        int, Field(ge=8, le=4096, description="at most; with more windows the centres of k-means stand for them")
    ] = 1000
    per_domain: Annotated[
        bool,
        Field(
            description="a distance is divided by what is usual in the reference's domain (Clip.domain), where a domain has three "
            "windows or more; else by what is usual in all"
        ),
    ] = True

    def check(self) -> None:
        if self.n_fft % 2:
            self.refuse("n_fft", "an even number")

    def frontend(self, sample_rate: int) -> FrontEnd:
        """Its front end for samples of this rate."""
        return FrontEnd(
            sample_rate, n_fft=self.n_fft, hop=self.frame_hop, bands=self.bands, floor=float(10 ** (self.floor_db / 10))
        )
