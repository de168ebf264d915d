"""The score of the Numenta Anomaly Benchmark (Lavin and Ahmad, ICMLA 2015): early detections earn more, false ones cost.

With s(y) = 2 / (1 + exp(5 y)) - 1 of a position y, -1 from y = 3 on:

- in a window of rows l..r, both counted, a detection at row i earns A_TP s(-(r - i + 1) / (r - l + 1)) / s(-1): 1 in its
  first row. Only the best of a window counts; a window without any costs A_FN;
- outside, it costs A_FP, less right after a window: A_FP s((i - r) / (r - l)), r and l of the window before;
- detections in the probation, the first 15 % of the rows and at most 750, count for nothing.

The sum is normalised so that no detection at all gets 0 and the first row of every window, and no other, gets 100. The
weights are those of the benchmark's three profiles. Windows are rows [start, stop), in order and apart; one that lies in the
probation as a whole is missed for certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.training.datasets.nab import probation_rows

_STEEPNESS = 5.0
_FAR = 3.0

Windows = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class NabProfile:
    """Weights of a window found and missed, and of a false detection."""

    found: float
    missed: float
    false: float


PROFILES = {
    "standard": NabProfile(found=1.0, missed=1.0, false=0.11),
    "reward_low_FP_rate": NabProfile(found=1.0, missed=1.0, false=0.22),
    "reward_low_FN_rate": NabProfile(found=1.0, missed=2.0, false=0.11),
}


def nab_score(
    labels_windows: Windows,
    detections: np.ndarray,
    length: int,
    probation: int | None = None,
    profile: str = "standard",
) -> float | None:
    """The normalised score of one series: 100 is perfect, 0 is saying nothing, below 0 is worse than that.

    Args:
        labels_windows: rows [start, stop) of each window.
        detections: [k] int, the detected rows.
        length: rows of the series.
        probation: rows at the beginning in which detections do not count; None: the benchmark's share.

    Returns:
        None without windows.

    Raises:
        ValueError: no such profile, windows that overlap or are out of order, or rows outside of the series.
    """
    raw = nab_raw_score(labels_windows, detections, length, probation, profile)
    return normalised(raw, len(labels_windows), profile)


def nab_raw_score(
    labels_windows: Windows,
    detections: np.ndarray,
    length: int,
    probation: int | None = None,
    profile: str = "standard",
) -> float:
    """Before it is normalised: what is summed over the series of a corpus; arguments as for `nab_score`."""
    rows = np.unique(np.asarray(detections, dtype=np.int64))
    if len(rows) and not (rows[0] >= 0 and rows[-1] < length):
        raise ValueError(f"detections lie in rows {rows[0]}..{rows[-1]}, the series has {length}")
    rows = rows[rows >= (probation_rows(length) if probation is None else probation)]
    weights = _profile(profile)
    worth, window = _worth_of_rows(labels_windows, length, weights)
    best = np.full(len(labels_windows), -weights.missed)
    inside = rows[window[rows] >= 0]
    np.maximum.at(best, window[inside], worth[inside])
    return float(best.sum() + worth[rows[window[rows] < 0]].sum())


def normalised(raw: float, windows: int, profile: str = "standard") -> float | None:
    """A raw score, summed over any number of series that hold so many windows in all; None without windows."""
    weights = _profile(profile)
    if not windows:
        return None
    nothing, perfect = -weights.missed * windows, weights.found * windows
    return 100.0 * (raw - nothing) / (perfect - nothing)


def _worth_of_rows(labels_windows: Windows, length: int, weights: NabProfile) -> tuple[np.ndarray, np.ndarray]:
    """[length] float64, what a detection in each row is worth, and [length] int64, its window or -1."""
    worth, window = np.full(length, -weights.false), np.full(length, -1, dtype=np.int64)
    before = 0
    for index, (start, stop) in enumerate(labels_windows):
        if not before <= start < stop <= length:
            raise ValueError(f"window [{start}, {stop}) of {length} rows overlaps, is empty, or is out of order")
        before = stop
        inside, after = np.arange(start, stop), np.arange(stop, length)
        worth[inside] = weights.found * _sigmoid(-(stop - inside) / (stop - start)) / _sigmoid(np.array(-1.0))
        # A window of one row has no width to measure by: what follows is as far as can be.
        past = (after - (stop - 1)) / (stop - 1 - start) if stop - start > 1 else np.full(len(after), np.inf)
        worth[after] = weights.false * _sigmoid(past)
        window[inside] = index
    return worth, window


def _sigmoid(position: np.ndarray) -> np.ndarray:
    near = np.minimum(position, _FAR)
    values: np.ndarray = np.where(position >= _FAR, -1.0, 2 / (1 + np.exp(_STEEPNESS * near)) - 1)
    return values


def _profile(name: str) -> NabProfile:
    if name not in PROFILES:
        raise ValueError(f"no NAB profile '{name}', expected one of {', '.join(PROFILES)}")
    return PROFILES[name]
