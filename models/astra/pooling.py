"""Attention pooling: patches to one vector, weighted by what they hold and by the operating point.

The published pooling adds one number of the attributes to the score of every patch of a clip. The softmax over the patches takes it
out again, so that attributes change nothing; here they are added inside the tanh, or scale and shift what is inside it (FiLM).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Attention = Literal["additive", "film", "published"]


class AttentionPool(nn.Module):
    """Weighted mean of patches; the weights are positive and sum to 1.

    Args:
        width: D of a patch.
        attributes: A, columns of the attributes; 0 where there are none.
        kind: 'additive' scores v' tanh(W z + U a), 'film' v' tanh((1 + G a) * W z + U a), 'published' v' tanh(W z) + u' a.
    """

    def __init__(self, width: int, attributes: int, kind: Attention) -> None:
        super().__init__()
        self.kind, self.attributes = kind, attributes
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, 1)
        if attributes:
            self.shift = nn.Linear(attributes, 1 if kind == "published" else width, bias=False)
            if kind == "film":
                self.scale = nn.Linear(attributes, width, bias=False)

    def forward(self, patches: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """[N, P, D] and [N, A] -> pooled [N, D], weights [N, P]."""
        hidden = self.inner(patches)
        if self.attributes and self.kind != "published":
            if self.kind == "film":
                hidden = hidden * (1 + self.scale(attributes))[:, None]
            hidden = hidden + self.shift(attributes)[:, None]
        logits = self.outer(torch.tanh(hidden))[..., 0]
        if self.attributes and self.kind == "published":
            logits = logits + self.shift(attributes)
        weights = torch.softmax(logits, dim=1)
        return torch.sum(weights[..., None] * patches, dim=1), weights
