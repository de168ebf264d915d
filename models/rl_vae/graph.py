"""RL-VAE under the graph contract: raw windows in; score, contribution, expected and embedding out.

log score = log(e / median e) + clip(z(Q1 - Q0)) / beta

e is the VAE's error, of each channel as much as labelled normal windows trust it; median and z are by normal windows that no network was trained on. The labels move a window up or down
by a bounded factor, as far as they have proven to help; what the VAE finds gross stays gross. The flag column is always 0 here,
so that a window's score depends on nothing but the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.models.rl_vae.qnetwork import QNetwork
from wheeltapper.models.rl_vae.vae import Vae
from wheeltapper.models.standardised import StandardisedGraph

OUTPUTS = ("score", "contribution", "expected", "embedding")
# A deviation below that share of a channel's own standard deviation is noise of rounding, not spread.
LEAST_SPREAD = 0.05
LEAST_SQUARE = 1e-6
ALONE_WEIGHT = 1 / 3
# Of squared residuals, in squared standard deviations: what is smaller is all the same, and so is what is larger.
LEAST_SURPRISE, LARGEST_SURPRISE, SURPRISE_SCALE = 1e-3, 1e2, 4.0


@dataclass(frozen=True)
class Standards:
    """What normal windows give, by calibration windows.

    Attributes:
        error: median of the VAE's error.
        advantage_mean, advantage_spread: of Q1 - Q0.
        weight: 1 / beta; 0 leaves the VAE alone.
        channel: [C], standard deviation of the last row's residual, z-scores; empty takes 1 for all.
        trust: [C], share of a channel's squared residual that counts, above 0 up to 1; empty takes 1 for all.
    """

    error: float = 1.0
    advantage_mean: float = 0.0
    advantage_spread: float = 1.0
    weight: float = 1 / 3
    channel: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    trust: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


class RlVaeGraph(StandardisedGraph):
    """forward(window [N, W, C] float32, raw units) -> (score [N], contribution [N, C], expected [N, C], embedding [N, L]).

    A missing value (NaN) is read as the channel's mean and takes no part in the error.

    Args:
        vae, q_network: trained.
        config: `score`, `beta` and `advantage_clip` are applied here, not in training.
        mean, scale: [C], of the train part; `scale` above 0.
        standards: of calibration windows.
    """

    channel: Tensor
    trust: Tensor

    def __init__(
        self,
        vae: Vae,
        q_network: QNetwork,
        config: RlVaeConfig,
        mean: np.ndarray,
        scale: np.ndarray,
        standards: Standards,
    ) -> None:
        super().__init__(mean, scale, config.input_clip)
        self.vae, self.q_network = vae, q_network
        self.kind, self.advantage_clip = config.score, config.advantage_clip
        # Alone, it is shown as if the labels had proven all that they can.
        self.weight = ALONE_WEIGHT if config.score == "q" else standards.weight
        self.usual_error = standards.error
        self.advantage_mean, self.advantage_spread = standards.advantage_mean, standards.advantage_spread
        spread = standards.channel if len(standards.channel) else np.ones(len(mean))
        self.register_buffer("channel", torch.as_tensor(np.maximum(spread, LEAST_SPREAD), dtype=torch.float32))
        trust = standards.trust if len(standards.trust) else np.ones(len(mean))
        self.register_buffer("trust", torch.as_tensor(trust, dtype=torch.float32))
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = self.standardise(window)
        measured = (~torch.isnan(window)).float()
        output = self.vae(rows)
        residual = (rows - output.reconstruction) * measured
        trust = torch.ones_like(self.trust) if self.kind == "vae" else self.trust
        score = window_error(residual, measured, trust) / self.usual_error
        if self.kind != "vae":
            values = self.q_network(states(residual))
            advantage = (values[:, 1] - values[:, 0] - self.advantage_mean) / self.advantage_spread
            factor = torch.exp(torch.clamp(advantage, -self.advantage_clip, self.advantage_clip) * self.weight)
            score = factor if self.kind == "q" else score * factor
        contribution = trust * (residual[:, -1] / self.channel) ** 2
        return score, contribution, self.to_raw(output.reconstruction[:, -1]), output.mu


def window_error(residual: Tensor, measured: Tensor, trust: Tensor) -> Tensor:
    """[N]: geometric mean of the root mean squared residuals of the window and of its last row, measured values only.

    The window's is steady, the last row's is sharp, and the score is the last row's.

    Args:
        residual, measured: [N, W, C].
        trust: [C], weights of the squared residuals.
    """
    squared = trust * residual**2
    window = squared.sum(dim=(1, 2)) / torch.clamp(measured.sum(dim=(1, 2)), min=1.0)
    last = squared[:, -1].sum(dim=1) / torch.clamp(measured[:, -1].sum(dim=1), min=1.0)
    # Never quite 0: a row without any measured value still belongs to its window.
    return ((window + LEAST_SQUARE) * (last + LEAST_SQUARE)) ** 0.25


def states(residual: Tensor, flags: Tensor | None = None) -> Tensor:
    """[N, W, C + 2]: what the Q-network sees: how well the VAE explains each row, channel by channel; not the values.

    Few labels cannot tell which levels of a day are faults, and a network that sees levels learns those of the labelled days.

    Args:
        residual: [N, W, C] z-scores.
        flags: [N, W] 0 or 1, earlier actions; None is all 0, as in the stream.
    """
    squared = torch.clamp(residual**2, max=LARGEST_SURPRISE)
    surprise = torch.log(squared + LEAST_SURPRISE)
    mean = torch.log(squared.mean(dim=2, keepdim=True) + LEAST_SURPRISE)
    column = torch.zeros_like(mean) if flags is None else flags[:, :, None]
    # About -1 to 1: the logarithm of a residual of one deviation is 0.
    return torch.cat([surprise / SURPRISE_SCALE, mean / SURPRISE_SCALE, column], dim=2)


def state_features(channels: int) -> int:
    return channels + 2
