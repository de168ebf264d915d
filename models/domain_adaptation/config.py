"""Settings of domain adaptation; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings

Method = Literal["source-only", "adanorm", "dann", "mmd", "coral", "target-supervised"]
METHODS: tuple[Method, ...] = get_args(Method)
ALIGNING: tuple[Method, ...] = ("dann", "mmd", "coral")
Norm = Literal["domain", "group"]
Selection = Literal["last", "unlabelled"]


@dataclass(frozen=True)
class DomainAdaptationConfig(DetectorSettings):
    """The network, its losses, its training and its score."""

    DETECTOR: ClassVar[str] = "domain-adaptation"

    window: Annotated[int, Field(ge=8, description="rows")] = 64
    method: Annotated[
        Method,
        Field(
            description="what makes source and target alike: `dann`, `mmd`, `coral`; `adanorm` is scaling and normalisation by domain alone, `source-only` not even that, `target-supervised` learns from labels of the target"
        ),
    ] = "mmd"
    channels: Annotated[
        int,
        Field(
            ge=4,
            multiple_of=4,
            description="of the first convolution, a multiple of 4; the others have two and four times as many",
        ),
    ] = 16
    hidden: Annotated[int, Field(ge=1, description="of each direction of the BiLSTM")] = 32
    layers: Annotated[int, Field(ge=1, description="of the BiLSTM")] = 1
    latent: Annotated[int, Field(ge=2, description="features that are aligned")] = 64
    pool: Annotated[
        int,
        Field(
            ge=1,
            le=4,
            description="rows that the second and the third convolution merge into one, together: 1, 2 or 4, a divisor of the window",
        ),
    ] = 4
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="after convolutions, between BiLSTM layers, in the heads")
    ] = 0.1
    norm: Annotated[
        Norm,
        Field(
            description="after a convolution: `domain` is batch normalisation with statistics of the domain at hand; `group` is GroupNorm, which knows no domain"
        ),
    ] = "domain"
    label_rows: Annotated[
        int,
        Field(
            ge=1,
            description="a window is anomalous where one of its last so many rows is, and its error is that of these rows",
        ),
    ] = 16
    iterations: Annotated[
        int, Field(ge=1, description="training steps; `--epochs` sets them: an epoch shows 4,000 windows")
    ] = 400
    batch_size: Annotated[int, Field(ge=4, description="windows of the source, and as many of the target, a step")] = 64
    learning_rate: Annotated[float, Field(gt=0, description="Adam's; it falls along a cosine to 1e-6")] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, description="Adam's")] = 1e-4
    gradient_clip: Annotated[float, Field(gt=0, description="largest gradient norm")] = 1.0
    reconstruction: Annotated[float, Field(ge=0, description="weight of the reconstruction loss")] = 0.5
    domain_weight: Annotated[
        float, Field(ge=0, description="strength of the alignment that the schedule ends with")
    ] = 1.0
    jitter: Annotated[float, Field(ge=0, description="augmentation: standard deviations of added noise")] = 0.03
    scaling: Annotated[
        float, Field(ge=0, description="augmentation: standard deviation of a factor around 1 by channel")
    ] = 0.1
    presumed_normal: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of the target's windows, those of lowest score, that take part in alignment and set its reference; 1 aligns everything with everything",
        ),
    ] = 0.8
    warm_up: Annotated[
        float,
        Field(
            ge=0, lt=1, description="share of the iterations before windows are presumed normal and alignment begins"
        ),
    ] = 0.3
    selection: Annotated[
        Selection,
        Field(
            description="`last` keeps the weights of the last step; `unlabelled` those of the best of ten checkpoints by AUC-PR on held-out source windows less the discrepancy of source and target"
        ),
    ] = "last"
    alpha: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of the classifier in the score; the rest is the normalised reconstruction error",
        ),
    ] = 0.7
    scale: Annotated[
        Literal["train", "given"],
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"

    def check(self) -> None:
        if self.pool not in (1, 2, 4) or self.window % self.pool:
            self.refuse("pool", f"1, 2 or 4, a divisor of the window of {self.window} rows")

    def with_window(self, window: int) -> Self:
        """The same for another W, with as large a pool as divides it."""
        pool = next(pool for pool in (self.pool, 2, 1) if window % pool == 0 and pool <= self.pool)
        return replace(self, window=window, pool=pool)


PRESETS: dict[str, DomainAdaptationConfig] = {
    "small": DomainAdaptationConfig(),
    "paper": DomainAdaptationConfig(
        channels=32, hidden=128, layers=2, latent=128, pool=1, dropout=0.3, learning_rate=1e-3, iterations=2000
    ),
}
