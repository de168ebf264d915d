"""The LSTM that predicts the next code from those before it."""

from __future__ import annotations

from torch import Tensor, nn

HIDDEN = 64
LAYERS = 2


class CodePredictor(nn.Module):
    """[B, n, code] to [B, n, code]: entry i is what code i + 1 should be, given codes 0..i."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(code, HIDDEN, num_layers=LAYERS, batch_first=True)
        self.output = nn.Linear(HIDDEN, code)

    def forward(self, codes: Tensor) -> Tensor:
        hidden, _ = self.lstm(codes)
        predicted: Tensor = self.output(hidden)
        return predicted
