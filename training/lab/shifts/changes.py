"""What happens to a machine's readings at a known row: an affine change of some channels, by a weight that says how far it is.

    x' = x + w(t) * ((gain - 1) * (x - pivot) + offset)

One form serves all that is made here: a step, a ramp, a mode that comes and goes, a season, and lasting faults. The same change
with the weight of its final state gives rows of the new regime, which a detector can be trained on for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY

_HOUR_S = 3600.0
# A new operating mode lasts so long, and is left for so long, in hours.
_MODE_HOURS = (3.0, 12.0)
_PAUSE_HOURS = (3.0, 12.0)
# Share of a season's change that comes and goes with the day.
_DAILY_SHARE = 0.3


@dataclass(frozen=True)
class AffineChange:
    """Which channels change, and how.

    Attributes:
        gain, pivot, offset: [C]; a channel that does not change has gain 1 and offset 0.
    """

    gain: np.ndarray
    pivot: np.ndarray
    offset: np.ndarray

    @property
    def channels(self) -> tuple[int, ...]:
        """The columns that change."""
        return tuple(int(column) for column in np.flatnonzero((self.gain != 1) | (self.offset != 0)))

    def apply(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """[T, C] float32 values to the same with the change in force by weight [T]; rows of weight 0 are copied as they are."""
        changed = values.astype(np.float32, copy=True)
        on = np.flatnonzero(weight != 0)
        columns = np.array(self.channels, dtype=np.int64)
        if not len(on) or not len(columns):
            return changed
        part = values[np.ix_(on, columns)].astype(np.float64)
        move = (self.gain[columns] - 1) * (part - self.pivot[columns]) + self.offset[columns]
        changed[np.ix_(on, columns)] = part + weight[on, None] * move
        return changed


def sensors(
    random: np.random.Generator,
    train: np.ndarray,
    moving: np.ndarray,
    *,
    share: float = 1 / 3,
    most: int | None = None,
    gain: float = 1.0,
    offset_sd: float = 0.0,
    one_sign: bool = False,
    about_mean: bool = False,
) -> AffineChange:
    """A change of some sensors.

    Args:
        train: [n, C], what standard deviation and mean of a channel are taken from.
        moving: [C] bool, channels that vary; of them the changed ones are drawn.
        share, most: how many of them change; at least one.
        offset_sd: in standard deviations.
        one_sign: all move up; else each up or down.
        about_mean: the gain leaves a channel's mean where it is; else it is that of a sensor whose zero is zero.
    """
    width = train.shape[1]
    known = np.flatnonzero(moving)
    count = max(1, round(share * len(known)))
    count = min(count, most or count)
    chosen = random.choice(known, count, replace=False)
    signs = np.ones(count) if one_sign else random.choice([-1.0, 1.0], count)
    center = np.asarray(np.nanmean(train, axis=0, dtype=np.float64))
    scale = np.asarray(np.nanstd(train, axis=0, dtype=np.float64))
    gains, pivots, offsets = np.ones(width), np.zeros(width), np.zeros(width)
    gains[chosen] = gain
    if about_mean:
        pivots[chosen] = center[chosen]
    offsets[chosen] = signs * offset_sd * scale[chosen]
    return AffineChange(gains, pivots, offsets)


def step(rows: int, at: int) -> np.ndarray:
    """[rows] weight: 0 before `at`, 1 from it on."""
    return (np.arange(rows) >= at).astype(np.float64)


def ramp(rows: int, at: int, full: int) -> np.ndarray:
    """[rows] weight that rises from 0 at `at` to 1 at `full`, and stays there."""
    return np.clip((np.arange(rows) - at + 1) / max(full - at, 1), 0.0, 1.0) * step(rows, at)


def season(times: np.ndarray, at: int, full: int) -> np.ndarray:
    """[T] weight that rises smoothly from 0 at row `at` to about 1 at `full`; a part of it follows the hour of the day.

    Args:
        times: [T] int64, microseconds.
    """
    risen = 0.5 - 0.5 * np.cos(np.pi * ramp(len(times), at, full))
    day = np.sin(2 * np.pi * (times / 1e6) / SECONDS_PER_DAY)
    return risen * (1 - _DAILY_SHARE + _DAILY_SHARE * day)


def mode(random: np.random.Generator, rows: int, at: int, interval_s: float) -> np.ndarray:
    """[rows] weight of an operating mode that is first entered at `at`, left after some hours, and entered again."""
    weight = np.zeros(rows)
    position, on = at, True
    while position < rows:
        low, high = _MODE_HOURS if on else _PAUSE_HOURS
        length = max(1, round(random.uniform(low, high) * _HOUR_S / interval_s))
        weight[position : position + length] = on
        position, on = position + length, not on
    return weight


def noise(random: np.random.Generator, rows: int, at: int) -> np.ndarray:
    """[rows] weight that is standard normal from `at` on."""
    weight = random.standard_normal(rows)
    weight[:at] = 0.0
    return weight
