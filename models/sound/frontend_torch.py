"""The front end as a torch module, for networks that are trained behind it; the same constants and formulas as the graph's."""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn

from wheeltapper.models.sound.frontend import DB_PER_NEPER, FrontEnd, SplitDft

# Signals of one pass: 40 MB of float32 for 10 s at 16 kHz.
SIGNALS_AT_ONCE = 8


class BandLevels(nn.Module):
    """Samples to energies or levels of bands. Works under torch.jit.script and torch.onnx.export.

    Args:
        frontend: the constants.
        samples: S, of every signal.
    """

    def __init__(self, frontend: FrontEnd, samples: int) -> None:
        super().__init__()
        split = SplitDft.of(frontend.n_fft)
        self.samples = samples
        self.frames = frontend.frames(samples)
        self.bands = frontend.bands
        self.padding = frontend.padding
        self.floor, self.scale = frontend.floor, DB_PER_NEPER
        self.rows, self.columns, self.half = split.rows, split.columns, split.rows // 2 + 1
        self.piece = gcd(frontend.n_fft, frontend.hop)
        self.step, self.per_frame = frontend.hop // self.piece, frontend.n_fft // self.piece
        self.total = (self.frames - 1) * frontend.hop + frontend.n_fft
        for name, values in {
            "hann": frontend.window.reshape(split.rows, 1, split.columns),
            "first": split.first,
            "of_real": split.of_real,
            "of_imaginary": split.of_imaginary,
            "weights": split.weights(frontend.weights),
        }.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, signals: Tensor) -> Tensor:
        """[M, S] float32 to levels [M, frames, bands], dB."""
        return torch.log(self.energies(signals) + self.floor) * self.scale

    def energies(self, signals: Tensor) -> Tensor:
        """[M, S] float32 to energies [M, frames, bands]."""
        if torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._energies(signals)
        parts = [self._energies(part) for part in torch.split(signals, SIGNALS_AT_ONCE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _energies(self, signals: Tensor) -> Tensor:
        return torch.matmul(self.power(signals), self.weights)

    def power(self, signals: Tensor) -> Tensor:
        """[M, S] float32 to the squares of X as they lie in memory, [M, frames, columns]; see `SplitDft`."""
        if self.padding > 0:
            signals = nn.functional.pad(signals, [self.padding, self.padding])
        pieces = signals[:, : self.total].reshape(-1, self.total // self.piece, self.piece)
        last = (self.frames - 1) * self.step + 1
        framed = torch.cat([pieces[:, start : start + last : self.step] for start in range(self.per_frame)], dim=2)
        turned = framed.reshape(-1, self.rows, self.columns).transpose(0, 1)
        first = torch.matmul(self.first, (turned * self.hann).reshape(self.rows, -1))
        first = first.reshape(2 * self.half, -1, self.columns)
        spectrum = torch.matmul(first[: self.half], self.of_real) + torch.matmul(first[self.half :], self.of_imaginary)
        return (spectrum * spectrum).transpose(0, 1).reshape(-1, self.frames, self.weights.shape[0])
