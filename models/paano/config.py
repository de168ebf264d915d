"""Settings of PaAno; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wheeltapper.schemas.errors import InputError

Normalise = Literal["patch", "train", "both"]


@dataclass(frozen=True, slots=True)
class PaanoConfig:
    """The detector's own settings; how it is trained is `wheeltapper.training.detectors.paano.train`.

    Attributes:
        window: W, rows of a patch.
        width: of the encoder: its four layers have W, 2 W, W and W / 2 filters; 128 is the paper's (0.3 M parameters).
        normalise: 'patch' takes mean and deviation of each channel out of every patch, as the paper's multivariate and
            univariate runs do; 'train' leaves the values as the train part's mean and deviation scale them, so that
            levels count; 'both' shows the encoder both.
        memory: patches of the train part that are remembered at most.
        memory_candidates: patches that these are chosen from at most, evenly spaced.
        neighbours: remembered patches whose distances are averaged.
        input_weight: of the plain difference to the patch remembered as nearest, beside that of the embeddings; 0 is the
            paper, whose bounded distance hardly tells how far out of range a value is.
        margin: of the triplet loss.
        radius: rows that a patch and its positive may lie apart at most.
        pretext_weight: of the pretext loss in the first step; it falls to 0 over `pretext_share` of the training.
        pretext_share: of the training's steps.
        input_clip: standardised inputs are cut to +-this many standard deviations.
        scale: 'train' standardises by the train part, 'given' takes values as they come (see `wheeltapper.training.fitting.prepared`).

    Raises:
        InputError: a setting out of its range.
    """

    window: int = 64
    width: int = 128
    normalise: Normalise = "both"
    memory: int = 2000
    memory_candidates: int = 5000
    neighbours: int = 3
    input_weight: float = 1.0
    margin: float = 0.5
    radius: int = 2
    pretext_weight: float = 1.0
    pretext_share: float = 0.1
    input_clip: float = 1000.0
    scale: Literal["train", "given"] = "train"

    def __post_init__(self) -> None:
        for name, least in (
            ("window", 8),
            ("width", 4),
            ("memory", 1),
            ("memory_candidates", 1),
            ("neighbours", 1),
            ("radius", 1),
        ):
            if getattr(self, name) < least:
                raise InputError(f"PaAno's {name} is {getattr(self, name)}, expected at least {least}")
        if not self.input_clip > 0 or not self.margin > 0 or self.input_weight < 0:
            raise InputError(f"PaAno's input_clip is {self.input_clip} and margin {self.margin}, expected both above 0")
        if not 0 <= self.pretext_share <= 1 or self.pretext_weight < 0:
            raise InputError(
                f"PaAno's pretext_share is {self.pretext_share} and pretext_weight {self.pretext_weight}, expected a share "
                "from 0 to 1 and a weight of 0 or more"
            )
