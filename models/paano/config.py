"""Settings of PaAno; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings

Normalise = Literal["patch", "train", "both"]


@dataclass(frozen=True)
class PaanoConfig(DetectorSettings):
    """The detector's own settings; how it is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "paano"

    window: Annotated[
        int, Field(ge=8, description="rows of a patch; where nobody says and a train part is too short, 32 or 16")
    ] = 64
    width: Annotated[
        int,
        Field(
            ge=4,
            description="of the encoder: its four layers have W, 2 W, W and W / 2 filters; 128 is the paper's (0.3 M parameters)",
        ),
    ] = 128
    normalise: Annotated[
        Normalise,
        Field(
            description="`patch` takes mean and deviation of each channel out of every patch, as the paper does; `train` leaves the values as the train part scales them, so that levels count; `both` shows the encoder both"
        ),
    ] = "both"
    memory: Annotated[int, Field(ge=1, description="patches of the train part that are remembered at most")] = 2000
    memory_candidates: Annotated[
        int, Field(ge=1, description="patches that these are chosen from at most, evenly spaced")
    ] = 5000
    neighbours: Annotated[int, Field(ge=1, description="remembered patches whose distances are averaged")] = 3
    input_weight: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the plain difference to the nearest remembered patch, beside that of the embeddings; 0 is the paper, whose bounded distance hardly tells how far out of range a value is",
        ),
    ] = 1.0
    margin: Annotated[float, Field(gt=0, description="of the triplet loss")] = 0.5
    radius: Annotated[int, Field(ge=1, description="rows that a patch and its positive may lie apart at most")] = 2
    pretext_weight: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the pretext loss in the first step; it falls to 0 over `pretext_share` of the training",
        ),
    ] = 1.0
    pretext_share: Annotated[
        float, Field(ge=0, le=1, description="share of the training's steps with a pretext loss")
    ] = 0.1
    input_clip: Annotated[
        float, Field(gt=0, description="standard deviations beyond which a value counts no further")
    ] = 1000.0
    scale: Annotated[
        Literal["train", "given"],
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"
