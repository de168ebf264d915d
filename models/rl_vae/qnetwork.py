"""The Q-network: an LSTM over the window's rows; two values, of calling the last row normal (0) and anomalous (1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.rl_vae.config import RlVaeConfig


class QNetwork(nn.Module):
    """forward(states [N, W, F]) -> [N, 2]; F as of `models.rl_vae.graph.states`.

    Beside the LSTM there is a linear path from the window's mean and its last row: with few labels it is what generalises.
    """

    def __init__(self, config: RlVaeConfig, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, config.q_hidden, batch_first=True)
        self.values = nn.Linear(config.q_hidden + 2 * features, 2)
        with torch.no_grad():
            # Gates are in the order input, forget, cell, output; there are two biases, which are added.
            self.lstm.bias_ih_l0[config.q_hidden : 2 * config.q_hidden] = 1.0
            self.lstm.bias_hh_l0[config.q_hidden : 2 * config.q_hidden] = 0.0
            self.values.weight[:, config.q_hidden :] = 0.0

    def forward(self, states: Tensor) -> Tensor:
        hidden, _ = self.lstm(states)
        values: Tensor = self.values(torch.cat([hidden[:, -1], states.mean(dim=1), states[:, -1]], dim=1))
        return values
