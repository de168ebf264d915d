"""Alignment while a network is fine-tuned: reference windows and recent ones are to look alike to its embedding.

The losses are those of domain adaptation; what is added here is where windows come from, and that a network's embedding has no unit:
features are divided by their own spread, and the loss counts as a share of what the network is trained for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from wheeltapper.models.domain_adaptation.losses import alignment_loss, schedule
from wheeltapper.models.domain_adaptation.network import head
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.warm_start import WarmStart

# Windows of either side that a step compares.
COMPARED = 64
LEAST_WINDOWS = 8
# A feature that hardly moves is not blown up.
LEAST_SPREAD = 1e-3


@runtime_checkable
class Embeds(Protocol):
    """A network that gives an embedding in training."""

    def embed(self, rows: Tensor) -> Tensor:
        """[B, T, C] windows, as it is trained on, to [B, D]."""
        ...


class Aligner:
    """Draws windows of both sides and compares them; use `aligner_for`."""

    def __init__(
        self,
        network: nn.Module,
        windows: WindowSource,
        method: str,
        source: Tensor,
        target: Tensor,
        device: torch.device,
    ) -> None:
        self._network, self._windows, self._method, self._device = network, windows, method, device
        self._source, self._target = source, target
        self._discriminator = None
        if method == "dann":
            self._discriminator = head(self._embedded(source[:2]).shape[1], dropout=0.0).to(device)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained beside the network."""
        return iter(()) if self._discriminator is None else self._discriminator.parameters()

    def __call__(self, objective: Tensor, progress: float) -> Tensor:
        """What is added to the objective of a step.

        Args:
            objective: scalar, what the network is trained for.
            progress: share of the training that is done; alignment grows with it.
        """
        source, target = self._drawn(self._source), self._drawn(self._target)
        # One pass: batch normalisation must not tell them apart.
        features = self._embedded(torch.cat([source, target]))
        features = features / (features.detach().std(dim=0) + LEAST_SPREAD)
        distance = alignment_loss(
            self._method, features[: len(source)], features[len(source) :], schedule(progress), self._discriminator
        )
        return objective.detach().abs() * distance

    def _embedded(self, index: Tensor) -> Tensor:
        assert isinstance(self._network, Embeds)
        return self._network.embed(self._windows.take(index).to(self._device))

    @staticmethod
    def _drawn(pool: Tensor) -> Tensor:
        return pool[torch.randperm(len(pool))[:COMPARED]]


def aligner_for(
    network: nn.Module, windows: WindowSource, warm_start: WarmStart | None, device: torch.device
) -> Aligner | None:
    """What aligns reference and recent windows; None where nothing is to be aligned, or one side has too few windows.

    Args:
        windows: those that are trained on, numbered by their last rows.
    """
    if warm_start is None or warm_start.alignment == "none" or not isinstance(network, Embeds):
        return None
    recent = windows.last_rows >= warm_start.source_rows
    source, target = torch.nonzero(~recent)[:, 0], torch.nonzero(recent)[:, 0]
    if min(len(source), len(target)) < LEAST_WINDOWS:
        return None
    return Aligner(network, windows, warm_start.alignment, source, target, device)
