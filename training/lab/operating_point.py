"""From calibrated score to alarm, measured: the methods of `threshold.method` on scores of real machines.

    python -m wheeltapper.training.lab.operating_point --scores FOLDER [--dataset smd asd] [--detector range-bands pca]

Every machine is fitted and scored once, and its scores stay in FOLDER; each method is the worker's own threshold and alert life
on them. Machines are split into halves by their order: what was chosen was chosen on the first, what counts is the second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import AlertLife, AlertState
from wheeltapper.stream.core.policies import AlarmPolicy, AlarmRules
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY, THRESHOLDS, Basis, Calibrated, Threshold
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.detectors.registry import TrainOptions, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.calibration import SpanRule
from wheeltapper.training.judging.evaluation import run_bundle
from wheeltapper.training.judging.metrics.alarms import AlarmMetrics, AlarmRows, alarm_metrics

Maker: TypeAlias = Callable[[AlarmRules, Calibrated], Threshold[Any]]


@dataclass(frozen=True)
class Scored:
    """One machine's test part, scored by one detector.

    Attributes:
        scores: [k] calibrated, at event times `times` [k], of test rows `rows` [k].
        labels: [T] uint8.
        calibration: [n] calibrated scores of held-out train windows.
    """

    name: str
    scores: np.ndarray
    times: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    interval_s: float
    stride: int
    calibration: np.ndarray
    calibrated_rate: float

    @property
    def basis(self) -> Basis:
        windows_per_day = SECONDS_PER_DAY / (self.interval_s * self.stride)
        return Basis(self.calibration, windows_per_day, self.calibrated_rate, self.name)


@dataclass(frozen=True)
class Opened:
    """An alert: the windows that it dates from, opened with and cleared with (None: open at the end)."""

    since: int
    opened: int
    cleared: int | None


def scored(dataset: str, entity: str, detector: str, folder: Path) -> Scored:
    """The machine's scores, from `folder` where they are."""
    name = f"{dataset}__{entity.replace('/', '_')}__{detector}"
    path = folder / f"{name}.npz"
    if not path.exists():
        series = load_series(dataset, None, entity)
        fitted, held_out = train_detector(detector, series, TrainOptions())
        with TemporaryDirectory() as place:
            bundle = write_bundle(fitted, series, Path(place) / "bundle", scores=held_out, torchscript=False)
            run = run_bundle(bundle, series)
            rule_scores = bundle.calibration_scores()
        calibration = bundle.manifest.calibration
        folder.mkdir(parents=True, exist_ok=True)
        labels = np.zeros(len(series.test), np.uint8) if series.test_labels is None else series.test_labels
        np.savez_compressed(
            path,
            scores=run.calibrated,
            times=series.test_ts[run.scored_rows],
            rows=run.scored_rows,
            labels=labels,
            interval_s=series.sampling_interval_s,
            stride=run.stride,
            calibration=np.maximum(
                (rule_scores - calibration.center) / (calibration.alarm_level - calibration.center), 0.0
            ),
            calibrated_rate=calibration.false_alarms_per_day,
        )
    with np.load(path) as saved:
        return Scored(
            name=name,
            **{key: saved[key] for key in ("scores", "times", "rows", "labels", "calibration")},
            interval_s=float(saved["interval_s"]),
            stride=int(saved["stride"]),
            calibrated_rate=float(saved["calibrated_rate"]),
        )


def alerts_of(machine: Scored, policy: AlarmRules, make: Maker) -> tuple[list[Opened], np.ndarray]:
    """The alerts of a machine as the worker's alert judge leads them, and the level in force at each window."""
    threshold, life = make(policy, machine.basis), AlertLife(policy, machine.interval_s * machine.stride)
    memory, state = threshold.new(), AlertState()
    scores, times = machine.scores, machine.times
    levels, position, since = np.empty(len(scores)), 0, 0
    alerts: list[Opened] = []
    while position < len(scores):
        if state.is_quiet:
            part = threshold.advance(memory, scores[position:], times[position:])
            levels[position : position + len(part)] = part
            position += len(part)
            if scores[position - 1] < part[-1]:
                break
            position -= 1
            since = position
        else:
            levels[position] = threshold.hold(memory, scores.item(position), times.item(position))
        time = times.item(position)
        event = life.step(state, scores.item(position), time, levels.item(position))
        if event == "opened":
            again = life.goes_on(state)
            threshold.opened(memory, time, again)
            if again:
                alerts[-1] = Opened(alerts[-1].since, alerts[-1].opened, None)
            else:
                alerts.append(Opened(since, position, None))
        elif event == "cleared":
            life.end(state, time)
            threshold.cleared(memory, time)
            alerts[-1] = Opened(alerts[-1].since, alerts[-1].opened, position)
        elif event is None and state.is_quiet:
            threshold.advance(memory, scores[position : position + 1], times[position : position + 1])
        position += 1
    return alerts, levels


def judged(machine: Scored, policy: AlarmRules, make: Maker) -> AlarmMetrics:
    """The machine's alarms under a policy, against its labels."""
    alerts, levels = alerts_of(machine, policy, make)
    loud = machine.scores >= policy.clear_ratio * levels
    begins = np.append(machine.rows, len(machine.labels))
    begins[0] = 0
    alarms = []
    for alert in alerts:
        last = len(loud) if alert.cleared is None else alert.cleared
        behind = alert.opened + int(np.flatnonzero(loud[alert.opened : last])[-1]) + 1
        alarms.append(AlarmRows(int(begins[alert.since]), int(begins[alert.opened]), int(begins[behind])))
    return alarm_metrics(machine.labels, alarms, machine.interval_s)


@dataclass(frozen=True)
class Row:
    """Machines under one method: false alarms per machine and day, and means over machines."""

    name: str
    mean: float
    median: float
    upper: float
    worst: float
    recall: float
    told: float
    on: float


def summary(name: str, found: Sequence[AlarmMetrics]) -> Row:
    rates = np.array([each.false_alarms_per_day for each in found])
    recalls = [each.recall for each in found if each.recall is not None]
    told = [each.told for each in found if each.told is not None]
    on = [each.on for each in found if each.on is not None]
    means = [float(np.mean(values)) if values else float("nan") for values in (recalls, told, on)]
    upper = float(np.quantile(rates, 0.9))
    return Row(name, float(rates.mean()), float(np.median(rates)), upper, float(rates.max()), *means)


def table(rows: Sequence[Row]) -> str:
    head = f"{'':34} {'mean':>6} {'median':>6} {'q90':>6} {'max':>6} | {'recall':>6} {'told':>6} {'on':>6}"
    lines = [
        f"{row.name:34} {row.mean:6.2f} {row.median:6.2f} {row.upper:6.2f} {row.worst:6.2f} | "
        f"{row.recall:6.3f} {row.told:6.3f} {row.on:6.3f}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def policies(rate: float, interval_s: float) -> Mapping[str, AlarmPolicy]:
    """The layers that are compared: what the worker did before there was a budget, and every method."""
    before = AlarmPolicy(
        method="fixed", false_alarms_per_day=rate, clear_duration_s=SpanRule().clear_windows * interval_s
    )
    return {"fixed, clear 10 windows": before} | {
        method: AlarmPolicy(method=method, false_alarms_per_day=rate) for method in THRESHOLDS
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, required=True, metavar="FOLDER", help="where scores stay")
    parser.add_argument("--dataset", nargs="+", default=["smd", "asd"])
    parser.add_argument("--detector", nargs="+", default=["range-bands", "pca"])
    parser.add_argument("--rate", type=float, default=0.25, help="asked false alarms per machine and day")
    chosen = parser.parse_args(arguments)
    for dataset in chosen.dataset:
        for detector in chosen.detector:
            machines = []
            for entity in list_entities(dataset):
                try:
                    machines.append(scored(dataset, entity, detector, chosen.scores))
                except InputError as error:
                    print(f"left out: {error}", file=sys.stderr)
            for half, first in (("chosen on", 0), ("reported", 1)):
                part = machines[first::2]
                if part:
                    _print(
                        f"{dataset}, {detector}: {half}, {len(part)} machines, asked {chosen.rate:g} a day",
                        part,
                        chosen.rate,
                    )
    return 0


def _print(title: str, machines: Sequence[Scored], rate: float) -> None:
    names = policies(rate, machines[0].interval_s)
    rows = []
    for name in names:
        found = []
        for machine in machines:
            policy = policies(rate, machine.interval_s * machine.stride)[name]
            found.append(judged(machine, policy, THRESHOLDS[policy.method]))
        rows.append(summary(name, found))
    print(f"\n{title}\n{table(rows)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
