"""Settings of domain adaptation; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wheeltapper.schemas.errors import InputError

Method = Literal["source-only", "adanorm", "dann", "mmd", "coral", "target-supervised"]
METHODS: tuple[Method, ...] = get_args(Method)
ALIGNING: tuple[Method, ...] = ("dann", "mmd", "coral")
Norm = Literal["domain", "group"]
Selection = Literal["last", "unlabelled"]


@dataclass(frozen=True, slots=True)
class DomainAdaptationConfig:
    """The network, its losses, its training and its score.

    Attributes:
        window: W, rows.
        method: what makes source and target alike; `adanorm` is scaling and normalisation by domain alone, `source-only`
            not even that, `target-supervised` learns from labels of the target.
        channels: of the first convolution; the others have two and four times as many.
        hidden: of each direction of the BiLSTM.
        layers: of the BiLSTM.
        latent: D, features that are aligned.
        pool: rows that the second and the third convolution merge into one, together: 1, 2 or 4.
        dropout: after convolutions, between BiLSTM layers, in the heads.
        norm: after a convolution. 'domain' = batch normalisation with statistics of the domain at hand; 'group' =
            GroupNorm, which knows no domain.
        label_rows: k; a window is anomalous where one of its last k rows is, and its error is that of these rows.
        iterations: training steps.
        batch_size: windows of the source, and as many of the target, a step.
        learning_rate, weight_decay: Adam's; the rate falls along a cosine to 1e-6.
        gradient_clip: largest gradient norm.
        reconstruction: weight of the reconstruction loss.
        domain_weight: lambda, the strength of the alignment that the schedule ends with.
        jitter, scaling: augmentation: noise of that many standard deviations, then a factor N(1, scaling) by channel.
        presumed_normal: share of the target's windows, those of lowest score, that take part in alignment and set its
            reference; the source's part is its normal windows. 1 aligns everything with everything.
        warm_up: share of the iterations before windows are presumed normal and alignment begins.
        selection: 'last' keeps the weights of the last step; 'unlabelled' those of the best of ten checkpoints by
            AUC-PR on held-out source windows less the discrepancy of held-out source and target features.
        alpha: share of the classifier in the score; the rest is the normalised reconstruction error.
        scale: 'train' standardises by the data, 'given' takes values as they come (see `wheeltapper.training.fitting.prepared`).

    Raises:
        InputError: a setting out of its range.
    """

    window: int = 64
    method: Method = "mmd"
    channels: int = 16
    hidden: int = 32
    layers: int = 1
    latent: int = 64
    pool: int = 4
    dropout: float = 0.1
    norm: Norm = "domain"
    label_rows: int = 16
    iterations: int = 400
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    reconstruction: float = 0.5
    domain_weight: float = 1.0
    jitter: float = 0.03
    scaling: float = 0.1
    presumed_normal: float = 0.8
    warm_up: float = 0.3
    selection: Selection = "last"
    alpha: float = 0.7
    scale: Literal["train", "given"] = "train"

    def __post_init__(self) -> None:
        for name, least in (
            ("window", 8),
            ("channels", 4),
            ("hidden", 1),
            ("layers", 1),
            ("latent", 2),
            ("label_rows", 1),
            ("iterations", 1),
            ("batch_size", 4),
        ):
            if getattr(self, name) < least:
                raise InputError(f"domain adaptation's {name} is {getattr(self, name)}, expected at least {least}")
        if self.pool not in (1, 2, 4) or self.window % self.pool:
            raise InputError(
                f"domain adaptation's pool is {self.pool} and window {self.window}, expected a pool of 1, 2 or 4 that "
                "divides the window"
            )
        if self.channels % 4:
            raise InputError(f"domain adaptation's channels is {self.channels}, expected a multiple of 4")
        for name in ("dropout", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"domain adaptation's {name} is {getattr(self, name)}, expected 0 to below 1")
        if not 0 < self.presumed_normal <= 1 or not 0 <= self.alpha <= 1:
            raise InputError(
                f"domain adaptation's presumed_normal is {self.presumed_normal} and alpha {self.alpha}, expected shares "
                "of at most 1"
            )
        if not self.learning_rate > 0:
            raise InputError(f"domain adaptation's learning_rate is {self.learning_rate}, expected above 0")


PRESETS: dict[str, DomainAdaptationConfig] = {
    "small": DomainAdaptationConfig(),
    "paper": DomainAdaptationConfig(
        channels=32, hidden=128, layers=2, latent=128, pool=1, dropout=0.3, learning_rate=1e-3, iterations=2000
    ),
}
