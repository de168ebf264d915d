"""Where in a window a channel was furthest from its usual self, and in what way.

A score looks back: by the time that an alert opens, a channel may have returned to normal, so the scored row alone explains
nothing. This finds, for a channel that a detector blames, the worst of the rows that the detector looks at. It needs no more
than the contract of graphs and the bundle's reference windows, so it serves every detector of rows, and it is a function of
window and bundle alone, so that a restart changes nothing. It is asked when an alert opens or speaks again, never else.

What is measured of a channel at each row, each in units of the most that training shows (99.8 % of its rows stay below 1):

    range      the distance from the median, over that of the nearer end of the usual range
    move       the distance from the mean of the rows before (a quarter of the window, 32 at most)
    coupling   the distance from what the other channels of the row imply, by linear regression
    standstill the rows in a row that are exactly alike, over the longest such run

A value beyond its range is `out_of_range`; else a run longer than any is `stuck`; else it `changed` or is `decoupled`,
whichever is further from usual.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wheeltapper.schemas.events import Deviation, WorstRow

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle import Graph

TAIL = 0.001
"""Share of training's rows beyond either end of a channel's usual range."""
LEAST_EXCESS = 1e-3
"""A value is out of range where it is so much further than the end of the range: less is float32's rounding."""
LONGEST_PAST = 32
LEAST_STANDSTILL = 8
"""Rows: shorter runs of one value say nothing."""
MOST_VALUES = 2_000_000
"""Reference values from which ranges are taken; more only cost time."""
FEWER_VALUES = 400_000
"""The same of moves and couplings."""
MOST_COUPLED = 256
"""Channels up to which regressions on all others are fitted: their cost grows with the cube."""
RIDGE = 0.01
CLIP = 5.0
"""Standard deviations beyond which another channel pulls no further at what this one is expected to be."""
PROBES = 24
"""Stretches of a window whose effect on the score is tried."""
PROBE_VALUES = 4_000_000
"""Values that are tried at a time: bounds memory."""
LEAST_REACH = 0.02
"""A stretch counts where it moves the score by so much of what the one that counts most does."""
LEAST_UNUSUAL = 0.5
"""Of the most that training shows: what moved or strayed by less explains nothing."""
LEAST_DIFFERENCE = 0.01
"""Share of its range by which a value must differ from what was expected to explain anything."""


@dataclass(frozen=True)
class UsualChannels:
    """How the channels of a bundle's reference windows behave; all [C] float64 in raw units unless said otherwise.

    Attributes:
        low, high, median: the usual range and its middle.
        move: largest usual distance from the rows before; 0 where windows have one row.
        standstill: longest run of one value, in rows; a whole window where the channel may stand still for good.
        mean, std: of the rows; std 1 where a channel never moves.
        coupling: [C, C], z of the others times its column is a channel's expected z; None: too many channels, or one alone.
        residual: largest usual distance from what the others imply.
    """

    low: np.ndarray
    high: np.ndarray
    median: np.ndarray
    move: np.ndarray
    standstill: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    coupling: np.ndarray | None
    residual: np.ndarray


def usual_channels(windows: np.ndarray) -> UsualChannels:
    """From reference windows [n, W, C] float32, NaN where a value is missing."""
    _, length, width = windows.shape
    windows = windows[:: max(1, -(-windows.size // MOST_VALUES))]
    if not len(windows):
        zeros, ones = np.zeros(width), np.ones(width)
        return UsualChannels(zeros, zeros, zeros, zeros, np.full(width, length), zeros, ones, None, zeros)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # channels that were never measured
        rows = windows.reshape(-1, width)
        low = np.nan_to_num(_quantiles(rows, TAIL, "lower"))
        high = np.nan_to_num(_quantiles(rows, 1 - TAIL, "higher"))
        standstill = longest_runs(windows)
        windows = windows[:: max(1, -(-windows.size // FEWER_VALUES))].astype(np.float64)
        rows = windows.reshape(-1, width)
        median = np.nan_to_num(_quantiles(rows, 0.5))
        move = np.nan_to_num(
            _largest(np.abs(windows - np.stack([past_means(window) for window in windows])).reshape(-1, width))
        )
    filled = np.where(np.isnan(rows), median, rows)
    mean, std = filled.mean(axis=0), filled.std(axis=0)
    std = np.where(std > 1e-9 * np.maximum(1.0, np.abs(mean)), std, 1.0)
    coupling, residual = _couplings((filled - mean) / std, high > low)
    return UsualChannels(low, high, median, move, standstill, mean, std, coupling, residual * std)


def _couplings(z: np.ndarray, varies: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Regressions of each channel on all others that vary, from z [n, C]: coefficients, and largest usual residuals [C]."""
    width = z.shape[1]
    if not 2 <= int(varies.sum()) <= MOST_COUPLED or len(z) < 2 * width:
        return None, np.zeros(width)
    z = np.clip(np.where(varies, z, 0.0), -CLIP, CLIP)
    precision = np.linalg.inv(z.T @ z / len(z) + RIDGE * np.eye(width))
    coupling = -precision / np.diag(precision)
    np.fill_diagonal(coupling, 0.0)
    coupling[:, ~varies] = 0.0
    return coupling, _largest(np.abs(z - z @ coupling))


def _largest(distances: np.ndarray) -> np.ndarray:
    """[C]: what all but a few of [n, C] distances stay below; NaN counts for nothing."""
    return _quantiles(distances, 1 - 2 * TAIL)


def _quantiles(rows: np.ndarray, share: float, method: Literal["linear", "lower", "higher"] = "linear") -> np.ndarray:
    """[C] float64 of [n, C], NaN left out."""
    missing = np.isnan(rows).any(axis=0)
    found = np.quantile(rows, share, axis=0, method=method).astype(np.float64)
    for column in np.flatnonzero(missing).tolist():
        measured = rows[~np.isnan(rows[:, column]), column]
        found[column] = np.quantile(measured, share, method=method) if len(measured) else np.nan
    return found


def past_means(values: np.ndarray) -> np.ndarray:
    """[W, C]: mean of the rows before each row of [W, C], a quarter of the window or `LONGEST_PAST`; NaN where there are
    too few, or none was measured."""
    length = len(values)
    past = min(LONGEST_PAST, max(1, length // 4))
    measured = ~np.isnan(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(np.where(measured, values, 0.0), axis=0)])
    counts = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(measured, axis=0)])
    means = np.full(values.shape, np.nan)
    if length > past:
        seen = counts[past:-1] - counts[: -past - 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            means[past:] = np.where(seen > 0, (sums[past:-1] - sums[: -past - 1]) / seen, np.nan)
    return means


def longest_runs(windows: np.ndarray) -> np.ndarray:
    """[C]: longest run of one measured value in any of [n, W, C]."""
    longest = np.ones((len(windows), windows.shape[2]))
    run = longest.copy()
    for row in range(1, windows.shape[1]):
        run = np.where(windows[:, row] == windows[:, row - 1], run + 1, 1)
        np.maximum(longest, run, out=longest)
    return longest.max(axis=0, initial=1.0)


def reach_of(graph: Graph, windows: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """[W] bool: the rows of a window that the score looks at, found by moving a stretch of them at a time by a range.

    Args:
        windows: [n, W, C] float32 normal ones, of which a few are tried.
        fill: [C] float32, stands in for missing values.
    """
    length = windows.shape[1]
    stretches = np.array_split(np.arange(length), min(PROBES, length))
    chosen = windows[:: max(1, len(windows) // 3)][:3]
    if not len(chosen):
        return np.ones(length, dtype=np.bool_)
    bases = np.where(np.isnan(chosen), fill, chosen).astype(np.float32)
    span = np.nan_to_num(np.ptp(bases.reshape(-1, bases.shape[-1]), axis=0))
    span = np.where(span > 0, span, np.float32(1.0)).astype(np.float32)
    effect = np.zeros(len(stretches))
    at_once = max(1, PROBE_VALUES // (2 * bases[0].size))
    for base in bases:
        plain = float(graph.run(base[None]).score[0])
        for first in range(0, len(stretches), at_once):
            tried = stretches[first : first + at_once]
            probes = np.repeat(base[None], 2 * len(tried), axis=0)
            for place, rows in enumerate(tried):
                probes[2 * place, rows] += span
                probes[2 * place + 1, rows] -= span
            moved = np.abs(graph.run(probes).score.astype(np.float64) - plain)
            effect[first : first + at_once] += np.nan_to_num(moved, nan=0.0, posinf=1e300).reshape(-1, 2).max(axis=1)
    if not effect.max() > 0:
        return np.ones(length, dtype=np.bool_)
    counts = effect >= LEAST_REACH * effect.max()
    return np.concatenate([np.full(len(rows), told) for rows, told in zip(stretches, counts, strict=True)])


class WorstRows:
    """Finds worst rows for the alerts of one rule. What it compares with is made when it is first asked."""

    def __init__(
        self, reference: Callable[[], np.ndarray], graph: Graph, window: int, usual: Callable[[], np.ndarray]
    ) -> None:
        """
        Args:
            reference: gives rows [n x W, C] float32 of normal windows, NaN where a value is missing.
            window: W.
            usual: gives what stands in for missing values, [C] float32.
        """
        self._reference = reference
        self._graph = graph
        self._window = window
        self._fill = usual
        self._known: tuple[UsualChannels, np.ndarray] | None = None

    def find(
        self, times: np.ndarray, values: np.ndarray, columns: list[int], scored: int, expected: np.ndarray | None
    ) -> list[WorstRow | None]:
        """The worst row of each of these channels; None where nothing about it is unusual.

        Args:
            times: [w] int64 event times (us) and values: [w, C] float32 of the window's rows, NaN where one was imputed; fewer
                than a window's where it began before the machine's first row.
            scored: rows from the last one back to the scored one.
            expected: [C] raw units, what the detector expected of the scored row, if it says so.
        """
        usual, reach = self._usual
        values = values.astype(np.float64)
        reached = reach[len(reach) - len(values) :]
        past = past_means(values[:, columns])
        partners = None
        if usual.coupling is not None:
            z = np.clip((np.where(np.isnan(values), usual.median, values) - usual.mean) / usual.std, -CLIP, CLIP)
            partners = usual.mean + usual.std * (z @ usual.coupling)
        found = []
        for place, column in enumerate(columns):
            course = _Course(times, values[:, column], reached, usual, column)
            row = course.out_of_range() or course.stuck()
            if row is None:
                own = None if expected is None else float(expected[column])
                row = course.moved(
                    past[:, place],
                    None if partners is None else partners[:, column],
                    own,
                    len(values) - 1 - scored,
                )
            found.append(row)
        return found

    @property
    def _usual(self) -> tuple[UsualChannels, np.ndarray]:
        if self._known is None:
            rows = self._reference()
            whole = rows[: len(rows) // self._window * self._window]
            windows = whole.reshape(-1, self._window, rows.shape[-1])
            windows = np.where(np.isfinite(windows), windows, np.float32(np.nan))
            self._known = usual_channels(windows), reach_of(self._graph, windows, self._fill())
        return self._known


@dataclass(frozen=True)
class _Course:
    """One channel in one window: [w] times, values, and which rows the score looks at."""

    times: np.ndarray
    values: np.ndarray
    reached: np.ndarray
    usual: UsualChannels
    column: int

    def out_of_range(self) -> WorstRow | None:
        low, high, median = (float(edge[self.column]) for edge in (self.usual.low, self.usual.high, self.usual.median))
        least = 1e-6 * max(abs(low), abs(high), 1e-6)
        above = (self.values - median) / max(high - median, least)
        below = (median - self.values) / max(median - low, least)
        place = self._worst(np.maximum(above, below), 1 + LEAST_EXCESS)
        return None if place is None else self._row(place, Deviation.OUT_OF_RANGE)

    def stuck(self) -> WorstRow | None:
        """The run of one value at the window's end, where it is longer than any was."""
        last = self.values[-1] if len(self.values) else math.nan
        other = np.flatnonzero(self.values != last)  # NaN differs from all
        first = int(other[-1]) + 1 if len(other) else 0
        if len(self.values) - first <= max(float(self.usual.standstill[self.column]), LEAST_STANDSTILL):
            return None
        return self._row(first, Deviation.STUCK)

    def moved(self, past: np.ndarray, partners: np.ndarray | None, own: float | None, scored: int) -> WorstRow | None:
        """Changed or decoupled; where the detector itself says what it expected of the scored row, that."""
        low, high = float(self.usual.low[self.column]), float(self.usual.high[self.column])
        span = max(high - low, 1e-9 * max(abs(low), abs(high), 1e-3))
        kinds = [(Deviation.CHANGED, past, float(self.usual.move[self.column]))]
        if partners is not None:
            kinds.append((Deviation.DECOUPLED, partners, float(self.usual.residual[self.column])))
        best: tuple[float, int, Deviation, float] | None = None
        for kind, wanted, largest in kinds:
            unusual = np.abs(self.values - wanted) / max(largest, LEAST_DIFFERENCE * span)
            place = self._worst(unusual, 0.0)
            if place is not None and (best is None or unusual[place] > best[0]):
                best = float(unusual[place]), place, kind, float(wanted[place])
        if best is None or best[0] < 1:
            # Nothing is unusual by itself. The detector may see more in it, and say what the scored row would have been.
            told = own is not None and math.isfinite(own) and 0 <= scored < len(self.values)
            if told and abs(self.values[scored] - own) > LEAST_DIFFERENCE * span:
                kind = Deviation.CHANGED if partners is None else Deviation.DECOUPLED
                return self._row(scored, kind, own)
        if best is None or best[0] < LEAST_UNUSUAL or abs(self.values[best[1]] - best[3]) <= LEAST_DIFFERENCE * span:
            return None
        return self._row(best[1], best[2], best[3])

    def _worst(self, unusual: np.ndarray, least: float) -> int | None:
        """The last of the rows that the score looks at where `unusual` is largest, and above `least`; None without one."""
        unusual = np.where(self.reached & ~np.isnan(unusual), unusual, -1.0)
        largest = float(unusual.max()) if len(unusual) else -1.0
        return int(np.flatnonzero(unusual == largest)[-1]) if largest > least else None

    def _row(self, place: int, kind: Deviation, expected: float | None = None) -> WorstRow | None:
        actual = float(self.values[place])
        if math.isnan(actual):
            return None
        return WorstRow(
            time=int(self.times[place]),
            kind=kind,
            actual=_digits(actual) if math.isfinite(actual) else math.copysign(_LARGEST, actual),
            expected=None if expected is None or not math.isfinite(expected) else _digits(expected),
            low=_digits(float(self.usual.low[self.column])),
            high=_digits(float(self.usual.high[self.column])),
        )


_LARGEST = float(np.finfo(np.float32).max)


def _digits(value: float) -> float:
    return float(f"{value:.7g}")
