"""A network that was adapted to a target, with everything that its score needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig
from wheeltapper.models.domain_adaptation.graph import DomainAdaptationGraph
from wheeltapper.models.domain_adaptation.network import SOURCE, TARGET, DomainNetwork
from wheeltapper.models.standardised import INPUT_CLIP
from wheeltapper.training.detectors.domain_adaptation.domains import Scaler

_BATCH = 512


@dataclass(frozen=True)
class AdaptedModel:
    """
    Attributes:
        network: in evaluation mode, on the CPU.
        source_scalers: one of each source, in order.
        target_scaler: kept in the graph; scores do not depend on anything outside of it.
        error_median, error_spread, channel_weight, channel_error: see `wheeltapper.models.domain_adaptation.graph`.
        iterations: steps taken.
        selected_at: step whose weights were kept.
        cut: True where the budget ended training.
        checkpoints: (step, criterion) of the selection without target labels, where there was one.
    """

    config: DomainAdaptationConfig
    network: DomainNetwork
    source_scalers: tuple[Scaler, ...]
    target_scaler: Scaler
    error_median: float
    error_spread: float
    channel_weight: np.ndarray
    channel_error: np.ndarray
    iterations: int
    selected_at: int
    cut: bool = False
    checkpoints: tuple[tuple[int, float], ...] = field(default=())

    def graph(self) -> DomainAdaptationGraph:
        return DomainAdaptationGraph(
            self.network,
            self.config,
            self.target_scaler.mean,
            self.target_scaler.deviation,
            self.error_median,
            self.error_spread,
            self.channel_weight,
            self.channel_error,
        )

    def score(self, windows: np.ndarray) -> np.ndarray:
        """[n, W, F] raw windows of the target -> [n] float64; larger is stranger."""
        graph = self.graph()
        with torch.no_grad():
            parts = [graph(part)[0].numpy() for part in torch.as_tensor(windows, dtype=torch.float32).split(_BATCH)]
        return np.concatenate(parts).astype(np.float64)

    def source_features(self, windows: np.ndarray, source: int = 0) -> np.ndarray:
        """[n, W, F] raw windows of a source -> [n, D], what alignment sees."""
        return self._features(self.source_scalers[source].apply(windows, INPUT_CLIP), SOURCE)

    def target_features(self, windows: np.ndarray) -> np.ndarray:
        """[n, W, F] raw windows of the target -> [n, D]."""
        return self._features(self.target_scaler.apply(windows, INPUT_CLIP), TARGET)

    def _features(self, rows: np.ndarray, domain: int) -> np.ndarray:
        with torch.no_grad(), self.network.of_domain(domain):
            return np.concatenate([self.network.encoder(part).numpy() for part in torch.as_tensor(rows).split(_BATCH)])
