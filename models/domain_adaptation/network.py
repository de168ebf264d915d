"""CNN-BiLSTM encoder with classifier, decoder and discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig

SOURCE, TARGET = 0, 1
DOMAINS = 2
_GROUPS = 4
_MOMENTUM = 0.1
_VARIANCE_FLOOR = 1e-5
_LEAST_REFERENCE = 4


class DomainBatchNorm(nn.Module):
    """Batch normalisation with the statistics of what is normal in one domain, and weights that both share.

    Two domains in one batch, or one's statistics used for the other, are what makes plain batch normalisation evaluate a
    network that was never trained (after Chang et al., CVPR 2019, and AdaBN, Li et al., 2016). Statistics over normal
    windows alone keep a domain with many anomalies comparable with one that has few.

    Args:
        width: channels.

    Attributes:
        domain: whose statistics are used and, in training, updated.
        reference: in training, [B] bool: the windows that statistics are taken of; None takes all.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(DOMAINS, width))
        self.register_buffer("variance", torch.ones(DOMAINS, width))
        self.domain = TARGET
        self.reference: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """[B, width, T] of the one domain."""
        mean, variance = self.get_buffer("mean")[self.domain], self.get_buffer("variance")[self.domain]
        if self.training:
            # One window or two would be normalised to nothing.
            few = self.reference is None or int(self.reference.sum()) < _LEAST_REFERENCE
            variance_now, mean_now = torch.var_mean(
                features if few else features[self.reference], dim=(0, 2), correction=0
            )
            with torch.no_grad():
                mean.lerp_(mean_now, _MOMENTUM)
                variance.lerp_(variance_now, _MOMENTUM)
            mean, variance = mean_now, variance_now
        factor = self.weight * torch.rsqrt(variance + _VARIANCE_FLOOR)
        return features * factor[:, None] + (self.bias - mean * factor)[:, None]


class GradientReversal(torch.autograd.Function):
    """Identity forward, gradient times -strength backward."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


class Encoder(nn.Module):
    """[B, W, F] scaled rows to [B, D] features, without activation and before any dropout: what is aligned.

    Three convolutions (7, 5, 3 rows wide), a BiLSTM, its forward half read after the last row and its backward
    half after the first: both have seen the whole window.
    """

    def __init__(self, inputs: int, config: DomainAdaptationConfig) -> None:
        super().__init__()
        widths = (inputs, config.channels, 2 * config.channels, 4 * config.channels)
        strides = (1, min(config.pool, 2), max(config.pool // 2, 1))
        blocks: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(zip((7, 5, 3), strides, strict=True)):
            width = widths[index + 1]
            blocks += [
                nn.Conv1d(widths[index], width, kernel, stride=stride, padding=kernel // 2),
                DomainBatchNorm(width) if config.norm == "domain" else nn.GroupNorm(_GROUPS, width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            ]
        self.convolutions = nn.Sequential(*blocks)
        self.recurrent = nn.LSTM(
            widths[-1],
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.project = nn.Linear(2 * config.hidden, config.latent)

    def forward(self, rows: Tensor) -> Tensor:
        steps = self.convolutions(rows.transpose(1, 2)).transpose(1, 2)  # [B, W / pool, 4 channels]
        return self.project(self.read_out(steps))

    def read_out(self, steps: Tensor) -> Tensor:
        """[B, T, 4 channels] -> [B, 2 hidden]: forward state after the last step, backward state after the first."""
        _, (state, _) = self.recurrent(steps)
        return torch.cat([state[-2], state[-1]], dim=1)


class Decoder(nn.Module):
    """[B, D] features to [B, W, F] scaled rows: an LSTM over W / pool equal inputs, then convolutions."""

    def __init__(self, outputs: int, config: DomainAdaptationConfig) -> None:
        super().__init__()
        width = 2 * config.channels
        self.steps, self.pool = config.window // config.pool, config.pool
        self.enter = nn.Sequential(nn.Linear(config.latent, config.latent), nn.ReLU())
        self.recurrent = nn.LSTM(config.latent, config.latent, batch_first=True)
        self.leave = nn.Sequential(
            nn.ConvTranspose1d(config.latent, width, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(width, outputs, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        entered = self.enter(features)[:, None, :].expand(-1, self.steps, -1)
        steps = self.recurrent(entered)[0].transpose(1, 2)  # [B, D, W / pool]
        if self.pool > 1:
            steps = torch.repeat_interleave(steps, self.pool, dim=2)
        return self.leave(steps).transpose(1, 2)


def head(latent: int, dropout: float) -> nn.Sequential:
    """[B, D] -> [B, 1] logit; a classifier or a discriminator.

    Args:
        latent: D.
    """
    middle, small = max(latent // 2, 1), max(latent // 4, 1)
    return nn.Sequential(
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(latent, middle),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(middle, small),
        nn.ReLU(),
        nn.Linear(small, 1),
    )


class DomainNetwork(nn.Module):
    """Encoder, classifier and decoder; the discriminator is made for DANN alone and never exported."""

    def __init__(self, inputs: int, config: DomainAdaptationConfig) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, config)
        self.classifier = head(config.latent, config.dropout)
        self.decoder = Decoder(inputs, config)
        self.discriminator = head(config.latent, config.dropout) if config.method == "dann" else None

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, W, F] scaled rows -> features [B, D], logit [B], reconstruction [B, W, F]."""
        features = self.encoder(rows)
        return features, self.classifier(features)[:, 0], self.decoder(features)

    @contextmanager
    def of_domain(self, domain: int, reference: Tensor | None = None) -> Iterator[None]:
        """Normalise with the statistics of this domain inside the block; outside it is the target's.

        Args:
            reference: [B] bool, in training: the normal windows of the batch.
        """
        norms = [module for module in self.encoder.convolutions if isinstance(module, DomainBatchNorm)]
        for norm in norms:
            norm.domain, norm.reference = domain, reference
        try:
            yield
        finally:
            for norm in norms:
                norm.domain, norm.reference = TARGET, None

    @torch.no_grad()
    def estimate_statistics(self, rows: Tensor, domain: int, batch_size: int = 512) -> None:
        """Set a domain's normalisation to the exact statistics of [n, W, F] scaled rows, layer by layer (AdaBN)."""
        was_training = self.training
        self.eval()
        with self.of_domain(domain):
            for depth, module in enumerate(self.encoder.convolutions):
                if not isinstance(module, DomainBatchNorm):
                    continue
                before = self.encoder.convolutions[:depth]
                total, squares, count = 0.0, 0.0, 0
                for part in rows.split(batch_size):
                    reached = before(part.transpose(1, 2)).double()
                    total = total + reached.sum(dim=(0, 2))
                    squares = squares + (reached**2).sum(dim=(0, 2))
                    count += reached.shape[0] * reached.shape[2]
                mean = torch.as_tensor(total) / count
                module.get_buffer("mean")[domain] = mean.float()
                module.get_buffer("variance")[domain] = (
                    (torch.as_tensor(squares) / count - mean**2).clamp(min=0).float()
                )
        self.train(was_training)

    @torch.no_grad()
    def share_statistics(self) -> None:
        """The target is normalised as the source is: a network that knows no domain."""
        for module in self.modules():
            if isinstance(module, DomainBatchNorm):
                for name in ("mean", "variance"):
                    module.get_buffer(name)[TARGET] = module.get_buffer(name)[SOURCE]
