"""What ASTRA's training minimises: two views of each clip of a batch, told from all other clips'."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Generator, Tensor, nn

from wheeltapper.models.astra.config import AstraConfig
from wheeltapper.models.astra.loss import chance, contrastive
from wheeltapper.models.astra.network import AstraNetwork
from wheeltapper.models.astra.views import published_view, sound_view

# Validation sees the same views in every epoch.
_VALIDATION_SEED = 0


class AstraObjective:
    """A batch is the numbers of its windows.

    The value that is watched is the contrastive loss less that of embeddings that say nothing, so that batches of any size can be
    compared.

    Args:
        levels: [n, C, frames, bands] dB. attributes: [n, A], the graph's columns.
        labels: [n] int64, what windows have in common; None for a loss without labels.
    """

    def __init__(self, config: AstraConfig, levels: Tensor, attributes: Tensor, labels: Tensor | None) -> None:
        self.config, self.levels, self.attributes, self.labels = config, levels, attributes, labels

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[B] indices -> (loss, watched value)."""
        assert isinstance(network, AstraNetwork)
        device, index = rows.device, rows.cpu()
        generator = None if network.training else Generator().manual_seed(_VALIDATION_SEED)
        levels, columns = self.levels[index], self._columns(network, index, generator)
        chosen = self._chosen(network, generator)
        views = [
            network.embed(network.patches(picture.to(device), chosen), columns.to(device))
            for picture in (self.view(network, levels, generator) for _ in range(2))
        ]
        labels = None if self.labels is None else self.labels[index].to(device)
        by_label = labels if self.config.loss != "nt-xent" else None
        loss = contrastive(views[0][0], views[1][0], self.config.temperature, by_label)
        watched = loss.detach() - chance(len(index))
        if network.head is not None and labels is not None:
            logits = network.classify(torch.cat([view[1] for view in views]))
            loss = loss + self.config.auxiliary_weight * functional.cross_entropy(logits, torch.cat([labels, labels]))
        return loss, watched

    def view(self, network: AstraNetwork, levels: Tensor, generator: Generator | None) -> Tensor:
        """[B, C, frames, bands] -> pictures [B * C, c, rows, columns] of one random view."""
        picture = network.picture
        if self.config.views == "sound":
            return picture(sound_view(levels, self.config, generator).flatten(0, 1))
        return picture.finished(published_view(picture.shades(levels.flatten(0, 1)), generator))

    def _columns(self, network: AstraNetwork, index: Tensor, generator: Generator | None) -> Tensor:
        columns = self.attributes[index]
        if not columns.shape[1] or not self.config.attribute_dropout:
            return columns
        dropped = torch.rand(len(index), generator=generator) < self.config.attribute_dropout
        return torch.where(dropped[:, None], network.attributes.unknown(columns), columns)

    def _chosen(self, network: AstraNetwork, generator: Generator | None) -> Tensor | None:
        count = network.grid[0] * network.grid[1]
        if self.config.patches is None or self.config.patches >= count or not network.training:
            return None
        return torch.randperm(count, generator=generator)[: self.config.patches]
