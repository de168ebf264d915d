"""Samples by their number since the clock started: a buffer that holds the newest of them."""

from __future__ import annotations

import numpy as np

from wheeltapper.schemas.codec.audio_fields import INT16_SCALE
from wheeltapper.stream.core.saved import whole


class SampleBuffer:
    """The samples [start, stop) of a microphone, channels side by side.

    Attributes:
        start, stop: number of the first sample held, and of the next to come.
    """

    __slots__ = ("_data", "_first", "start", "stop")

    def __init__(self, channels: int) -> None:
        self._data = np.empty((channels, 0), dtype=np.float32)
        self._first = 0
        """Column of the sample with number `start`."""
        self.start = self.stop = 0

    def append(self, values: np.ndarray, room: int) -> None:
        """Add [C, n] samples.

        Args:
            room: columns to take beyond what is needed where the buffer must grow or move: it moves the less often.
        """
        held, more = self.stop - self.start, values.shape[1]
        if self._first + held + more > self._data.shape[1]:
            needed = held + more
            old = self._data[:, self._first : self._first + held]
            # Too small; or still as large as a longer window once needed it.
            if not needed <= self._data.shape[1] <= 2 * (needed + room):
                grown = np.empty((len(self._data), needed + room), dtype=np.float32)
                grown[:, :held] = old
                self._data = grown
            else:
                self._data[:, :held] = old.copy()
            self._first = 0
        end = self._first + held
        self._data[:, end : end + more] = values
        self.stop += more

    def view(self, start: int, stop: int) -> np.ndarray:
        """[C, stop - start] view of these samples; they are held."""
        assert self.start <= start <= stop <= self.stop
        first = self._first + start - self.start
        return self._data[:, first : first + stop - start]

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """[k, C * length]: windows of this length, a constant distance apart; a view of one channel."""
        first = self._first + int(starts[0]) - self.start
        step = int(starts[1] - starts[0]) if len(starts) > 1 else 1
        last = first + (len(starts) - 1) * step
        views = np.lib.stride_tricks.sliding_window_view(self._data, length, axis=1)[:, first : last + 1 : step]
        return views[0] if len(views) == 1 else views.swapaxes(0, 1).reshape(len(starts), -1)

    def drop_before(self, index: int) -> None:
        """Let go of older samples."""
        index = min(max(index, self.start), self.stop)
        self._first += index - self.start
        self.start = index

    def clear(self, channels: int) -> None:
        """Let go of all, and count from 0."""
        if len(self._data) != channels:
            self._data = np.empty((channels, 0), dtype=np.float32)
        self._first = self.start = self.stop = 0

    def dump(self, start: int) -> tuple[list[int], bytes]:
        """[first number, count, whether as int16] and bytes of the samples from `start` on; int16 where that is exact."""
        values = self.view(min(max(start, self.start), self.stop), self.stop)
        scaled = values * np.float32(INT16_SCALE)
        whole = np.rint(scaled)
        exact = bool(np.all((whole == scaled) & (whole >= -INT16_SCALE) & (whole < INT16_SCALE)))
        stored = whole.astype("<i2") if exact else values.astype("<f4")
        return [self.stop - values.shape[1], values.shape[1], int(exact)], stored.tobytes()

    def load(self, head: list[int], body: memoryview) -> int:
        """Take over what `dump` gave; returns how many bytes of the body it was.

        Raises:
            TypeError, ValueError: it cannot be read.
        """
        start, count, exact = (whole(number) for number in head)
        channels = len(self._data)
        dtype = np.dtype("<i2" if exact else "<f4")
        taken = channels * count * dtype.itemsize
        if start < 0 or count < 0 or taken > len(body):
            raise ValueError(f"{len(body)} bytes do not hold {count} samples of {channels} channels")
        values = np.frombuffer(body[:taken], dtype=dtype).reshape(channels, count).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("samples that are no finite numbers")
        self.clear(channels)
        self.start = self.stop = start
        self.append(values / np.float32(INT16_SCALE) if exact else values, 0)
        return taken
