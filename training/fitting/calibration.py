"""The alarm level, from raw scores of held-out normal windows.

The level is chosen for a number of expected false alarms per machine and day. What is counted are alarms as the stream
opens and clears them (`wheeltapper.stream.core.alert_life`), not rows above a level: scores of neighbouring windows share
almost all their rows, and one disturbance is one call.

How (`method` in the manifest):
- 'peaks': the scores are many enough to show `TAIL_ALARMS` alarms or more at the wanted rate: the level that gives so many.
- 'gpd': else the level t that gives `TAIL_ALARMS` alarms starts the tail; the alarms' peaks above t follow a generalised
  Pareto distribution, and the alarm level is where its rate has fallen to the wanted one. A train part may hold a few
  faults of its own, as real ones do: the largest tenth of the peaks is cut to the tenth's own beginning before the fit.
- 'maximum': too few windows or alarms for a tail: half again as far above the median as the largest score.
- 'no-spread': all scores are the same: a fixed step above them.
- 'fixed': the detector is a plain rule that says its level itself.

The default, one alarm in four days: who looks after twenty machines is called five times a day, once or twice of it at
night, by machines that are well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from wheeltapper.models.fitted import FittedDetector, WindowScorer
from wheeltapper.schemas.bundle.graph import Graph, GraphOutput
from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import SpanRule, alert_spans
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.tail import fit_tail
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.fitting.training_rows import channel_medians

FALSE_ALARMS_PER_DAY = 0.25
# Alarms that start the tail: a few more than a fit needs, few enough to be of one kind.
TAIL_ALARMS = 32
# Fewer peaks than that: luck, not a tail.
LEAST_PEAKS = 10
LEAST_WINDOWS = 200
CENSORED_SHARE = 0.1
MAXIMUM_MARGIN = 1.5
# Where no score differs from another, nothing tells how far away an alarm is. Detectors here score in standardised units.
NO_SPREAD_STEP = 1.0
# A hole of more than so many sampling intervals ends a stretch of windows.
MAX_GAP_INTERVALS = 10
BLOCKS = 5
# Enough for a tail at any sensible rate; beyond it, evenly spaced stretches stand for the whole.
MAX_WINDOWS = 200_000
# float32 values of one batch of windows: what fits a core's cache.
_BATCH_VALUES = 250_000
# Windows of a piece that is scored as runs: bounds what its outputs take.
_RUN_PIECE = 8192


@dataclass(frozen=True)
class CalibrationScores:
    """Raw scores of windows that the scoring graph was not fitted on, in time order.

    Attributes:
        score: [n] float64.
        time: [n] int64, event time of the scored row, microseconds UTC.
        embedding: [n, D] float32, or None where the graph has none or they were not kept.
        interval_s: seconds between scored windows that follow each other.
        origin: how they were held out, for the manifest.
        warnings: what to know of them.
        stride: rows between scored windows; an alarm level that comes from them holds for this stride alone.
        fixed_level: raw score at which a plain rule alarms, whatever normal windows score; None: the level comes from the scores.
    """

    score: np.ndarray
    time: np.ndarray
    interval_s: float
    origin: str
    embedding: np.ndarray | None = None
    warnings: tuple[str, ...] = field(default=())
    stride: int = 1
    fixed_level: float | None = None

    @property
    def days(self) -> float:
        """How long a machine runs while so many windows are scored."""
        return len(self.score) * self.interval_s / SECONDS_PER_DAY

    def stretches(self) -> list[np.ndarray]:
        """The scores, cut where time jumps: no alarm lasts across a hole."""
        gaps = np.flatnonzero(np.diff(self.time) > MAX_GAP_INTERVALS * self.interval_s * 1e6) + 1
        return np.split(self.score, gaps)


def contiguous_runs(times: np.ndarray, sampling_interval_s: float) -> list[slice]:
    """[T] int64 microseconds to the stretches of rows without a hole, in order."""
    if not len(times):
        return []
    gaps = np.flatnonzero(np.diff(times) > MAX_GAP_INTERVALS * sampling_interval_s * 1e6) + 1
    edges = [0, *gaps.tolist(), len(times)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def score_rows(
    graph: WindowScorer,
    values: np.ndarray,
    times: np.ndarray,
    *,
    sampling_interval_s: float,
    stride: int = 1,
    lag: int = 0,
    origin: str = "held out",
) -> CalibrationScores:
    """Score one stretch of rows.

    Args:
        values: [T, C] raw units, without NaN; T may be less than a window (then nothing is scored).
        times: [T] int64 microseconds.
        stride: rows between scored windows.
        lag: rows between the scored row and the window's last.
    """
    scores, embeddings = [], []
    ends = np.arange(graph.window - 1, len(values), stride)
    if len(ends):
        for output in _outputs(graph, values, stride):
            scores.append(output.score.astype(np.float64))
            if output.embedding is not None:
                embeddings.append(output.embedding)
    return CalibrationScores(
        score=np.concatenate(scores) if scores else np.zeros(0),
        time=times[ends - lag] if len(ends) else np.zeros(0, dtype=np.int64),
        interval_s=stride * sampling_interval_s,
        origin=origin,
        embedding=np.concatenate(embeddings) if embeddings else None,
        stride=stride,
    )


def _outputs(graph: WindowScorer, values: np.ndarray, stride: int) -> Iterator[GraphOutput]:
    """What a graph says of the windows of [T, C] rows, piece by piece."""
    count = (len(values) - graph.window) // stride + 1
    if isinstance(graph, Graph) and graph.is_run_cheaper(count, stride):
        for start in range(0, count, _RUN_PIECE):
            stop = min(start + _RUN_PIECE, count)
            yield graph.run_rows(values[None, start * stride : (stop - 1) * stride + graph.window], stride)
        return
    windows = windows_of(values, graph.window)[::stride]
    room = _BATCH_VALUES // (graph.window * graph.channels)
    batch = max((size for size in graph.batch_sizes if size <= room), default=graph.batch_sizes[0])
    for start in range(0, count, batch):
        yield graph.run(windows[start : start + batch])


def every_nth(scores: CalibrationScores, stride: int) -> CalibrationScores:
    """Scores of every window as a stream would have them that scores every `stride`-th."""
    return replace(
        scores,
        score=scores.score[::stride],
        time=scores.time[::stride],
        embedding=None if scores.embedding is None else scores.embedding[::stride],
        interval_s=stride * scores.interval_s,
        stride=stride * scores.stride,
    )


def cross_fit_scores(
    values: np.ndarray,
    times: np.ndarray,
    fit: Callable[[list[np.ndarray]], FittedDetector],
    *,
    sampling_interval_s: float,
    stride: int = 1,
    blocks: int = BLOCKS,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> CalibrationScores:
    """Scores of every part of the training rows by a detector that was fitted on the other parts.

    The rows are cut into `blocks` consecutive blocks; each is scored by a fit on all others, with the rows before it as
    the past of its first windows. A fit on the very rows that it scores would find them all ordinary.

    Args:
        values, times: [T, C] and [T] of the train part; holes in time end a run.
        fit: fits on a list of runs.
        progress: told what is going on.

    Raises:
        InputError: too few rows.
    """
    runs = contiguous_runs(times, sampling_interval_s)
    typical = channel_medians([values])
    filled = np.concatenate([carry_forward(values[run], typical) for run in runs]) if runs else values
    edges = np.linspace(0, len(values), blocks + 1).astype(int)
    parts: list[CalibrationScores] = []
    for block, (start, stop) in enumerate(itertools.pairwise(edges), start=1):
        progress(f"calibration: block {block} of {blocks}")
        others = [
            values[piece]
            for run in runs
            for piece in (slice(run.start, min(run.stop, start)), slice(max(run.start, stop), run.stop))
            if piece.stop > piece.start
        ]
        fitted = fit(others)
        graph = Graph(fitted.onnx_bytes(), name=f"{fitted.detector} of block {block}", device="cpu", threads=threads)
        for run in runs:
            rows = slice(max(run.start, start - graph.window + 1), min(run.stop, stop))
            parts += [
                score_rows(
                    graph,
                    filled[piece],
                    times[piece],
                    sampling_interval_s=sampling_interval_s,
                    stride=stride,
                    lag=fitted.lag,
                )
                for piece in _bounded(rows, graph.window, stride, MAX_WINDOWS // (blocks * len(runs)))
            ]
    # An embedding of one fit means nothing in the space of another: they are not kept.
    return CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=stride * sampling_interval_s,
        origin=f"{blocks} blocks of the train part, each scored by a fit on the others",
        stride=stride,
    )


def alarm_level(
    scores: CalibrationScores,
    false_alarms_per_day: float = FALSE_ALARMS_PER_DAY,
    rule: SpanRule | None = None,
) -> Calibration:
    """Choose the alarm level; see the module's text.

    Args:
        rule: how alarms open and clear; None: one window opens, ten quiet ones clear. It stays the same whatever the worker's
            settings: the alarm level is a unit of measure.

    Raises:
        InputError: no scores, scores that are not finite, or a rate that is not positive.
    """
    if not false_alarms_per_day > 0 or not np.isfinite(false_alarms_per_day):
        raise InputError(f"false alarms per day is {false_alarms_per_day}, expected a number above 0, e.g. 0.25")
    values = np.asarray(scores.score, dtype=np.float64)
    if not len(values):
        raise InputError("no held-out window to calibrate on; give more training rows or a smaller --window")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(f"{bad} of {len(values)} held-out scores are not finite numbers; check the graph and the data")
    center = float(np.median(values))
    if scores.fixed_level is not None:
        return Calibration(
            center=0.0,
            alarm_level=scores.fixed_level,
            false_alarms_per_day=false_alarms_per_day,
            windows=len(values),
            method="fixed",
        )
    level, method = _level(scores, center, false_alarms_per_day, rule or SpanRule())
    return Calibration(
        center=center,
        alarm_level=level,
        false_alarms_per_day=false_alarms_per_day,
        windows=len(values),
        method=method,
    )


def bounded_sample(count: int, at_most: int) -> np.ndarray:
    """Evenly spaced indices of 0 .. count - 1, ascending, at most so many."""
    if count <= at_most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, at_most).astype(np.int64))


def _level(scores: CalibrationScores, center: float, rate: float, rule: SpanRule) -> tuple[float, str]:
    top = float(scores.score.max())
    # Rounding alone must not pass for spread.
    if top - center <= 1e-9 * max(1.0, abs(center)):
        return center + NO_SPREAD_STEP, "no-spread"
    peaks_at = partial(_peaks, scores.stretches(), center, rule)
    wanted = int(rate * scores.days)
    start, peaks = _tail_start(scores.score, center, max(wanted, TAIL_ALARMS), peaks_at)
    excesses = peaks - start
    excesses = excesses[excesses > 0]
    if len(scores.score) < LEAST_WINDOWS or len(excesses) < LEAST_PEAKS:
        return center + MAXIMUM_MARGIN * (top - center), "maximum"
    # Where scores have fewer separate peaks than alarms are welcome, the start of the tail is the lowest sensible level.
    if wanted >= min(TAIL_ALARMS, len(peaks)):
        return start, "peaks"
    peaks_per_day = len(peaks) / scores.days
    tail = fit_tail(np.minimum(excesses, np.quantile(excesses, 1 - CENSORED_SHARE)))
    if tail is None:
        return center + MAXIMUM_MARGIN * (top - center), "maximum"
    return max(start, tail.level(start, 1.0, rate / peaks_per_day)), "gpd"


def _tail_start(
    scores: np.ndarray, center: float, wanted: int, peaks_at: Callable[[float], np.ndarray]
) -> tuple[float, np.ndarray]:
    """The highest level with `wanted` alarms, or the one with most where there is none; and the alarms' peaks.

    Going down, alarms first grow more, then run into each other: a search from the top finds the sensible one.

    Args:
        peaks_at: raw level to the peaks of the alarms that it would open.
    """
    ordered = np.sort(scores)[::-1]
    best_level, best_peaks = float(ordered[0]), peaks_at(float(ordered[0]))
    counts = np.unique(np.geomspace(min(wanted, len(ordered)), max(wanted, len(ordered) // 2), 40).astype(int))
    for count in counts:
        level = float(ordered[min(count, len(ordered) - 1)])
        if level <= center:
            break
        peaks = peaks_at(level)
        if len(peaks) > len(best_peaks):
            best_level, best_peaks = level, peaks
        if len(best_peaks) >= wanted:
            break
    return best_level, best_peaks


def _peaks(stretches: Sequence[np.ndarray], center: float, rule: SpanRule, level: float) -> np.ndarray:
    """Of every alarm that the raw level `level` would open, the highest level that would open it too.

    That is its largest score; where an alarm takes several windows in a row, the largest that so many in a row reach.
    """
    in_a_row = rule.min_windows
    peaks: list[float] = []
    for stretch in stretches:
        # A score at the level is calibrated to 1 exactly, and raises.
        spans = alert_spans(calibrate(stretch, center, level), rule)
        if spans:
            lasting = stretch if in_a_row == 1 else windows_of(stretch, in_a_row).min(axis=1)
            peaks += [float(lasting[start : stop - in_a_row + 1].max()) for start, stop in spans]
    return np.array(peaks)


def _bounded(rows: slice, window: int, stride: int, at_most: int) -> list[slice]:
    """`rows` itself, or evenly spaced pieces of it that hold at most so many windows in all."""
    windows = (rows.stop - rows.start - window) // stride + 1
    if windows <= max(at_most, 1):
        return [rows]
    pieces = 20
    length = window + max(1, at_most // pieces) * stride
    starts = np.linspace(rows.start, rows.stop - length, pieces).astype(int)
    return [slice(int(start), int(start) + length) for start in starts]
