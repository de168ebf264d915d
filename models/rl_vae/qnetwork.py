"""The Q-network: an LSTM over the window's rows; two values, of calling the last row normal (0) and anomalous (1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wheeltapper.models.rl_vae.config import RlVaeConfig

# Of states in deviations; what is farther off is all the same. A state that never moves gets this spread.
STATE_CLIP = 5.0
LEAST_SPREAD = 0.05
CHANNEL_DROPOUT = 0.5


class QNetwork(nn.Module):
    """forward(states [N, W, F]) -> [N, 2]; F as of `wheeltapper.models.rl_vae.graph.states`.

    Beside the LSTM there is a linear path from the window's mean and its last row: with few labels it is what generalises.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, config: RlVaeConfig, features: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.lstm = nn.LSTM(features, config.q_hidden, batch_first=True)
        self.values = nn.Linear(config.q_hidden + 2 * features, 2)
        with torch.no_grad():
            # Gates are in the order input, forget, cell, output; there are two biases, which are added.
            self.lstm.bias_ih_l0[config.q_hidden : 2 * config.q_hidden] = 1.0
            self.lstm.bias_hh_l0[config.q_hidden : 2 * config.q_hidden] = 0.0
            self.values.weight[:, config.q_hidden :] = 0.0

    def standardise(self, normal: Tensor) -> None:
        """Learn what usual states [N, W, F] look like; the flag column, the last one, stays as it is."""
        self.center[:-1] = normal.mean(dim=(0, 1))[:-1]
        self.spread[:-1] = normal.std(dim=(0, 1))[:-1] + LEAST_SPREAD

    def forward(self, states: Tensor) -> Tensor:
        states = torch.clamp((states - self.center) / self.spread, -STATE_CLIP, STATE_CLIP)
        if self.training:
            # Whole channels at a time: what was learnt must not hang on the one channel that a few labelled faults share.
            kept = torch.rand(len(states), 1, states.shape[2]) >= CHANNEL_DROPOUT
            states = states * kept / (1 - CHANNEL_DROPOUT)
        hidden, _ = self.lstm(states)
        values: Tensor = self.values(torch.cat([hidden[:, -1], states.mean(dim=1), states[:, -1]], dim=1))
        return values
