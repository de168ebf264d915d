"""The encoder: self-attention without a feed-forward part, LayerNorm over time, a weak decoder.

Two properties of this architecture are worth knowing before reading scores:

- LayerNorm runs over the TIME axis. Where every head's attention is a rank-one matrix 1p', each step receives the
  same context vector, and that LayerNorm subtracts it exactly. A window's level can then not be reconstructed, and
  the error behaves like a squared-norm detector. Reports therefore show error and rank alone beside their product.
- The penalty acts on attention only; with `alora_reduction='sum'` it outweighs the reconstruction there by far.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.embed import LightEmbedding


class AloraOutput(NamedTuple):
    """What one pass gives.

    Attributes:
        reconstruction: [B, T, C], standardised.
        attention: per layer [B, T, T], the mean over heads; rows sum to 1.
        encoded: [B, T, d], the encoder's last features.
    """

    reconstruction: Tensor
    attention: list[Tensor]
    encoded: Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention without a mask; heads of width floor(d / H). [B, T, d] -> [B, T, d] and [B, H, T, T]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        inner = self.heads * self.head_width
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = (self._split(layer(features)) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(self.head_width), dim=-1)  # [B, H, T, T]
        context = (weights @ value).transpose(1, 2).flatten(2)  # [B, T, H * d_k]
        return self.dropout(self.out(context)), weights

    def _split(self, features: Tensor) -> Tensor:
        # [B, T, H * d_k] -> [B, H, T, d_k]
        return features.unflatten(2, (self.heads, self.head_width)).transpose(1, 2)


class TimeNorm(nn.Module):
    """LayerNorm of every feature over the window's steps, gain and bias per step. [B, T, d] -> [B, T, d]."""

    def __init__(self, window: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(window, 1))
        self.bias = nn.Parameter(torch.zeros(window, 1))

    def forward(self, features: Tensor) -> Tensor:
        centred = features - features.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        return centred * torch.rsqrt(variance + self.epsilon) * self.weight + self.bias


class EncoderLayer(nn.Module):
    """x <- TimeNorm(x + attention(x)); x <- TimeNorm(x + x), which is what is left of the feed-forward part."""

    def __init__(self, width: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout)
        self.after_attention = TimeNorm(window)
        self.after_residual = TimeNorm(window)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        context, weights = self.attention(features)
        features = self.after_attention(features + context)
        return self.after_residual(features + features), weights


class AloraNetwork(nn.Module):
    """Standardised windows in, reconstruction and attention out.

    Args:
        config: its settings.
        channels: C.
        pairs: [d, 2] int, see `embed.choose_pairs`.
    """

    def __init__(self, config: AloraConfig, channels: int, pairs: np.ndarray) -> None:
        super().__init__()
        width = len(pairs)
        heads = min(config.heads, width)
        self.embedding = LightEmbedding(channels, config.window, pairs, padding=config.padding, dropout=config.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, config.window, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, channels)

    def forward(self, rows: Tensor) -> AloraOutput:
        """[B, T, C] float32, standardised, free of NaN."""
        features = self.embedding(rows)
        attention = []
        for layer in self.layers:
            features, weights = layer(features)
            attention.append(weights.mean(dim=1))
        encoded = self.norm(features)
        return AloraOutput(self.decoder(encoded), attention, encoded)

    def embed(self, rows: Tensor) -> Tensor:
        """[B, T, C] -> [B, d]: what the encoder makes of the last row."""
        output: AloraOutput = self(rows)
        return output.encoded[:, -1]
