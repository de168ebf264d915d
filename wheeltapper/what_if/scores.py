"""Scores that were given once: from the `scores` topic, or by a bundle over a recorded series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.schemas.audio_chunk import split_source
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.schemas.machine_names import matches
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.stream.settings import Settings

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import SensorSeries

_NO_CALIBRATION = np.empty(0)
DEFAULT_RATE = 0.25
"""What bundles are calibrated for where nobody says."""


@dataclass(frozen=True)
class Basis:
    """What a threshold starts from, where only scores are there: a `wheeltapper.stream.core.thresholds.Calibrated`.

    Attributes:
        calibration_scores: [n] calibrated scores of held-out normal windows; empty without the bundle.
        identity: the bundle's id.
    """

    windows_per_day: float
    identity: str
    calibrated_rate: float = DEFAULT_RATE
    calibration_scores: np.ndarray = field(default_factory=lambda: _NO_CALIBRATION)


@dataclass(frozen=True)
class PastScores:
    """Scores of one machine by one rule, in order of time.

    Attributes:
        times: [k] int64 event time (us), rising; scores: [k] float64 calibrated.
        recorded: [k] raise level that was in force; None where nothing was recorded.
        maintenance: [k] bool, or None.
        events: (start, stop) event times (us) of labelled faults, stop not included; None without labels.
    """

    machine: str
    rule: str
    basis: Basis
    times: np.ndarray
    scores: np.ndarray
    recorded: np.ndarray | None = None
    maintenance: np.ndarray | None = None
    events: tuple[tuple[int, int], ...] | None = None

    @cached_property
    def days(self) -> float:
        """How long the machine was watched."""
        return len(self.times) / self.basis.windows_per_day


def scores_from_topic(
    settings: Settings,
    machines: str,
    rule: str | None,
    *,
    since_ms: int | None,
    bundle: Bundle | None,
    tell: Callable[[str], None],
) -> list[PastScores]:
    """What the workers published.

    Args:
        machines: id or pattern.
        rule: None takes every rule but the shadows'.
        bundle: the one whose scores are asked about; its calibration is what thresholds start from.
        tell: told what is left out.

    Raises:
        InputError: no such topic, or no score of such a machine in it.
    """
    from wheeltapper.follow.messages import read_messages

    blocks = read_messages(
        settings,
        ScoreBlock,
        since_ms=since_ms,
        # Sound of 'fan-1::left' is keyed by 'fan-1'.
        keep=lambda key: matches(split_source(machines)[0], key.decode(errors="replace")),
        on_problem=tell,
    )
    by_rule: dict[tuple[str, str], list[ScoreBlock]] = {}
    for block in blocks:
        if matches(machines, block.machine) and (block.rule == rule or rule is None):
            by_rule.setdefault((block.machine, block.rule), []).append(block)
    if not by_rule:
        topic = settings.topics.full_name("scores")
        wanted = f"machine '{machines}'" + (f" by rule '{rule}'" if rule else "")
        raise InputError(
            f"topic {topic} holds no score of {wanted}; do workers publish scores (scoring.publish_scores), and is --machine "
            "spelt as in the alerts?"
        )
    return [_joined(machine, name, parts, bundle, tell) for (machine, name), parts in sorted(by_rule.items())]


def scores_from_series(bundle: Bundle, series: SensorSeries, settings: Settings) -> PastScores:
    """What a bundle gives for a series' test part.

    Raises:
        InputError: the bundle does not fit the series, or is not of rows.
    """
    kind: str = bundle.manifest.kind
    if kind != "sensors":
        raise InputError(
            f"{bundle.location}: is a bundle for {kind}; only bundles of rows are run over a data set here: leave out --dataset, "
            "and the scores that workers have published are taken"
        )
    from wheeltapper.training.judging.evaluation import run_bundle

    run = run_bundle(bundle, series, windows=settings.windows, alarms=settings.threshold)
    times = series.test_ts[run.scored_rows]
    spans: tuple[tuple[int, int], ...] | None = None
    if series.test_labels is not None:
        from wheeltapper.stream.core.alert_life import runs

        last = int(series.test_ts[-1]) + 1
        edges = np.append(series.test_ts, last)
        spans = tuple((int(edges[start]), int(edges[stop])) for start, stop in runs(series.test_labels))
    basis = _basis(bundle, run.stride)
    return PastScores(series.entity, bundle.manifest.detector, basis, times, run.calibrated, events=spans)


def _basis(bundle: Bundle, stride: int) -> Basis:
    manifest = bundle.manifest
    calibration = manifest.calibration
    return Basis(
        86_400.0 / (manifest.sampling_interval_s * stride),
        manifest.bundle_id,
        calibration.false_alarms_per_day,
        calibrate(bundle.calibration_scores(), calibration.center, calibration.alarm_level),
    )


def _joined(
    machine: str, rule: str, blocks: list[ScoreBlock], bundle: Bundle | None, tell: Callable[[str], None]
) -> PastScores:
    """One machine's blocks as arrays; what a restarted worker published again counts once."""
    times = np.concatenate([np.array(block.time, np.int64) for block in blocks])
    scores = np.concatenate([np.array(block.score, np.float64) for block in blocks])
    levels = np.concatenate([np.array(block.threshold, np.float64) for block in blocks])
    marked = np.concatenate([np.array(block.maintenance or [False] * len(block.time), np.bool_) for block in blocks])
    times, first = np.unique(times, return_index=True)
    bundles = list(dict.fromkeys(block.bundle for block in blocks))
    if len(bundles) > 1:
        tell(
            f"{machine}, {rule}: scored by {len(bundles)} bundles one after the other ({', '.join(bundles)}); their calibrated "
            "scores are taken as one series"
        )
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1e6
    basis = Basis(86_400e6 / max(interval, 1.0), bundles[-1])
    if bundle is not None:
        if bundle.manifest.bundle_id not in bundles:
            raise InputError(
                f"{bundle.location}: is bundle {bundle.manifest.bundle_id}, the scores of {machine} by rule '{rule}' are by "
                f"{', '.join(bundles)}; give that one to --bundle, or leave it out"
            )
        own = _basis(bundle, 1)
        basis = Basis(basis.windows_per_day, own.identity, own.calibrated_rate, own.calibration_scores)
    mask = marked[first]
    return PastScores(machine, rule, basis, times, scores[first], levels[first], mask if mask.any() else None)
