"""Settings of ALoRa; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings

Padding = Literal["replicate", "causal", "circular"]
Reduction = Literal["sum", "mean"]
Score = Literal["product", "error", "rank"]
Rank = Literal["hard", "smooth"]
Localization = Literal["paper", "backward", "error"]

# More features than that never paid in the paper: 702, 1484 and 3002 were all cut to it.
WIDTH_LIMIT = 512


@dataclass(frozen=True)
class AloraConfig(DetectorSettings):
    """The detector's own settings; how it is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "alora"

    # The moving average spans three rows.
    window: Annotated[int, Field(ge=3, description="rows")] = 20
    width: Annotated[int, Field(ge=1, description="embedding features; the data may offer fewer")] = WIDTH_LIMIT
    layers: Annotated[int, Field(ge=1, description="encoder layers")] = 3
    heads: Annotated[int, Field(ge=1, description="attention heads; cut to the width where channels are very few")] = 8
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the embedding and of the attention's output")] = 0.0
    padding: Annotated[
        Padding,
        Field(
            description="of the moving average of three rows: `replicate` repeats the edge row, `causal` looks back only, `circular` is the authors' code, where the newest row is smoothed with the oldest one"
        ),
    ] = "replicate"
    cover_channels: Annotated[
        bool,
        Field(
            description="every channel that moves takes part in at least one pair; false is the paper's choice of pairs by correlation alone, which can leave a channel unseen"
        ),
    ] = True
    alora_lambda: Annotated[float, Field(ge=0, description="weight of the rank penalty")] = 10.0
    alora_reduction: Annotated[
        Reduction,
        Field(
            description="of the penalty over the batch: `sum` is the authors' code, whose weight grows with the batch; `mean` does not depend on it"
        ),
    ] = "sum"
    penalty_skip: Annotated[int, Field(ge=0, description="how many of the largest singular values are free")] = 1
    penalty_gamma: Annotated[float, Field(gt=0, description="gamma of the Geman penalty sigma / (sigma + gamma)")] = 1.0
    score: Annotated[
        Score, Field(description="`product` is error times rank; `error` and `rank` are its ablations")
    ] = "product"
    rank: Annotated[
        Rank,
        Field(
            description="`hard` counts singular values above the threshold; `smooth` does so with a logistic edge, which gives fewer ties"
        ),
    ] = "hard"
    # An attention matrix's rows sum to 1, so its largest singular value is at least 1.
    rank_threshold: Annotated[
        float | None,
        Field(gt=0, lt=1, description="h1, singular values above it count; none chooses it on held-out normal windows"),
    ] = None
    localization: Annotated[
        Localization,
        Field(
            description="`paper` is q Kn; `backward` carries blame from outputs back to inputs; `error` is the squared error alone"
        ),
    ] = "paper"
    localization_top: Annotated[
        int, Field(ge=0, description="how many contributions of a channel are kept; 0 keeps all")
    ] = 2
    input_clip: Annotated[
        float, Field(gt=0, description="standard deviations beyond which a value counts no further")
    ] = 1000.0
    scale: Annotated[
        Literal["train", "given"],
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"


PRESETS: dict[str, AloraConfig] = {
    "paper": AloraConfig(),
    "small": AloraConfig(width=64, layers=2, heads=4),
}
