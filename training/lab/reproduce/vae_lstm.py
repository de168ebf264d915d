"""VAE-LSTM's five series of NAB: published and measured here, under the authors' protocol and under one without labels.

The authors' protocol scores every sequence of l_win * l_seq rows of the test part, labels a sequence as anomalous where
one of a few marked rows lies in it, tries 200 thresholds at equal steps of the test score and keeps the best F1 by those
labels; the published F1 is taken after point adjustment. Scores drawn at random stand in the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wheeltapper.models.vae_lstm.graph import VaeLstmGraph
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.policies import WindowPolicy
from wheeltapper.training.datasets.labels import segments_of
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.vae_lstm.train import VaeLstmDetector, train_vae_lstm
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.torch_detector import SCORING_BATCH
from wheeltapper.training.judging.evaluation import Report, evaluate_bundle, run_bundle
from wheeltapper.training.judging.metrics.nab import nab_raw_score, normalised
from wheeltapper.training.judging.metrics.ranking import vus_by_ranks
from wheeltapper.training.judging.metrics.thresholded import point_adjusted_f1, point_f1
from wheeltapper.training.lab.reproduce import Cell, ReproduceOptions, Reproduction, Table

THRESHOLDS = 200
RANDOM_SEEDS = 5
# Minutes a series on one core: a part of the windows each epoch, early stopping by held-out loss.
TRAINING = {"windows_per_epoch": "3000", "epochs": "25", "patience": "4"}
RECALLED = "published, recalled from the paper, unverified"


@dataclass(frozen=True)
class Published:
    """One of the five series.

    Attributes:
        entity: NAB's name.
        settings: where ours differ from the preset: hourly rows take a window of a day; the short series one that leaves
            enough held-out windows.
        adjusted_f1: recalled from the paper, unverified.
    """

    entity: str
    adjusted_f1: float
    settings: dict[str, str]


SERIES = {
    "ambient_temp": Published("realKnownCause/ambient_temperature_system_failure", 0.892, {"l_win": "24"}),
    "cpu_utilization": Published("realKnownCause/cpu_utilization_asg_misconfiguration", 0.819, {}),
    "ec2_request": Published("realKnownCause/ec2_request_latency_system_failure", 0.996, {"l_win": "24"}),
    "machine_temp": Published("realKnownCause/machine_temperature_system_failure", 0.717, {}),
    "nyc_taxi": Published("realKnownCause/nyc_taxi", 0.980, {}),
}
# The authors' notebook, first test part of machine_temp only.
NOTEBOOK = {"machine_temp, part 1": (0.675, 0.981)}


@dataclass(frozen=True)
class TestPart:
    """A stretch of rows that is scored.

    Attributes:
        name: e.g. 'machine_temp, part 1'.
        series: the train rows and this part as the test rows, with NAB's windows as labels.
        marked: rows of the part that the authors marked.
        probation: rows at its beginning in which NAB counts no detection.
    """

    name: str
    series: SensorSeries
    marked: np.ndarray
    probation: int

    @property
    def windows(self) -> list[tuple[int, int]]:
        """NAB's windows, rows [start, stop)."""
        return [(segment.start, segment.stop) for segment in self.series.segments]


@dataclass(frozen=True)
class Judged:
    """One part, one seed.

    Attributes:
        point, adjusted: best F1 over the authors' thresholds, with test labels, without and with point adjustment.
        report: at the alarm level, which knows no test label.
        nab: what its alarms' first rows earn in NAB's standard profile, before it is normalised.
    """

    point: float
    adjusted: float
    report: Report
    nab: float


def reproduce(options: ReproduceOptions) -> Reproduction:
    """Train on the five series' train rows as their authors split them, and judge all of their test parts.

    Raises:
        InputError: NAB or the authors' splits are not there.
    """
    if options.data is None:
        raise InputError("no data folder: give --data ROOT or set WHEELTAPPER_DATA to the folder that holds nab/")
    results: dict[str, list[Judged]] = {}
    parts: dict[str, TestPart] = {}
    windows: dict[str, int] = {}
    cut = False
    for name, published in SERIES.items():
        for part in test_parts(options.data / "nab", name):
            parts[part.name] = part
        own = [part for part in parts.values() if part.name.split(",")[0] == name]
        for seed in options.seeds:
            detector, bundle = _train(name, own[0].series, published.settings, seed, options)
            cut = cut or bool(detector.parameters["cut_by_budget"])
            for part in own:
                windows[part.name] = detector.window
                results.setdefault(part.name, []).append(_judge(detector, bundle, part))
    return Reproduction(
        system="vae-lstm",
        title="VAE-LSTM on five series of NAB",
        tables=(_oracle_table(parts, windows, results), _honest_table(parts, results)),
        explanation=_explanation(cut),
    )


def test_parts(folder: Path, name: str) -> list[TestPart]:
    """The test parts of a series, in order: what lies before the train rows, where anything does, and what lies after.

    Raises:
        InputError: the authors' file or NAB's is missing, or the two differ.
    """
    file = folder / "vae_lstm" / f"{name}.npz"
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected the authors' split of {name}, as arrays in .npz")
    with np.load(file, allow_pickle=False) as arrays:
        first, last = (int(row) for row in arrays["idx_split"])
        marked, readings = arrays["idx_anomaly"], arrays["readings"]
    nab = load_series("nab", folder, SERIES[name].entity)
    assert nab.test_labels is not None
    values = np.concatenate([nab.train, nab.test])
    times = np.concatenate([nab.train_ts, nab.test_ts])
    labels = np.concatenate([np.zeros(len(nab.train), np.uint8), nab.test_labels])
    if len(values) != len(readings) or not np.allclose(values[:, 0], readings, rtol=1e-5):
        raise InputError(f"{file}: its {len(readings)} readings are not those of NAB's {nab.entity}; get both again")
    stretches = [slice(0, first), slice(last, len(values))] if first else [slice(last, len(values))]
    return [
        TestPart(
            name if len(stretches) == 1 else f"{name}, part {number}",
            replace(
                nab,
                entity=name,
                train=values[first:last],
                train_ts=times[first:last],
                test=values[rows],
                test_ts=times[rows],
                test_labels=labels[rows],
                segments=segments_of(labels[rows]),
            ),
            marked[(marked >= rows.start) & (marked < rows.stop)] - rows.start,
            max(0, len(nab.train) - rows.start),
        )
        for number, rows in enumerate(stretches, start=1)
    ]


def sequence_labels(marked: np.ndarray, rows: int, window: int) -> np.ndarray:
    """[rows - window + 1] uint8: sequences of `window` rows that hold a marked row: 576 of them a mark, as published."""
    labels = np.zeros(rows - window + 1, dtype=np.uint8)
    for row in marked:
        labels[max(0, row - window + 1) : row + 1] = 1
    return labels


def best_f1(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Best F1 by labels [n] over 200 thresholds at equal steps of scores [n]: as it is, and after point adjustment."""
    thresholds = np.linspace(scores.min(), scores.max(), THRESHOLDS)
    flags = [scores >= threshold for threshold in thresholds]
    return (
        max(point_f1(labels, flag) or 0.0 for flag in flags),
        max(point_adjusted_f1(labels, flag) or 0.0 for flag in flags),
    )


def random_f1(labels: np.ndarray) -> tuple[float, float]:
    """What uniformly random scores reach under the same protocol: mean over seeds."""
    draws = [best_f1(labels, np.random.default_rng(seed).random(len(labels))) for seed in range(RANDOM_SEEDS)]
    point, adjusted = np.mean(draws, axis=0)
    return float(point), float(adjusted)


def sequence_scores(detector: VaeLstmDetector, values: np.ndarray) -> np.ndarray:
    """[T, 1] raw rows to [T - W + 1] published scores: squared errors of all short windows of a sequence but the first."""
    trained, config = detector.graph, replace(detector.graph.config, score="sequence")
    graph = VaeLstmGraph(
        trained.encoder, trained.decoder, trained.predictor, config, detector.prepared.mean, detector.prepared.scale
    )
    windows = WindowSource(values, np.arange(config.window - 1, len(values)), config.window)
    with torch.no_grad():
        return torch.cat([graph.errors(batch)[0] for batch in windows.batches(SCORING_BATCH)]).numpy()


def _train(
    name: str, series: SensorSeries, settings: dict[str, str], seed: int, options: ReproduceOptions
) -> tuple[VaeLstmDetector, Bundle]:
    training = TrainOptions(
        seed=seed,
        device="cpu",
        progress=options.progress,
        budget_s=options.budget_s,
        checkpoint_folder=options.out / f".vae-lstm-{name}-{seed}.checkpoints",
        settings={**TRAINING, **settings},
    )
    detector, scores = train_vae_lstm(series, training)
    place = options.out / "bundles" / f"vae-lstm-{name}-{seed}.zip"
    return detector, write_bundle(detector, series, place, scores=scores, torchscript=False)


def _judge(detector: VaeLstmDetector, bundle: Bundle, part: TestPart) -> Judged:
    series = part.series
    labels = sequence_labels(part.marked, len(series.test), detector.window)
    point, adjusted = best_f1(labels, sequence_scores(detector, series.test))
    windows = WindowPolicy(stride=1)
    run = run_bundle(bundle, series, windows=windows)
    report = evaluate_bundle(bundle, series, windows=windows, floors=False, run=run)
    return Judged(point, adjusted, report, nab_earned(part, [alarm.rows.opened for alarm in run.alarms]))


def nab_earned(part: TestPart, opened: Sequence[int]) -> float:
    """NAB's raw score of alarms that open at these rows; windows without one cost."""
    return nab_raw_score(part.windows, np.array(opened, dtype=np.int64), len(part.series.test), part.probation)


def _oracle_table(parts: dict[str, TestPart], windows: dict[str, int], results: dict[str, list[Judged]]) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, part in parts.items():
        labels = sequence_labels(part.marked, len(part.series.test), windows[name])
        floor = random_f1(labels)
        notebook = NOTEBOOK.get(name, (None, None))
        rows.append(
            (
                name,
                windows[name],
                f"{len(part.marked)} / {float(labels.mean()):.0%}",
                None if name.endswith("part 2") else SERIES[name.split(",")[0]].adjusted_f1,
                notebook[1],
                _mean([judged.adjusted for judged in results[name]]),
                floor[1],
                notebook[0],
                _mean([judged.point for judged in results[name]]),
                floor[0],
            )
        )
    return Table(
        "The authors' protocol: best F1 of 200 thresholds chosen with test labels (oracle)",
        (
            "series",
            "sequence, rows",
            "marked rows / sequences labelled",
            f"point-adjusted F1: {RECALLED}",
            "point-adjusted F1: authors' notebook",
            "point-adjusted F1: ours",
            "point-adjusted F1: random scores",
            "point-wise F1: authors' notebook",
            "point-wise F1: ours",
            "point-wise F1: random scores",
        ),
        rows,
    )


def _honest_table(parts: dict[str, TestPart], results: dict[str, list[Judged]]) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, part in parts.items():
        reports, series = [judged.report for judged in results[name]], part.series
        assert series.test_labels is not None
        deviation = np.abs(series.test[:, 0] - series.train.mean()).astype(np.float64)
        draws = [np.random.default_rng(seed).random(len(deviation)) for seed in range(RANDOM_SEEDS)]
        delays = [report.detection_delay_s for report in reports if report.detection_delay_s is not None]
        rows.append(
            (
                name,
                _mean([report.vus_pr for report in reports]),
                vus_by_ranks(series.test_labels, deviation)[0],
                _mean([vus_by_ranks(series.test_labels, draw)[0] for draw in draws]),
                _mean([report.auc_pr for report in reports]),
                float(series.test_labels.mean()),
                reports[0].events,
                _mean([report.event_recall for report in reports]),
                float(np.mean(delays)) / 3600 if delays else None,
                _mean([report.false_alarms_per_day for report in reports]),
                normalised(float(np.mean([judged.nab for judged in results[name]])), len(part.windows)),
            )
        )
    earned = sum(float(np.mean([judged.nab for judged in results[name]])) for name in parts)
    rows.append(("all", *[None] * 9, normalised(earned, sum(len(part.windows) for part in parts.values()))))
    return Table(
        "Without test labels: NAB's windows, the streaming score, the alarm level from held-out train rows",
        (
            "series",
            "VUS-PR",
            "VUS-PR: distance from the train mean",
            "VUS-PR: random scores",
            "AUC-PR",
            "AUC-PR: random scores",
            "windows",
            "found",
            "median delay, hours",
            "false alarms a day",
            "NAB score, standard profile",
        ),
        rows,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _explanation(cut: bool) -> tuple[str, ...]:
    told = [
        "The published F1 values are recalled from the paper and could not be checked; the notebook's are the authors' own "
        "output for the first test part of machine_temp, the only part that their code scores. Here both parts are.",
        "A series has 2 to 5 marked rows; each labels every sequence that holds it, 288 or 576 in a row. Point adjustment then "
        "counts a whole run of labelled sequences as found when one of them is flagged, and the threshold is the best of "
        "200 by these labels. Random scores show how much of a value that protocol gives away: what lies above theirs is the "
        "detector's, and one run of sequences more or less found moves F1 by tenths. No value after point adjustment says "
        "anything that random scores do not; point-wise, the detector is told apart from them.",
        "Ours differs from the authors' training: validation is the last fifth of the train rows in time instead of a random "
        "tenth of overlapping windows, the code's deviation is a softplus, the LSTM has a linear layer on top, epochs end "
        "by held-out loss, and Adam keeps torch's second decay (0.999, theirs 0.95). Hourly ambient_temp and short ec2_request "
        "take windows of 24 rows, the others 48; which ones the paper took is not known to us.",
        "The second table is how such a detector should be read: NAB's own windows, the score of the window's last rows as the "
        "stream computes it (by the VAE alone until l_win * l_seq rows are there), VUS-PR with a buffer of 100 rows, and alarms "
        "at a level that knows no test label. The NAB score is that of the alarms' first rows, 100 for the first row of every "
        "window and nothing else, 0 for silence; the benchmark's own results choose their threshold on the scored corpus.",
    ]
    if cut:
        told.append("A budget ended at least one training early: more epochs may give better values.")
    return tuple(told)
