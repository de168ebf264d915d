"""The network: trunk, projector, attention over patches, and the operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from wheeltapper.models.astra.config import PATCH, AstraConfig
from wheeltapper.models.astra.picture import Picture, patches_of
from wheeltapper.models.astra.pooling import AttentionPool
from wheeltapper.models.astra.trunk import RESNET34_BLOCKS, RESNET34_WIDTHS, Trunk
from wheeltapper.schemas.bundle.manifest import AttributeSpec

# Width of the operating point's own embedding, where it is put beside the sound's (published).
ATTRIBUTE_HIDDEN = 32
# Of the auxiliary head: logits are so many times a cosine.
HEAD_SCALE = 16.0


class Attributes(nn.Module):
    """Columns of the graph's input to numbers for a network: [N, A] -> [N, 2 a + c].

    A number becomes how many deviations it is from the train part's mean, and whether it is known; a category's columns stay.

    Args:
        specs: of the columns.
        rows: [n, A] of the train part; NaN and all zeros where unknown.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, specs: Sequence[AttributeSpec], rows: Tensor) -> None:
        super().__init__()
        numbers: list[int] = []
        mean, scale = torch.zeros(rows.shape[1]), torch.ones(rows.shape[1])
        column = 0
        for spec in specs:
            if not spec.categories:
                known = rows[:, column][~torch.isnan(rows[:, column])]
                numbers.append(column)
                if len(known):
                    mean[column] = known.mean()
                    scale[column] = max(float(known.std(correction=0)), 1e-6 * abs(float(mean[column])), 1e-9)
            column += spec.width
        self.numbers = numbers
        self.width = rows.shape[1] + len(numbers)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, columns: Tensor) -> Tensor:
        unknown = torch.isnan(columns)
        values = torch.where(unknown, torch.zeros_like(columns), (columns - self.mean) / self.scale)
        if not self.numbers:
            return values
        return torch.cat([values, 1.0 - unknown[:, self.numbers].to(values.dtype)], dim=1)

    def unknown(self, columns: Tensor) -> Tensor:
        """As many columns, of nothing known."""
        empty = torch.zeros_like(columns)
        empty[:, self.numbers] = torch.nan
        return empty


class AstraNetwork(nn.Module):
    """Pictures of a clip's channels to patches, and patches to an embedding.

    Args:
        picture: how levels become pictures.
        attributes: of the operating point.
        channels: C; each has its own picture, and all share the trunk.
        classes: that the auxiliary head tells apart; below 2 there is none.

    Attributes:
        grid: (rows, columns) of a channel's patches.
    """

    def __init__(
        self, config: AstraConfig, picture: Picture, attributes: Attributes, channels: int = 1, classes: int = 0
    ) -> None:
        super().__init__()
        self.picture, self.attributes = picture, attributes
        self.dense, self.channels, self.use = config.dense, channels, config.attributes
        if config.trunk == "resnet34":
            self.trunk = Trunk(picture.channels, RESNET34_BLOCKS, RESNET34_WIDTHS)
        else:
            widths = [config.width * 2**layer for layer in range(config.layers)]
            self.trunk = Trunk(picture.channels, [1] * config.layers, widths)
        self.grid = grid_of(config, self.trunk.stride)
        wide, width = self.trunk.width, config.embedding
        self.projector = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, width))
        if channels > 1:
            # A patch says which axis it is of: that is no part of its picture.
            self.axis = nn.Parameter(0.1 * torch.randn(channels, 1, width))
        self.pool = AttentionPool(width, 0 if self.use == "none" else attributes.width, config.attention)
        self.width = width
        if self.use == "concatenated" and attributes.width:
            self.own = nn.Sequential(
                nn.Linear(attributes.width, ATTRIBUTE_HIDDEN), nn.ReLU(), nn.Linear(ATTRIBUTE_HIDDEN, width)
            )
            self.width = 2 * width
        self.head = nn.Linear(width, classes, bias=False) if config.auxiliary_weight and classes > 1 else None

    def patches(self, pictures: Tensor, chosen: Tensor | None = None) -> Tensor:
        """[N * C, c, H, W] -> [N, C * P, D]; with `chosen`, those of a channel's P patches alone."""
        if self.dense:
            features = self.trunk(pictures).flatten(2).transpose(1, 2)
            if chosen is not None:
                features = features[:, chosen]
        else:
            squares = patches_of(pictures, PATCH)
            if chosen is not None:
                squares = squares[:, chosen]
            count = squares.shape[1]
            features = self.trunk(squares.flatten(0, 1)).mean(dim=(2, 3)).reshape(-1, count, self.trunk.width)
        projected = self.projector(features)
        if self.channels > 1:
            count = projected.shape[1]
            projected = projected.reshape(-1, self.channels, count, projected.shape[2]) + self.axis
            projected = projected.reshape(-1, self.channels * count, projected.shape[3])
        return cast(Tensor, projected)

    def embed(self, patches: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, C * P, D] and the graph's columns [N, A] -> embedding [N, E], the sound's part of it [N, D], attention [N, C * P]."""
        known = self.attributes(columns)
        pooled, weights = self.pool(patches, known[:, :0] if self.use == "none" else known)
        if self.width > pooled.shape[1]:
            return torch.cat([pooled, self.own(known)], dim=1), pooled, weights
        return pooled, pooled, weights

    def classify(self, pooled: Tensor) -> Tensor:
        """[N, D] -> logits [N, classes]."""
        assert self.head is not None
        unit = nn.functional.normalize(pooled, dim=1, eps=1e-8)
        return HEAD_SCALE * unit @ nn.functional.normalize(self.head.weight, dim=1, eps=1e-8).T


def grid_of(config: AstraConfig, stride: int) -> tuple[int, int]:
    """(rows, columns) of the patches of one channel."""
    if config.dense:
        return -(-config.image_rows // stride), -(-config.image_columns // stride)
    half = PATCH // 2
    return config.image_rows // half - 1, config.image_columns // half - 1
