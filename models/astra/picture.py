"""From levels of mel bands to the picture that the trunk sees; the same function in training and in the graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.astra.config import AstraConfig
from wheeltapper.models.astra.trunk import IMAGENET_MEAN, IMAGENET_SCALE


def interpolation(size: int, to: int) -> np.ndarray:
    """[to, size] float64: linear interpolation along one axis, averaging over what one pixel covers where it makes smaller.

    The weights of Pillow's and torchvision's antialiased bilinear resize: triangles about each new pixel's centre, as wide as a
    pixel of the coarser side. As a constant matrix it is the same everywhere, whatever a runtime's Resize does.
    """
    scale = max(size / to, 1.0)
    centre = (np.arange(to) + 0.5) * size / to
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size) + 0.5 - centre[:, None]) / scale)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def plasma() -> np.ndarray:
    """[256, 3] float64 in 0 .. 1: the colour map 'plasma' of matplotlib (CC0), darkest first."""
    from wheeltapper.models.astra.plasma import COLOURS

    return np.frombuffer(COLOURS, dtype=np.uint8).reshape(256, 3) / 255.0


class Picture(nn.Module):
    """Levels [M, frames, bands] in dB to pictures [M, channels, rows, columns], standardised as the trunk wants them.

    Args:
        frames, bands: of the spectrogram.
        reference: dB of the train part's loudest bands, which are white with level=fixed.
    """

    down: Tensor
    across: Tensor
    colours: Tensor
    mean: Tensor
    scale: Tensor
    height: Tensor

    def __init__(self, config: AstraConfig, frames: int, bands: int, reference: float) -> None:
        super().__init__()
        self.fixed = config.level == "fixed"
        self.coloured = config.colour == "plasma"
        self.coordinates = config.coordinates
        self.reference, self.range_db = reference, config.range_db
        self.channels = (3 if self.coloured else 1) + int(config.coordinates)
        mean, scale = (IMAGENET_MEAN, IMAGENET_SCALE) if self.coloured else ((0.449,), (0.226,))
        height = np.linspace(-1.0, 1.0, config.image_rows)[:, None].repeat(config.image_columns, axis=1)
        for name, values in {
            "down": interpolation(bands, config.image_rows),
            "across": interpolation(frames, config.image_columns),
            "colours": plasma(),
            "mean": np.array(mean)[:, None, None],
            "scale": np.array(scale)[:, None, None],
            "height": height[None, None],
        }.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        return self.finished(self.shades(levels))

    def shades(self, levels: Tensor) -> Tensor:
        """[M, frames, bands] dB -> [M, 1 or 3, rows, columns] in 0 .. 1; row 0 is the lowest frequency."""
        if self.fixed:
            shade = torch.clamp((levels - self.reference) / self.range_db + 1.0, 0.0, 1.0)
        else:
            least, most = torch.amin(levels, dim=(1, 2), keepdim=True), torch.amax(levels, dim=(1, 2), keepdim=True)
            shade = (levels - least) / torch.clamp(most - least, min=1e-3)
        if not self.coloured:
            return self._resized(shade.transpose(1, 2))[:, None]
        # As in the source: 256 levels, each its colour, then resized.
        index = torch.floor(shade * 255.0).to(torch.int64)
        return self._resized(self.colours[index].permute(0, 3, 2, 1))

    def finished(self, shades: Tensor) -> Tensor:
        """Standardised, and with each pixel's place on the frequency axis where that is asked for."""
        picture = (shades - self.mean) / self.scale
        if not self.coordinates:
            return picture
        # Not `expand`: the batch's size stays open in an exported graph.
        return torch.cat([picture, torch.zeros_like(picture[:, :1]) + self.height], dim=1)

    def _resized(self, image: Tensor) -> Tensor:
        """[.., bands, frames] -> [.., rows, columns]."""
        return torch.matmul(torch.matmul(self.down, image), self.across.T)


def patches_of(picture: Tensor, size: int) -> Tensor:
    """[M, C, H, W] -> [M, P, C, size, size]: squares half a size apart, row by row, by slices and concatenation alone."""
    half = size // 2
    channels, rows, columns = picture.shape[1], picture.shape[2] // half, picture.shape[3] // half
    blocks = picture.reshape(-1, channels, rows, half, columns, half)
    tall = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)
    square = torch.cat([tall[:, :, :, :, :-1], tall[:, :, :, :, 1:]], dim=5)
    return square.permute(0, 2, 4, 1, 3, 5).reshape(-1, (rows - 1) * (columns - 1), channels, size, size)
