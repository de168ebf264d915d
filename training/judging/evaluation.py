"""Evaluates a bundle on a test part: scores, ranking metrics, alarms.

The test part runs through the worker's own code, under the worker's settings (`wheeltapper.training.judging.stream_run`):
late rows are dropped, missing values carried forward, windows cut with the stride, alerts opened and cleared. Every row needs
a score for the metrics:

- rows before the first scored window take that window's score (a live machine has none there yet); it is the first
  full one, or where the manifest states a warm-up the first that is scored, blank rows (NaN) before the first row;
- the manifest's lag moves a window's score to the row that it belongs to; the last `lag` rows take the last score;
- rows between two scored ones (a stride above 1, late rows, a window that starts anew) keep the score of the earlier one.

Alarms are raised at the bundle's own alarm level (calibrated score 1.0) unless the settings say otherwise; it knows nothing of
test labels. Numbers whose threshold was chosen with test labels have `oracle` in their name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules, WindowPolicy, WindowRules
from wheeltapper.training.datasets.series import SensorSeries
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
from wheeltapper.training.judging.stream_run import StreamRun, run_as_stream


@dataclass(frozen=True)
class Report:
    """An evaluation. None stands for what the data does not define: without labels, or with nothing found.

    `events_told` and `on_share`: see `AlarmMetrics`. `settings` holds what the alarms were raised under, as the worker's
    sections `windows` and `threshold` do. `floors` holds, by floor, the threshold-free metrics under the same names.
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
    events_told: float | None = None
    on_share: float | None = None
    hit_rate_100: float | None = None
    hit_rate_150: float | None = None
    ndcg_100: float | None = None
    ndcg_150: float | None = None
    ips_100: float | None = None
    ips_150: float | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    floors: dict[str, dict[str, float | None]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"warnings": list(self.warnings)}


def evaluate_bundle(
    bundle: Bundle,
    series: SensorSeries,
    *,
    windows: WindowRules | None = None,
    alarms: AlarmRules | None = None,
    floors: bool = True,
    oracle_floors: bool = True,
    run: StreamRun | None = None,
) -> Report:
    """Judge a bundle on a series' test part.

    Args:
        windows, alarms: the worker's settings [windows] and [threshold]; None: their defaults, so that the alarms are
            those that a worker without settings would raise.
        floors: also fit and judge the floor rows (a second or more).
        oracle_floors: also what random scores reach with an oracle's threshold (seconds where rows are many).
        run: of `run_bundle` with the same settings, where it is at hand.

    Raises:
        InputError: channels differ, the test part is too short, or the graph gives no finite scores.
    """
    windows, alarms = windows or WindowPolicy(), alarms or AlarmPolicy()
    series = in_bundle_order(bundle, series)
    run = run_bundle(bundle, series, windows=windows, alarms=alarms) if run is None else run
    labels = np.zeros(len(series.test), np.uint8) if series.test_labels is None else series.test_labels
    raw = run.by_row(run.raw)
    flags = run.by_row(run.calibrated >= run.level)
    share = float(np.mean(flags))
    found = alarm_metrics(labels, [alarm.rows for alarm in run.alarms], series.sampling_interval_s)
    truth = truth_matrix(len(labels), len(series.channels), series.segments)
    vus_pr, vus_roc = vus_by_ranks(labels, raw)
    return Report(
        bundle=bundle.manifest.bundle_id,
        detector=bundle.manifest.detector,
        dataset=series.dataset,
        entity=series.entity,
        rows=len(labels),
        labelled_rows=int(np.count_nonzero(labels)),
        stride=run.stride,
        vus_buffer=VUS_BUFFER,
        vus_pr=vus_pr,
        vus_roc=vus_roc,
        auc_pr=auc_pr(labels, raw),
        auc_roc=auc_roc(labels, raw),
        range_f1=range_f1(labels, flags),
        point_f1=point_f1(labels, flags),
        oracle_point_f1=oracle_point_f1(labels, raw),
        events=found.events,
        events_found=found.found,
        event_recall=found.recall,
        detection_delay_s=found.delay_s,
        alarms=found.alarms,
        false_alarms=found.false_alarms,
        false_alarms_per_day=found.false_alarms_per_day,
        point_adjusted_f1=point_adjusted_f1(labels, flags),
        point_adjusted_f1_random_floor=random_floor(point_adjusted_f1, labels, share),
        point_adjusted_f1_oracle_random_floor=oracle_random_floor(point_adjusted_f1, labels) if oracle_floors else None,
        affiliation_f1=affiliation_f1(labels, flags),
        affiliation_f1_random_floor=random_floor(affiliation_f1, labels, share),
        affiliation_f1_oracle_random_floor=oracle_random_floor(affiliation_f1, labels) if oracle_floors else None,
        events_told=found.told,
        on_share=found.on,
        **localization_metrics(truth, run.by_row(run.contribution)),
        settings={
            "windows": _chosen(windows, WindowPolicy) | {"stride": run.stride},
            "threshold": _chosen(alarms, AlarmPolicy),
        },
        floors=floor_metrics(series) if floors else {},
        warnings=_warnings(bundle, series, run),
    )


def run_bundle(
    bundle: Bundle, series: SensorSeries, *, windows: WindowRules | None = None, alarms: AlarmRules | None = None
) -> StreamRun:
    """`run_as_stream` on a series' test part.

    Raises:
        InputError: as `run_as_stream`, or the channels differ.
    """
    series = in_bundle_order(bundle, series)
    return run_as_stream(bundle, series.test, series.test_ts, windows=windows, alarms=alarms)


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
        lacks = [f"lacks {first_names(missing)}"] if missing else []
        parts = lacks + ([f"has {first_names(unknown)} besides"] if unknown else [])
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


def _chosen(policy: WindowRules | AlarmRules, kind: type[WindowPolicy | AlarmPolicy]) -> dict[str, Any]:
    return {each.name: getattr(policy, each.name) for each in fields(kind)}


def _warnings(bundle: Bundle, series: SensorSeries, run: StreamRun) -> tuple[str, ...]:
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
    if run.stride != bundle.manifest.stride:
        found.append(
            f"the stride is {run.stride}, the bundle's {bundle.manifest.stride}: its alarm level was chosen for another number "
            "of windows a day"
        )
    counters = run.counters
    if counters.late_rows:
        found.append(
            f"{counters.late_rows} rows are not newer than the one before: dropped as late, as the worker does"
        )
    if counters.ahead_rows:
        found.append(
            f"{counters.ahead_rows} rows are far ahead of the rows around them: refused as from the future, as the worker does "
            "(windows.max_jump_intervals)"
        )
    if counters.clock_restarts or counters.gaps:
        found.append(
            f"the window started anew {counters.clock_restarts + counters.gaps} times: "
            f"{counters.clock_restarts} clock restarts, {counters.gaps} gaps"
        )
    return tuple(found)
