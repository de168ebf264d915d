"""Scaling inside a torch graph: raw engineering units in, z-scores within, raw units out again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

# Standardised inputs are cut there, so that no finite reading overflows float32; far outside of what a train part can hold.
INPUT_CLIP = 1000.0


class StandardisedGraph(nn.Module):
    """Base of a torch detector's graph.

    Args:
        mean, scale: [C], of the train part, raw units; `scale` above 0.
        clip: z-scores are cut to +-clip.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: np.ndarray, scale: np.ndarray, clip: float = INPUT_CLIP) -> None:
        super().__init__()
        self.clip = float(clip)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def standardise(self, window: Tensor) -> Tensor:
        """[N, T, C] raw to z-scores; a missing value (NaN) becomes 0, the channel's mean."""
        rows = torch.clamp((window - self.mean) / self.scale, -self.clip, self.clip)
        return torch.where(torch.isnan(window), torch.zeros_like(rows), rows)

    def to_raw(self, rows: Tensor) -> Tensor:
        """[.., C] z-scores to raw units."""
        return rows * self.scale + self.mean
