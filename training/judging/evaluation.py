"""Judging a bundle on a test part: what it scores, how well that ranks, and what its alarms would have been worth.

The test part is scored as the live stream would see it: windows of its own rows only, in time order, one graph call
after the other; missing values are carried forward. Every row needs a score for the metrics:

- rows before the first scored window take that window's score (a live machine has none there yet); it is the first
  full one, or where the manifest states a warm-up the first that is scored, blank rows (NaN) before the first row;
- the manifest's lag moves a window's score to the row that it belongs to; the last `lag` rows take the last score;
- with a stride above 1, rows between two scored ones keep the score of the earlier one.

Alarms are raised at the bundle's own alarm level (calibrated score 1.0), which knows nothing of test labels. Numbers
whose threshold was chosen with test labels have `oracle` in their name.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.bundle.store import REFERENCE
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.training_rows import carry_forward
from wheeltapper.training.judging.floors import floor_scores
from wheeltapper.training.judging.metrics.alarms import alarm_metrics
from wheeltapper.training.judging.metrics.localization import localization_metrics, random_localization, truth_matrix
from wheeltapper.training.judging.metrics.ranking import VUS_BUFFER, auc_pr, auc_roc, vus_by_ranks
from wheeltapper.training.judging.metrics.thresholded import (
    affiliation_f1,
    oracle_point_f1,
    oracle_random_floor,
    point_adjusted_f1,
    point_f1,
    random_floor,
    range_f1,
)

# Windows scored and reduced at a time: bounds the memory that embeddings of long series take.
_CHUNK = 8192


@dataclass(frozen=True)
class RowScores:
    """A score for every row of a test part.

    Attributes:
        raw, calibrated: [T] float64; calibrated 1.0 is the alarm level.
        contribution: [T, C] float32, as the graph gave it.
        first_scored: the first row that a window scored; those before it hold that row's values.
    """

    raw: np.ndarray
    calibrated: np.ndarray
    contribution: np.ndarray
    first_scored: int


@dataclass(frozen=True)
class Report:
    """An evaluation. None stands for what the data does not define: without labels, or with nothing found.

    `floors` holds, by floor, the threshold-free metrics under the same names.
    """

    bundle: str
    detector: str
    dataset: str
    entity: str
    rows: int
    labelled_rows: int
    stride: int
    vus_buffer: int
    vus_pr: float | None
    vus_roc: float | None
    auc_pr: float | None
    auc_roc: float | None
    range_f1: float | None
    point_f1: float | None
    oracle_point_f1: float | None
    events: int
    events_found: int
    event_recall: float | None
    detection_delay_s: float | None
    alarms: int
    false_alarms: int
    false_alarms_per_day: float
    point_adjusted_f1: float | None
    point_adjusted_f1_random_floor: float | None
    point_adjusted_f1_oracle_random_floor: float | None
    affiliation_f1: float | None
    affiliation_f1_random_floor: float | None
    affiliation_f1_oracle_random_floor: float | None
    hit_rate_100: float | None = None
    hit_rate_150: float | None = None
    ndcg_100: float | None = None
    ndcg_150: float | None = None
    ips_100: float | None = None
    ips_150: float | None = None
    floors: dict[str, dict[str, float | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"warnings": list(self.warnings)}


def evaluate_bundle(
    bundle: Bundle,
    series: SensorSeries,
    *,
    stride: int = 1,
    floors: bool = True,
    oracle_floors: bool = True,
    scores: RowScores | None = None,
) -> Report:
    """Judge a bundle on a series' test part.

    Args:
        stride: rows between scored windows; 1 judges every row.
        floors: also fit and judge the floor rows (a second or more).
        oracle_floors: also what random scores reach with an oracle's threshold (seconds where rows are many).
        scores: of `score_rows`, where they are at hand.

    Raises:
        InputError: channels differ, the test part is too short, or the graph gives no finite scores.
    """
    series = in_bundle_order(bundle, series)
    scores = score_rows(bundle, series.test, stride=stride) if scores is None else scores
    labels = np.zeros(len(series.test), np.uint8) if series.test_labels is None else series.test_labels
    flags = scores.calibrated >= 1.0
    share = float(np.mean(flags))
    alarms = alarm_metrics(labels, scores.calibrated, series.sampling_interval_s)
    truth = truth_matrix(len(labels), len(series.channels), series.segments)
    vus_pr, vus_roc = vus_by_ranks(labels, scores.raw)
    return Report(
        bundle=bundle.manifest.bundle_id,
        detector=bundle.manifest.detector,
        dataset=series.dataset,
        entity=series.entity,
        rows=len(labels),
        labelled_rows=int(np.count_nonzero(labels)),
        stride=stride,
        vus_buffer=VUS_BUFFER,
        vus_pr=vus_pr,
        vus_roc=vus_roc,
        auc_pr=auc_pr(labels, scores.raw),
        auc_roc=auc_roc(labels, scores.raw),
        range_f1=range_f1(labels, flags),
        point_f1=point_f1(labels, flags),
        oracle_point_f1=oracle_point_f1(labels, scores.raw),
        events=alarms.events,
        events_found=alarms.found,
        event_recall=alarms.recall,
        detection_delay_s=alarms.delay_s,
        alarms=alarms.alarms,
        false_alarms=alarms.false_alarms,
        false_alarms_per_day=alarms.false_alarms_per_day,
        point_adjusted_f1=point_adjusted_f1(labels, flags),
        point_adjusted_f1_random_floor=random_floor(point_adjusted_f1, labels, share),
        point_adjusted_f1_oracle_random_floor=oracle_random_floor(point_adjusted_f1, labels) if oracle_floors else None,
        affiliation_f1=affiliation_f1(labels, flags),
        affiliation_f1_random_floor=random_floor(affiliation_f1, labels, share),
        affiliation_f1_oracle_random_floor=oracle_random_floor(affiliation_f1, labels) if oracle_floors else None,
        **localization_metrics(truth, scores.contribution),
        floors=floor_metrics(series) if floors else {},
        warnings=_warnings(bundle, series),
    )


def score_rows(bundle: Bundle, values: np.ndarray, *, stride: int = 1) -> RowScores:
    """Score [T, C] raw values, columns in the bundle's order; see the module's text for rows without a window.

    Raises:
        InputError: fewer rows than a window, or a score that is not finite.
    """
    manifest = bundle.manifest
    window, lag, warm_up = manifest.window, manifest.lag, manifest.rows_before_scoring
    if len(values) < warm_up:
        raise InputError(
            f"{bundle.location}: its window is {window} rows, the test part has {len(values)}; give at least {warm_up}"
        )
    if stride < 1:
        raise InputError(f"stride is {stride}, expected at least 1 row")
    values = np.ascontiguousarray(carry_forward(values, _usual_values(bundle)), dtype=np.float32)
    graph = bundle.open_graph()
    blank = np.full((window - warm_up, values.shape[1]), np.nan, dtype=np.float32)
    tail = np.concatenate([blank, values]) if len(blank) else values
    windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(tail, window, axis=0), -1, 1)[::stride]
    scored = np.empty(len(windows), dtype=np.float64)
    contribution = np.empty((len(windows), values.shape[1]), dtype=np.float32)
    for start in range(0, len(windows), _CHUNK):
        output = graph.run(windows[start : start + _CHUNK])
        scored[start : start + _CHUNK] = output.score
        contribution[start : start + _CHUNK] = output.contribution
    rows = warm_up - 1 - lag + stride * np.arange(len(windows))
    bad = np.flatnonzero(~np.isfinite(scored))
    if len(bad):
        raise InputError(
            f"{bundle.location}: the score of row {rows[bad[0]]} is {scored[bad[0]]} ({len(bad)} of {len(scored)} are "
            "not finite), so it cannot be judged; check the graph and the data"
        )
    # The window whose score counts for each row: the latest at or before it, for the first rows the first one.
    of_row = np.maximum(np.searchsorted(rows, np.arange(len(values)), side="right") - 1, 0)
    calibration = manifest.calibration
    raw = scored[of_row]
    calibrated = np.maximum((raw - calibration.center) / (calibration.alarm_level - calibration.center), 0.0)
    return RowScores(raw, calibrated, contribution[of_row], int(rows[0]))


def in_bundle_order(bundle: Bundle, series: SensorSeries) -> SensorSeries:
    """The series with its columns as the bundle has them.

    Raises:
        InputError: the two do not have the same channels.
    """
    wanted = bundle.manifest.channel_names
    if series.channels == wanted:
        return series
    missing = [name for name in wanted if name not in series.channels]
    unknown = [name for name in series.channels if name not in wanted]
    if missing or unknown:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(unknown)} besides"] * bool(unknown)
        raise InputError(
            f"{bundle.location}: was trained on {len(wanted)} channels, {series.dataset} {series.entity} has "
            f"{len(series.channels)}: it {' and '.join(parts)}; give the data that the bundle was trained for"
        )
    order = [series.channels.index(name) for name in wanted]
    place = {old: new for new, old in enumerate(order)}
    return replace(
        series,
        channels=wanted,
        units=tuple(series.units[index] for index in order),
        train=series.train[:, order],
        test=series.test[:, order],
        segments=tuple(
            replace(segment, channels=tuple(sorted(place[channel] for channel in segment.channels)))
            for segment in series.segments
        ),
    )


def floor_metrics(series: SensorSeries) -> dict[str, dict[str, float | None]]:
    """Threshold-free metrics of every floor on the test part, by floor and by metric; localization where it is defined.

    Raises:
        InputError: too few train rows.
    """
    labels = np.zeros(len(series.test), np.uint8) if series.test_labels is None else series.test_labels
    truth = truth_matrix(len(labels), len(series.channels), series.segments)
    rows: dict[str, dict[str, float | None]] = {}
    for floor in floor_scores(series):
        draws = [
            (*vus_by_ranks(labels, scores), auc_pr(labels, scores), auc_roc(labels, scores)) for scores in floor.scores
        ]
        names = ("vus_pr", "vus_roc", "auc_pr", "auc_roc")
        means = [None if None in values else float(np.mean(values)) for values in zip(*draws, strict=True)]
        row: dict[str, float | None] = dict(zip(names, means, strict=True))
        if floor.name == "random" and truth.any():
            row |= random_localization(truth)
        elif floor.contributions is not None:
            row |= localization_metrics(truth, floor.contributions)
        rows[floor.name] = row
    return rows


def _warnings(bundle: Bundle, series: SensorSeries) -> tuple[str, ...]:
    found = []
    if series.test_labels is None:
        found.append("the data has no labels: only alarms can be counted, and every one counts as false")
    elif not series.test_labels.any():
        found.append("no row is labelled: only false alarms can be judged")
    trained = bundle.manifest.sampling_interval_s
    if not np.isclose(trained, series.sampling_interval_s, rtol=0.05):
        found.append(
            f"rows are {series.sampling_interval_s:g} s apart, the bundle was trained on rows {trained:g} s apart"
        )
    return tuple(found)


def _usual_values(bundle: Bundle) -> np.ndarray:
    """[C] float32: medians of the bundle's reference windows: what the stream takes for a channel before its first value."""
    table = pq.read_table(pa.BufferReader(bundle.files[REFERENCE]), columns=["window"])
    rows = np.asarray(table["window"].combine_chunks().flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    windows = rows.reshape(-1, len(bundle.manifest.channels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that was never measured has no median
        return np.nan_to_num(np.nanmedian(windows, axis=0)).astype(np.float32)


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
