"""Isolation forest's TorchScript twin, for programs that embed libtorch; the only file here that knows torch."""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.isolation_forest.fitted import FittedForest
from wheeltapper.models.isolation_forest.graph import LEAST_SHORTENED
from wheeltapper.models.torchscript import script_bytes


def build_torchscript(fitted: FittedForest) -> bytes:
    """forward(window [N, W, C] float32) -> (score [N], contribution [N, C], expected [N, C], embedding [N, C])."""
    return script_bytes(ForestTwin(fitted))


class ForestTwin(torch.nn.Module):
    """The formulas of `fit`: all trees go down one level at a time; a leaf's child is itself and changes nothing."""

    def __init__(self, fitted: FittedForest) -> None:
        super().__init__()
        trees = fitted.trees
        self.clip: float = fitted.settings.clip
        self.outside: bool = fitted.settings.outside
        self.least_shortened: float = LEAST_SHORTENED
        self.usual_depth: float = fitted.usual_depth
        self.levels: int = trees.levels
        for name, values in {
            "mean": fitted.scaling.mean,
            "inverse_std": 1.0 / fitted.scaling.std,
            "low": fitted.low,
            "high": fitted.high,
            "inverse_reach": 1.0 / fitted.reach,
            "typical": fitted.scaling.typical,
            "weights": fitted.settings.row_weights(),
            "threshold": trees.threshold,
            "depth": trees.depth,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
        for name, indices in {
            "roots": trees.roots,
            "left": trees.left,
            "right": trees.right,
            "channel": np.maximum(trees.channel, 0),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64)))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        count, rows, width = window.shape
        filled = torch.where(torch.isnan(window), self.typical, window)
        flat = filled.reshape(-1, width)
        trees = self.roots.shape[0]
        node = self.roots.expand(flat.shape[0], trees)
        shares = torch.zeros_like(flat)
        for _ in range(self.levels):
            cut = self.channel[node]
            child = torch.where(torch.gather(flat, 1, cut) <= self.threshold[node], self.left[node], self.right[node])
            shares = shares.scatter_add(1, cut, (self.depth[child] - self.depth[node]) / trees)
            node = child
        depth = self.depth[node].mean(dim=1).reshape(count, rows) - self.usual_depth
        isolated = torch.exp2(-torch.einsum("i,ni->n", self.weights, depth) / self.usual_depth)
        shares = torch.einsum("i,nic->nc", self.weights, shares.reshape(count, rows, width))
        shortened = torch.relu(-shares)
        share = shortened / torch.clamp(shortened.sum(dim=1, keepdim=True), min=self.least_shortened)
        score = isolated
        if self.outside:
            beyond = torch.relu(torch.maximum(filled - self.high, self.low - filled)) * self.inverse_reach
            beyond = torch.einsum("i,nic->nc", self.weights, torch.clamp(beyond, max=self.clip))
            share = share + beyond
            score = isolated * (1.0 + beyond.sum(dim=1))
        contribution = share * isolated.unsqueeze(1)
        scaled = torch.clamp((filled[:, -1] - self.mean) * self.inverse_std, -self.clip, self.clip)
        return score, contribution, self.typical + 0.0 * scaled, scaled
