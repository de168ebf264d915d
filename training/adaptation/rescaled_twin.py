"""The TorchScript twin of a rescaled graph: the parent's twin behind the same map of its channels; needs torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.torchscript import traced_bytes
from wheeltapper.training.adaptation.rescaling import ChannelMap


class RescaledTwin(nn.Module):
    """forward(window [N, W, C], raw units of the new regime) -> the parent's outputs, `expected` in those units.

    Args:
        twin: the parent's, with outputs as a tuple or by name.
        gain, offset: [C] float32.
        outputs: names in the order of the tuple.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, twin: nn.Module, gain: np.ndarray, offset: np.ndarray, outputs: Sequence[str]) -> None:
        super().__init__()
        self.twin = twin
        self.outputs = tuple(outputs)
        self.register_buffer("gain", torch.as_tensor(gain, dtype=torch.float32))
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))

    def forward(self, window: Tensor) -> tuple[Tensor, ...]:
        found = self.twin(window * self.gain + self.offset)
        values = [found[name] for name in self.outputs] if isinstance(found, dict) else list(found)
        if "expected" in self.outputs:
            place = self.outputs.index("expected")
            values[place] = (values[place] - self.offset) / self.gain
        return tuple(values)


def rescaled_twin(twin: bytes, channel_map: ChannelMap, window: int, outputs: Sequence[str]) -> bytes:
    """A TorchScript archive behind the map: forward(window) -> tuple in the order of `outputs`.

    Args:
        window: W, rows.
        outputs: names of the parent's outputs, in the graph's order.
    """
    with warnings.catch_warnings():
        # torch calls TorchScript legacy at every use.
        warnings.simplefilter("ignore")
        parent = torch.jit.load(BytesIO(twin), map_location="cpu")
    module = RescaledTwin(parent, channel_map.gain, channel_map.offset, outputs)
    return traced_bytes(module, torch.zeros(2, window, len(channel_map.gain)))
