"""Resampling in blocks whose place follows from the sample count alone, so that chunks and restarts change nothing.

Each block is resampled by itself with a margin on both sides that is cut off again: wider than the filter, so that blocks fit
together as if all had been resampled at once. soxr is imported where a microphone's rate differs from its bundle's.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from wheeltapper.stream.kinds.audio.samples import SampleBuffer

BLOCK_S = 0.25
MARGIN_SAMPLES = 300
"""At the lower of both rates; the filter of soxr's high quality reaches about half as far."""


class BlockResampler:
    """From one rate to another.

    Attributes:
        up, down: output sample number i lies at input sample number i * down / up.
        next: number of the input sample with which the next block starts.
    """

    __slots__ = ("_block", "_margin", "_rates", "down", "next", "up")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = gcd(rate_in, rate_out)
        self.up, self.down = rate_out // common, rate_in // common
        self._rates = rate_in, rate_out
        # Both in input samples, and whole numbers of output samples.
        self._block = self.down * max(1, round(BLOCK_S * rate_in / self.down))
        self._margin = self.down * -(-MARGIN_SAMPLES * rate_in // (min(rate_in, rate_out) * self.down))
        self.next = 0

    @property
    def needs_from(self) -> int:
        """Number of the oldest input sample that later blocks need."""
        return max(0, self.next - self._margin)

    def take(self, raw: SampleBuffer) -> list[np.ndarray]:
        """[C, n] output samples of each block that the input now reaches beyond."""
        found = []
        while self.next + self._block + self._margin <= raw.stop:
            first = self.needs_from
            window = raw.view(first, self.next + self._block + self._margin)
            skipped = (self.next - first) * self.up // self.down
            found.append(self._resampled(window)[:, skipped : skipped + self._block * self.up // self.down])
            self.next += self._block
        return found

    def flush(self, raw: SampleBuffer) -> np.ndarray:
        """[C, n] output samples of what is left, where nothing follows it: as if there were silence."""
        first = self.needs_from
        skipped = (self.next - first) * self.up // self.down
        count = max(0, raw.stop - self.next) * self.up // self.down
        self.next = raw.stop
        return self._resampled(raw.view(first, raw.stop))[:, skipped : skipped + count]

    def _resampled(self, samples: np.ndarray) -> np.ndarray:
        import soxr

        out = soxr.resample(np.ascontiguousarray(samples.T), *self._rates, quality="HQ")
        return np.asarray(out, dtype=np.float32).reshape(-1, len(samples)).T
