"""What bought labels are worth: RL-VAE, its own VAE, and classifiers with the very same labels, on later rows.

    train part    |  VAE, normal windows, standards of normal
    first half of the test part | the pool: its labels may be bought, as far as the budget goes
    a gap of one window |
    second half   |  judged; its labels are used for nothing else

F1 is at a threshold that knows no label of the judged half: a quantile of held-out train scores. As detectors differ in how
many false alarms that gives, they are compared at EQUAL false alarms as well: each gets the threshold at which the same share
of judged normal rows is flagged, or the same number of false alarms a day is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.models.rl_vae.graph import RlVaeGraph
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import SpanRule, alert_spans
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.training.datasets.labels import runs
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.rl_vae.pool import LabelPool
from wheeltapper.training.detectors.rl_vae.sources import series_pool, to_z
from wheeltapper.training.detectors.rl_vae.spec import TRAINER
from wheeltapper.training.detectors.rl_vae.supervised import CLASSIFIERS, fit_classifier
from wheeltapper.training.detectors.rl_vae.train import TrainedVae, normal_windows, train_agent, train_vae
from wheeltapper.training.detectors.rl_vae.windows import WindowBank, bank_of_runs
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.fitting.prepared import PreparedSeries, window_ends
from wheeltapper.training.fitting.trainer import TrainerOptions
from wheeltapper.training.fitting.training_rows import channel_medians
from wheeltapper.training.judging.metrics.alarms import AlarmRows, alarm_metrics
from wheeltapper.training.judging.metrics.ranking import auc_pr
from wheeltapper.training.judging.metrics.thresholded import point_f1

SHARES = (0.001, 0.005, 0.01, 0.05)
POOL_SHARE = 0.5
# Share of held-out train windows above the threshold of F1.
QUIET_SHARE = 0.005
# Equal false alarms: shares of judged normal rows, and false alarms a day.
EQUAL_SHARES = (0.005, 0.01)
ALARMS_PER_DAY = 1.0
_LEVELS = 200
METHODS = ("rl-vae", "vae", *CLASSIFIERS)

Scorer = Callable[[WindowBank], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Rows of a test part: [0, pool) is sold from, [judged, n) is judged; a window's length lies between."""

    pool: int
    judged: int

    @classmethod
    def of(cls, rows: int, window: int) -> Split:
        """
        Raises:
            InputError: a test part too short for both.
        """
        pool = int(POOL_SHARE * rows)
        if pool < 4 * window or rows - pool < 5 * window:
            raise InputError(
                f"{rows} labelled rows, a learning curve needs at least {10 * window}; give a longer test part"
            )
        return cls(pool, pool + window)


@dataclass(frozen=True)
class Judged:
    """One method, one entity, one seed, one number of labels; recalls at equal false alarms are keyed by their rate."""

    entity: str
    seed: int
    method: str
    share: float
    labels: int
    anomalies: int
    auc_pr: float
    f1: float
    recall: dict[str, float]
    event_recall: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def learning_curve(
    series: SensorSeries,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    config: RlVaeConfig | None = None,
    trainer: TrainerOptions | None = None,
    budget_s: float | None = None,
) -> Iterator[Judged]:
    """Judge every method at every share of bought labels; one VAE serves them all.

    Args:
        series: with test labels.
        shares: of the pool's windows.
        budget_s: of each network.

    Raises:
        InputError: no labels, or a test part too short.
    """
    config = config or RlVaeConfig()
    if series.test_labels is None or not series.test_labels.any():
        raise InputError(f"{series.dataset} {series.entity} has no labelled rows; a learning curve needs some")
    split = Split.of(len(series.test), config.window)
    trained = train_vae(series, config, replace(trainer or TRAINER, seed=seed, budget_s=budget_s, progress=False))
    prepared = trained.prepared
    values = carry_forward(series.test, channel_medians([series.train])).astype(np.float32)
    time_runs = contiguous_runs(series.test_ts, series.sampling_interval_s)
    sold = window_ends(time_runs, config.window, 0, split.pool)
    judged = window_ends(time_runs, config.window, split.judged, len(values))
    judge = Judge(
        prepared,
        bank_of_runs(to_z(prepared, values), judged, config.window),
        bank_of_runs(prepared.rows, prepared.held_out_ends, config.window),
        series.test_labels[judged],
    )
    for share in shares:
        budget = max(2, round(share * len(sold)))
        pool = series_pool(
            prepared,
            values[: split.pool],
            series.test_labels[: split.pool],
            sold,
            budget,
            "first half of the test part",
        )
        yield from judged_with(trained, replace(config, label_budget=budget), pool, judge, share, seed, budget_s)


def judged_with(
    trained: TrainedVae,
    config: RlVaeConfig,
    pool: LabelPool,
    judge: Judge,
    share: float,
    seed: int,
    budget_s: float | None,
) -> Iterator[Judged]:
    """RL-VAE buys; the others get what it bought."""
    graph = train_agent(trained, config, pool, seed=seed, budget_s=budget_s).graph
    assert isinstance(graph, RlVaeGraph)
    normal = normal_windows(trained.prepared)
    scorers: dict[str, Scorer] = {
        "rl-vae": lambda bank: graph_scores(graph, bank, "both"),
        "vae": lambda bank: graph_scores(graph, bank, "vae"),
        **{kind: fit_classifier(kind, normal, pool, seed) for kind in CLASSIFIERS},
    }
    for method, scorer in scorers.items():
        yield judge(method, scorer, share, seed, pool)


def graph_scores(graph: RlVaeGraph, bank: WindowBank, kind: str) -> np.ndarray:
    """[m] float64: the very score of the exported graph, or of its ablation."""
    usual, graph.kind = graph.kind, kind  # type: ignore[assignment]
    try:
        with torch.no_grad():
            parts = [
                graph(graph.to_raw(bank.take(part)))[0].double().numpy()
                for part in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // 512)))
            ]
    finally:
        graph.kind = usual
    return np.concatenate(parts)


@dataclass(frozen=True)
class Judge:
    """
    Attributes:
        judged: windows of the later half; held_out: of the train part, not trained on.
        labels: [m] of judged windows.
    """

    prepared: PreparedSeries
    judged: WindowBank
    held_out: WindowBank
    labels: np.ndarray

    def __call__(self, method: str, scorer: Scorer, share: float, seed: int, pool: LabelPool) -> Judged:
        scores, quiet = scorer(self.judged), scorer(self.held_out)
        threshold = float(np.quantile(quiet, 1 - QUIET_SHARE))
        recall, event_recall = {}, {}
        for rate in EQUAL_SHARES:
            key = f"{rate:.1%} of normal rows"
            recall[key], event_recall[key] = recalls(scores > normal_level(self.labels, scores, rate), self.labels)
        interval = self.prepared.series.sampling_interval_s
        key = f"{ALARMS_PER_DAY:g} false alarms a day"
        recall[key], event_recall[key] = recall_at_alarms(self.labels, scores, float(np.median(quiet)), interval)
        return Judged(
            entity=self.prepared.series.entity,
            seed=seed,
            method=method,
            share=share,
            labels=pool.spent,
            anomalies=int(np.count_nonzero(pool.known == 1)),
            auc_pr=auc_pr(self.labels, scores) or 0.0,
            f1=point_f1(self.labels, scores > threshold) or 0.0,
            recall=recall,
            event_recall=event_recall,
        )


def normal_level(labels: np.ndarray, scores: np.ndarray, share: float) -> float:
    """The level above which that share of normal rows lies."""
    return float(np.quantile(scores[labels == 0], 1 - share))


def recalls(flags: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Share of anomalous rows that are flagged, and of anomalous segments with a flagged row; 0 without anomalies."""
    segments = runs(labels)
    if not segments:
        return 0.0, 0.0
    found = [bool(flags[start:stop].any()) for start, stop in segments]
    return float(flags[labels != 0].mean()), float(np.mean(found))


def recall_at_alarms(
    labels: np.ndarray, scores: np.ndarray, center: float, interval_s: float, per_day: float = ALARMS_PER_DAY
) -> tuple[float, float]:
    """Recalls at the lowest level, from the top, up to which no more than `per_day` false alarms are raised a day.

    Alarms are opened and cleared as in the stream; recall of rows counts rows at or above the level.
    """
    best = 0.0, 0.0
    for level in np.quantile(scores, 1 - np.geomspace(1 / len(scores), 0.5, _LEVELS)):
        if level <= center:
            break
        spans = alert_spans((scores - center) / (level - center), SpanRule())
        found = alarm_metrics(labels, [AlarmRows(start, start, stop) for start, stop in spans], interval_s)
        if found.false_alarms_per_day > per_day:
            break
        best = recalls(scores >= level, labels)[0], found.recall or 0.0
    return best


def means(judged: Iterable[Judged]) -> dict[tuple[str, float], dict[str, float]]:
    """(method, share) to metrics: mean over seeds, then over entities, and of the seeds' deviation as 'auc_pr_std'."""
    found = list(judged)
    result: dict[tuple[str, float], dict[str, float]] = {}
    for method, share in dict.fromkeys((one.method, one.share) for one in found):
        rows = [one for one in found if (one.method, one.share) == (method, share)]
        entities = dict.fromkeys(one.entity for one in rows)
        flat = {entity: np.array([_numbers(one) for one in rows if one.entity == entity]) for entity in entities}
        average = np.mean([values.mean(axis=0) for values in flat.values()], axis=0)
        names = ["labels", "auc_pr", "f1", *(f"recall at {key}" for key in rows[0].recall)]
        names += [f"event recall at {key}" for key in rows[0].event_recall]
        result[method, share] = dict(zip(names, map(float, average), strict=True))
        result[method, share]["auc_pr_std"] = float(np.mean([values[:, 1].std() for values in flat.values()]))
    return result


def _numbers(one: Judged) -> list[float]:
    return [float(one.labels), one.auc_pr, one.f1, *one.recall.values(), *one.event_recall.values()]
