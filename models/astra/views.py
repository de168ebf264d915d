"""Random views of a clip: what a network that compares two of them is to take for the same.

All randomness is torch's own, or a generator's where one is given, so that a resumed training goes on as it would have.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Generator, Tensor

from wheeltapper.models.astra.config import AstraConfig

# How much quieter than the loudest the noise of a view may be, and how much its spectrum may rise or fall, dB.
NOISE_SPAN_DB, NOISE_TILT_DB = 20.0, 10.0
# torchvision's defaults: area and aspect of a crop.
CROP_AREA, CROP_ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
JITTER, JITTER_HUE, JITTER_SHARE, GREY_SHARE, FLIP_SHARE = 0.4, 0.1, 0.8, 0.2, 0.5
_GREY = (0.299, 0.587, 0.114)
# From red, green, blue to brightness and two axes of colour, in whose plane hue is an angle.
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def sound_view(levels: Tensor, config: AstraConfig, generator: Generator | None = None) -> Tensor:
    """[B, C, frames, bands] dB: each clip shifted in time, mixed, in noise, at another gain, with a stretch and some bands masked.

    What would change what a machine is, is left alone: pitch, the direction of time, and more than `gain_db` of its level.
    """
    count, _, frames, bands = levels.shape
    random = _Uniform(count, generator)
    shift = (random(0, frames).long()[:, None] + torch.arange(frames)) % frames
    levels = torch.gather(levels, 2, shift[:, None, :, None].expand_as(levels))
    power = torch.pow(10.0, levels / 10)
    if config.mix_share and count > 1:
        share = random(0, config.mix_share)[:, None, None, None]
        partner = int(torch.randint(1, count, (1,), generator=generator))
        power = (1 - share) * power + share * power.roll(partner, dims=0)
    loudness = power.mean(dim=(2, 3), keepdim=True) * torch.pow(
        10.0, random(config.noise_db - NOISE_SPAN_DB, config.noise_db)[:, None, None, None] / 10
    )
    tilt = random(-NOISE_TILT_DB, NOISE_TILT_DB)[:, None, None, None] * torch.linspace(-0.5, 0.5, bands) / 10
    grain = -torch.log(1 - torch.rand(power.shape, generator=generator))  # the power of noise in one frame and band
    levels = 10 * torch.log10(power + loudness * torch.pow(10.0, tilt) * grain)
    levels = levels + random(-config.gain_db, config.gain_db)[:, None, None, None]
    hidden = _stretch(random, frames, config.mask_share)[:, None, :, None]
    hidden = hidden | _stretch(random, bands, config.mask_share)[:, None, None, :]
    return torch.where(hidden, levels.mean(dim=(2, 3), keepdim=True), levels)


def published_view(shades: Tensor, generator: Generator | None = None) -> Tensor:
    """[B, 1 or 3, H, W] in 0 .. 1: crop, flip, changes of colour, grey: what the source does to its pictures.

    Hue is turned in the plane of colour, which is not exactly what torchvision does.
    """
    count = len(shades)
    random = _Uniform(count, generator)
    shades = functional.grid_sample(
        shades, _crop(random, shades), mode="bilinear", padding_mode="border", align_corners=False
    )
    shades = torch.where(random(0, 1)[:, None, None, None] < FLIP_SHARE, shades.flip(3), shades)
    shades = torch.where(random(0, 1)[:, None, None, None] < JITTER_SHARE, _jitter(random, shades), shades)
    return torch.where(random(0, 1)[:, None, None, None] < GREY_SHARE, _grey(shades).expand_as(shades), shades)


class _Uniform:
    """[count] uniform numbers between two bounds."""

    def __init__(self, count: int, generator: Generator | None) -> None:
        self.count, self.generator = count, generator

    def __call__(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.count, generator=self.generator)


def _stretch(random: _Uniform, size: int, share: float) -> Tensor:
    """[count, size] bool: one stretch a row, of at most `share` of it."""
    length = random(0, share) * size
    start = random(0, 1) * (size - length)
    place = torch.arange(size)
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def _crop(random: _Uniform, shades: Tensor) -> Tensor:
    """[count, H, W, 2] places of a random crop, in grid_sample's -1 .. 1."""
    rows, columns = shades.shape[2:]
    area = random(*CROP_AREA)
    aspect = torch.exp(random(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
    width, height = torch.sqrt(area * aspect).clamp(max=1), torch.sqrt(area / aspect).clamp(max=1)
    matrix = torch.zeros(len(area), 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = width, height
    matrix[:, 0, 2], matrix[:, 1, 2] = (1 - width) * random(-1, 1), (1 - height) * random(-1, 1)
    return functional.affine_grid(matrix, [len(area), 1, rows, columns], align_corners=False)


def _grey(shades: Tensor) -> Tensor:
    if shades.shape[1] == 1:
        return shades
    return (shades * torch.tensor(_GREY)[:, None, None]).sum(dim=1, keepdim=True)


def _jitter(random: _Uniform, shades: Tensor) -> Tensor:
    def factor() -> Tensor:
        return random(1 - JITTER, 1 + JITTER)[:, None, None, None]

    shades = (shades * factor()).clamp(0, 1)
    mean = _grey(shades).mean(dim=(2, 3), keepdim=True)
    shades = (mean + (shades - mean) * factor()).clamp(0, 1)
    if shades.shape[1] == 1:
        return shades
    grey = _grey(shades)
    shades = (grey + (shades - grey) * factor()).clamp(0, 1)
    angle = 2 * math.pi * random(-JITTER_HUE, JITTER_HUE)
    turn = torch.zeros(len(angle), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 2, 2] = torch.cos(angle), torch.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -torch.sin(angle), torch.sin(angle)
    axes = torch.tensor(_YIQ)
    return torch.einsum("nij,njhw->nihw", torch.linalg.inv(axes) @ turn @ axes, shades).clamp(0, 1)
