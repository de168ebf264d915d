"""VAE-LSTM under the graph contract: raw windows in; score, contribution, expected and embedding out.

Everything the score needs is inside: scaling, VAE, LSTM, the switch to the VAE alone while the history is short, and the
two divisors that put both scores on one scale. See `wheeltapper.schemas.bundle.graph` for the contract.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.standardised import StandardisedGraph
from wheeltapper.models.vae_lstm.config import VaeLstmConfig
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import Decoder, Encoder

OUTPUTS = ("score", "contribution", "expected", "embedding")
# Raw score 1.0 is what one in a hundred held-out windows reaches, with the LSTM and without.
SCALE_QUANTILE = 0.99
# An error below it is rounding.
SMALLEST_SCALE = 1e-8


class VaeLstmGraph(StandardisedGraph):
    """forward(window [N, W, C] float32, raw units) -> (score [N], contribution [N, C], expected [N, C], embedding [N, code]).

    With the whole history there, the score is the squared error between the last l_win rows (or all but the first l_win,
    `score='sequence'`) and what the decoder makes of the codes that the LSTM predicts. Where a row before the last l_win is
    NaN in every channel, the history has not been yet: the score is the VAE's own reconstruction error of the last l_win
    rows. Both are means over measured values, so they depend neither on l_seq nor on the number of channels, divided by
    `full_scale` and `short_scale`. Contributions are the channels' parts of the score and sum to it. A missing value is read
    as the channel's mean and takes no part in an error.

    With `score='recent'` a row weighs (1 - a)^age, a = 2 / (l_win + 1): the moving average that smooths such errors over
    l_win rows, inside one window.

    Args:
        encoder, decoder, predictor: trained.
        mean, scale: [C], of the train part; `scale` above 0.
    """

    full_scale: Tensor
    short_scale: Tensor
    weights: Tensor

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        predictor: CodePredictor,
        config: VaeLstmConfig,
        mean: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        super().__init__(mean, scale, config.input_clip)
        self.config = config
        self.encoder, self.decoder, self.predictor = encoder, decoder, predictor
        self.l_win, self.l_seq, self.code = config.l_win, config.l_seq, config.code
        self.channels = len(mean)
        # The first short window that is scored.
        self.first = 1 if config.score == "sequence" else config.l_seq - 1
        age = torch.arange(config.l_win * (config.l_seq - self.first)).flip(0)
        keep = 1 - 2 / (config.l_win + 1) if config.score == "recent" else 1.0
        self.register_buffer("weights", keep ** age[:, None].float())  # [scored rows, 1]
        self.register_buffer("full_scale", torch.ones(()))
        self.register_buffer("short_scale", torch.ones(()))
        self.eval()

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        measured = (~torch.isnan(window)).float()  # [N, W, C]
        codes, full, short, predicted, reconstruction = self._errors(window, measured)
        history = measured[:, : -self.l_win].sum(dim=2).amin(dim=1)  # measured values of the emptiest row before
        whole = (history > 0)[:, None]  # [N, 1]
        contribution = torch.where(whole, full / self.full_scale, short / self.short_scale)
        expected = torch.where(whole, predicted[:, -1], reconstruction[:, -1])
        return contribution.sum(dim=1), contribution, self.to_raw(expected), codes[:, -1]

    def errors(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """[N, W, C] raw units to the unscaled scores [N] with the whole history and without."""
        _, full, short, _, _ = self._errors(window, (~torch.isnan(window)).float())
        return full.sum(dim=1), short.sum(dim=1)

    def _errors(self, window: Tensor, measured: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        rows = self.standardise(window)
        codes, _ = self.encoder(rows.reshape(-1, self.l_win, self.channels))
        codes = codes.reshape(-1, self.l_seq, self.code)
        predicted_codes = self.predictor(codes[:, :-1])[:, self.first - 1 :]
        predicted = self.decoder(predicted_codes.reshape(-1, self.code))
        predicted = predicted.reshape(-1, (self.l_seq - self.first) * self.l_win, self.channels)
        reconstruction = self.decoder(codes[:, -1])
        start = self.first * self.l_win
        weights = measured[:, start:] * self.weights
        full = mean_by_channel((rows[:, start:] - predicted) ** 2, weights)
        short = mean_by_channel((rows[:, -self.l_win :] - reconstruction) ** 2, weights[:, -self.l_win :])
        return codes, full, short, predicted, reconstruction

    def set_scales(self, batches: Iterable[Tensor]) -> tuple[float, float]:
        """Choose both divisors on held-out windows, [B, W, C] raw units each; the mean unscaled scores."""
        with torch.no_grad():
            full, short = (torch.cat(part) for part in zip(*map(self.errors, batches), strict=True))
        self.full_scale.fill_(max(float(full.quantile(SCALE_QUANTILE)), SMALLEST_SCALE))
        self.short_scale.fill_(max(float(short.quantile(SCALE_QUANTILE)), SMALLEST_SCALE))
        return float(full.mean()), float(short.mean())


def mean_by_channel(squares: Tensor, weights: Tensor) -> Tensor:
    """[N, n, C] to [N, C]: each channel's part of the weighted mean over all values; 0 where all weights are."""
    total = weights.sum(dim=(1, 2))[:, None]
    return (squares * weights).sum(dim=1) / torch.where(total > 0, total, torch.ones_like(total))
