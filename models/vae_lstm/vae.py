"""The convolutional VAE: a short window to a code of a few numbers, and back.

At `hidden` = 512 and one channel these are the published networks; `hidden` shrinks all of their layers alike, and more
channels widen the first and the last convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wheeltapper.models.vae_lstm.config import PUBLISHED_HIDDEN, VaeLstmConfig

SLOPE = 0.2
# Of the code's deviation: softplus keeps a gradient where the published ReLU dies at exactly this value.
SIGMA_FLOOR = 0.01


@dataclass(frozen=True)
class _Layout:
    """Layers for one window length; widths as published, at `hidden` = 512.

    Attributes:
        mirrored: rows repeated in reverse at both ends before the first convolution.
        encoder: (width, kernel, stride, rows of zeros behind) of the strided convolutions.
        rows, width: what the last convolution of the encoder spans, and what the decoder starts from, rows x width.
        upsampling: factors of the decoder's pixel shuffles, each after a convolution of 3 rows that keeps its width.
        last_kernel, last_padding: of the decoder's last convolution.
    """

    mirrored: int
    encoder: tuple[tuple[int, int, int, int], ...]
    rows: int
    decoder_rows: int
    decoder_width: int
    upsampling: tuple[int, ...]
    last_kernel: int
    last_padding: int


LAYOUTS = {
    24: _Layout(4, ((32, 3, 2, 1), (64, 3, 2, 1), (128, 3, 2, 1)), 4, 4, 128, (2, 2, 2), 9, 0),
    48: _Layout(0, ((32, 3, 2, 1), (64, 3, 2, 1), (128, 3, 2, 1)), 6, 3, 256, (2, 4, 2), 5, 2),
    144: _Layout(0, ((32, 3, 4, 0), (64, 3, 4, 0), (128, 3, 3, 0)), 3, 3, 288, (3, 4, 4), 9, 4),
}


class VariationalAutoencoder(nn.Module):
    """
    Args:
        channels: C.
    """

    def __init__(self, config: VaeLstmConfig, channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(config, channels)
        self.decoder = Decoder(config, channels)
        self.apply(_initialise)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, l_win, C] to (reconstruction [B, l_win, C], mu [B, code], sigma [B, code]).

        Codes are drawn from N(mu, sigma) in training and are mu everywhere else.
        """
        mu, sigma = self.encoder(rows)
        code = mu + sigma * torch.randn_like(sigma) if self.training else mu
        return self.decoder(code), mu, sigma

    def embed(self, rows: Tensor) -> Tensor:
        """[B, l_win, C] to mu, [B, code]."""
        mu: Tensor = self.encoder(rows)[0]
        return mu


class Encoder(nn.Module):
    """[B, l_win, C] to mu and sigma, [B, code] each."""

    mirror: Tensor

    def __init__(self, config: VaeLstmConfig, channels: int) -> None:
        super().__init__()
        layout = LAYOUTS[config.l_win]
        edge = torch.arange(layout.mirrored)
        rows = torch.cat([edge.flip(0), torch.arange(config.l_win), config.l_win - 1 - edge])
        self.register_buffer("mirror", rows, persistent=False)
        self.mirrored = layout.mirrored > 0
        self.convolutions = nn.ModuleList()
        self.behind = [padding for _, _, _, padding in layout.encoder]
        width = channels
        for published, kernel, stride, _ in layout.encoder:
            self.convolutions.append(nn.Conv1d(width, _width(published, config.hidden), kernel, stride))
            width = _width(published, config.hidden)
        self.whole = nn.Conv1d(width, config.hidden, layout.rows)
        self.dense = nn.Linear(config.hidden, 4 * config.code)
        self.mu = nn.Linear(4 * config.code, config.code)
        self.sigma = nn.Linear(4 * config.code, config.code)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        features = rows.transpose(1, 2)  # [B, C, l_win]
        if self.mirrored:
            features = features.index_select(2, self.mirror)
        for convolution, behind in zip(self.convolutions, self.behind, strict=True):
            features = functional.leaky_relu(convolution(functional.pad(features, (0, behind))), SLOPE)
        features = functional.leaky_relu(self.whole(features), SLOPE)  # [B, hidden, 1]
        features = functional.leaky_relu(self.dense(features[:, :, 0]), SLOPE)
        return self.mu(features), functional.softplus(self.sigma(features)) + SIGMA_FLOOR


class Decoder(nn.Module):
    """[B, code] to [B, l_win, C]."""

    def __init__(self, config: VaeLstmConfig, channels: int) -> None:
        super().__init__()
        layout = LAYOUTS[config.l_win]
        self.rows = layout.decoder_rows
        self.width = width = _width(layout.decoder_width, config.hidden)
        self.dense = nn.Linear(config.code, config.hidden)
        # A convolution over one row is a linear layer.
        self.spread = nn.Linear(config.hidden, self.rows * width)
        self.convolutions = nn.ModuleList()
        self.factors = layout.upsampling
        for factor in self.factors:
            self.convolutions.append(nn.Conv1d(width, width, 3, padding=1))
            width //= factor
        self.last = nn.Conv1d(width, channels, layout.last_kernel, padding=layout.last_padding)

    def forward(self, code: Tensor) -> Tensor:
        features = functional.leaky_relu(self.dense(code), SLOPE)
        features = functional.leaky_relu(self.spread(features), SLOPE).reshape(-1, self.width, self.rows)
        for convolution, factor in zip(self.convolutions, self.factors, strict=True):
            features = pixel_shuffle(functional.leaky_relu(convolution(features), SLOPE), factor)
        return self.last(features).transpose(1, 2)


def pixel_shuffle(features: Tensor, factor: int) -> Tensor:
    """[B, D * factor, L] to [B, D, L * factor]: neighbouring channels become neighbouring rows."""
    width, rows = features.shape[1] // factor, features.shape[2]
    return features.reshape(-1, width, factor, rows).transpose(2, 3).reshape(-1, width, rows * factor)


def _width(published: int, hidden: int) -> int:
    return published * hidden // PUBLISHED_HIDDEN


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
