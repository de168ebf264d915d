"""What the encoder learns from: a triplet loss, and at first whether one patch follows another.

Triplet: a patch a, its positive p a few rows away, and the patch n of the batch that is farthest from it:

    max(0, d(a, p) - d(a, n) + margin),  d = 1 - cosine of the projected embeddings

The farthest one, not the nearest, as machines repeat themselves: what looks alike in a batch mostly is alike.

Pretext: of the pair (a, q) a linear layer says whether q lies one patch before a (cross entropy); pairs that do not are
drawn from the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wheeltapper.models.paano.config import PaanoConfig
from wheeltapper.models.paano.network import PaanoNetwork, unit

# Pairs that do not follow each other, for each one that does.
UNRELATED = 5


def span(config: PaanoConfig) -> int:
    """Rows that a training sample needs: the patch before the anchor, the anchor, and room for its positive."""
    return 2 * config.window + 2 * config.radius


class PaanoObjective:
    """Loss of [B, span, C] training samples.

    Args:
        steps: that the training will take.
    """

    def __init__(self, config: PaanoConfig, steps: int) -> None:
        self.config = config
        self.fading_steps = max(1.0, config.pretext_share * steps)

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(network, PaanoNetwork)
        window, radius = self.config.window, self.config.radius
        start = rows.shape[1] - window - radius
        weight = 0.0
        if network.training:
            weight = self.config.pretext_weight * max(0.0, 1.0 - float(network.steps) / self.fading_steps)
            network.steps += 1
        anchor = rows[:, start : start + window]
        parts = [anchor, _shifted(rows, start, window, radius)]
        if weight > 0:
            parts.append(rows[:, start - window : start])
        embedded = network(torch.cat(parts)).split(len(rows))
        loss = triplet(network.projection(embedded[0]), network.projection(embedded[1]), self.config.margin)
        watched = loss.detach()
        if weight > 0 and len(rows) > 1:
            loss = loss + weight * pretext(network.follows, embedded[0], embedded[2])
        return loss, watched


def triplet(anchor: Tensor, positive: Tensor, margin: float) -> Tensor:
    """Mean over the batch of [B, P] projections."""
    distance = 1 - unit(anchor) @ unit(positive).T  # [B, B]
    near = distance.diagonal()
    # Its own positive can only be the farthest where the batch holds nothing else.
    far = distance.max(dim=1).values
    return functional.relu(near - far + margin).mean()


def pretext(follows: nn.Module, anchor: Tensor, before: Tensor) -> Tensor:
    """Cross entropy of 'lies one patch before', of both kinds of pairs alike; [B, D] embeddings, B > 1."""
    count = len(anchor)
    true = follows(torch.cat([anchor, before], dim=1))
    away = torch.randint(1, count, (count * UNRELATED,), device=anchor.device)
    first = torch.arange(count, device=anchor.device).repeat_interleave(UNRELATED)
    false = follows(torch.cat([anchor[first], anchor[(first + away) % count]], dim=1))
    return functional.softplus(-true).mean() + functional.softplus(false).mean()


def _shifted(rows: Tensor, start: int, window: int, radius: int) -> Tensor:
    """[B, window, C]: each sample's patch 1 .. radius rows before or after `start`, at random."""
    steps = torch.randint(1, radius + 1, (len(rows),), device=rows.device)
    sign = 2 * torch.randint(0, 2, (len(rows),), device=rows.device) - 1
    index = (start + steps * sign)[:, None] + torch.arange(window, device=rows.device)
    return torch.gather(rows, 1, index[:, :, None].expand(-1, -1, rows.shape[2]))
