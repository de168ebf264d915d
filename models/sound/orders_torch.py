"""Order bands as a torch module; the same constants and formulas as `orders`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.sound.frontend import SplitDft
from wheeltapper.models.sound.orders import LEAST_RPM, RPM_PER_HZ, TINIEST, OrderBands


class OrderWeights(nn.Module):
    """Shaft speeds to the weights of spectra as they lie in memory. Works under torch.jit.script."""

    def __init__(self, orders: OrderBands) -> None:
        super().__init__()
        split = SplitDft.of(orders.frontend.n_fft)
        self.bin_hz = orders.frontend.sample_rate / orders.frontend.n_fft
        self.least, self.per_hz, self.tiniest = LEAST_RPM, RPM_PER_HZ, TINIEST
        low, centre, high = orders.points[:-2], orders.points[1:-1], orders.points[2:]
        for name, values in {
            "places": (split.bins * self.bin_hz)[:, None],
            "counted": split.counted[:, None],
            "centre": centre,
            "left": centre - low,
            "right": high - centre,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    def forward(self, rpm: Tensor) -> tuple[Tensor, Tensor]:
        """[N] to weights [N, columns, bands], and which bands have any: [N, bands], 1 or 0."""
        known = rpm >= self.least
        hz = (torch.where(known, rpm, torch.full_like(rpm, self.least)) / self.per_hz).reshape(-1, 1, 1)
        away = self.places - hz * self.centre
        rising = 1 + away / torch.clamp(hz * self.left, min=self.bin_hz)
        falling = 1 - away / torch.clamp(hz * self.right, min=self.bin_hz)
        shape = torch.relu(torch.minimum(rising, falling)) * self.counted * known.to(rpm.dtype).reshape(-1, 1, 1)
        # Each bin has two columns, of its real and its imaginary part.
        total = shape.sum(dim=1, keepdim=True) / 2
        return shape / torch.clamp(total, min=self.tiniest), (total > 0).to(rpm.dtype).squeeze(1)
