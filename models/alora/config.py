"""Settings of ALoRa; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wheeltapper.schemas.errors import InputError

Padding = Literal["replicate", "causal", "circular"]
Reduction = Literal["sum", "mean"]
Score = Literal["product", "error", "rank"]
Rank = Literal["hard", "smooth"]
Localization = Literal["paper", "backward", "error"]

# More features than that never paid in the paper: 702, 1484 and 3002 were all cut to it.
WIDTH_LIMIT = 512


@dataclass(frozen=True, slots=True)
class AloraConfig:
    """The detector's own settings; how it is trained is `wheeltapper.training.detectors.alora.train.AloraOptions`.

    Attributes:
        window: T, rows.
        width: wanted number of embedding features d; the data may offer fewer (see `embed.choose_pairs`).
        layers, heads: L and H; heads are cut to the width where channels are very few.
        dropout: of the embedding and of the attention's output.
        padding: of the moving average of three rows along time. 'replicate' (default) repeats the edge row; 'causal'
            looks back only; 'circular' is the authors' code, where the newest row is smoothed with the oldest one.
        cover_channels: True lets every channel that moves take part in at least one pair; False is the paper's
            choice of pairs by correlation alone, which can leave a channel unseen.
        alora_lambda: weight of the rank penalty.
        alora_reduction: of the penalty over the batch. 'sum' is the authors' code: its weight grows with the batch;
            'mean' does not depend on it ('mean' with lambda * batch equals 'sum').
        penalty_skip: r, how many of the largest singular values are free.
        penalty_gamma: gamma of the Geman penalty sigma / (sigma + gamma).
        score: 'product' = error times rank (ALoRa); 'error' and 'rank' are its ablations.
        rank: 'hard' = number of singular values above the threshold; 'smooth' = the same with a logistic edge,
            fewer ties.
        rank_threshold: h1; None chooses it on held-out normal windows (see `rank.choose_threshold`).
        localization: 'paper' = q Kn; 'backward' = blame carried from outputs back to inputs; 'error' = q alone.
        localization_top: k, how many contributions of a channel are kept; 0 keeps all.
        input_clip: standardised inputs are cut to +-this many standard deviations, so that no finite reading
            overflows float32. Far outside of what a train part of less than `input_clip` squared rows can contain.
        scale: 'train' standardises by the train part, 'given' takes values as they come (see `wheeltapper.training.fitting.prepared`).

    Raises:
        InputError: a setting out of its range.
    """

    window: int = 20
    width: int = WIDTH_LIMIT
    layers: int = 3
    heads: int = 8
    dropout: float = 0.0
    padding: Padding = "replicate"
    cover_channels: bool = True
    alora_lambda: float = 10.0
    alora_reduction: Reduction = "sum"
    penalty_skip: int = 1
    penalty_gamma: float = 1.0
    score: Score = "product"
    rank: Rank = "hard"
    rank_threshold: float | None = None
    localization: Localization = "paper"
    localization_top: int = 2
    input_clip: float = 1000.0
    scale: Literal["train", "given"] = "train"

    def __post_init__(self) -> None:
        for name, value, least in (
            ("window", self.window, 3),  # the moving average spans three rows
            ("width", self.width, 1),
            ("layers", self.layers, 1),
            ("heads", self.heads, 1),
            ("penalty_skip", self.penalty_skip, 0),
            ("localization_top", self.localization_top, 0),
        ):
            if value < least:
                raise InputError(f"ALoRa's {name} is {value}, expected at least {least}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"ALoRa's dropout is {self.dropout}, expected 0 to below 1")
        if self.input_clip <= 0 or self.penalty_gamma <= 0:
            raise InputError(
                f"ALoRa's input_clip is {self.input_clip} and penalty_gamma {self.penalty_gamma}, expected both above 0"
            )
        if self.rank_threshold is not None and not 0 < self.rank_threshold < 1:
            # An attention matrix's rows sum to 1, so its largest singular value is at least 1.
            raise InputError(f"ALoRa's rank_threshold is {self.rank_threshold}, expected between 0 and 1")


PRESETS: dict[str, AloraConfig] = {
    "paper": AloraConfig(),
    "small": AloraConfig(width=64, layers=2, heads=4),
}
