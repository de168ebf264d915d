"""The steps of the ladder: each makes a child bundle, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.adaptation.child import (
    adapted,
    after,
    level_of,
    parent_model,
    recent_scores,
    reference_run,
    series_of,
    write_child,
)
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import ChannelMap, rescaled_graph
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions

OPERATING_LEVEL, INPUT_SCALING, REFIT, FINE_TUNE = "operating-level", "input-scaling", "refit", "fine-tune"

LEAST_LEARNING_WINDOWS = 100


class StepSkippedError(Exception):
    """The step cannot make a child here; the text says why."""


@dataclass(frozen=True)
class Ground:
    """What every step stands on.

    Attributes:
        learn: recent rows that may be learnt from; none of them judges.
        channel_map: how channels moved, from the reference to `learn`.
        false_alarms_per_day: that the child's alarm level is chosen for.
    """

    parent: Bundle
    learn: RecentRows
    channel_map: ChannelMap
    false_alarms_per_day: float
    seed: int
    threads: int
    device: str
    budget_s: float
    progress: bool


Step = Callable[[Ground, Path], tuple[Bundle, str]]
"""Writes a child into a folder; gives it and what was changed, a sentence."""


def steps_for(detector: str, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the steps that a detector can climb, in order.

    Args:
        wanted: only these; () takes all.

    Raises:
        InputError: no such step.
    """
    spec = DETECTORS.get(detector)
    third = () if spec is None else (FINE_TUNE,) if spec.extra == "training" else (REFIT,)
    names = (OPERATING_LEVEL, INPUT_SCALING, *third)
    unknown = [name for name in wanted if name not in STEPS]
    if unknown:
        raise InputError(f"no step '{unknown[0]}' of adaptation; expected {', '.join(STEPS)}")
    return tuple(name for name in names if not wanted or name in wanted)


def operating_level(ground: Ground, out: Path) -> tuple[Bundle, str]:
    """The parent's graph with an alarm level of the recent scores."""
    parent = ground.parent
    model = parent_model(parent)
    scores = recent_scores(parent, Graph(model, device="cpu", threads=ground.threads), ground.learn)
    _check_enough(scores)
    calibration = level_of(parent, scores, ground.false_alarms_per_day)
    if calibration == parent.manifest.calibration:
        raise StepSkippedError("the recent scores ask for no higher alarm level")
    child = write_child(
        parent,
        adapted(parent, model, {}),
        _stood_on(ground, mapped=False),
        scores,
        out,
        step=OPERATING_LEVEL,
        calibration=calibration,
        false_alarms_per_day=ground.false_alarms_per_day,
        seed=ground.seed,
    )
    before, now = parent.manifest.calibration.alarm_level, calibration.alarm_level
    return child, f"alarm level {before:.4g} to {now:.4g} in raw score"


def input_scaling(ground: Ground, out: Path) -> tuple[Bundle, str]:
    """The parent's graph behind a map of the channels that moved."""
    parent, channel_map = ground.parent, ground.channel_map
    moved = np.flatnonzero(channel_map.moved)
    if not len(moved):
        raise StepSkippedError("no channel has moved in mean or spread")
    model = rescaled_graph(parent_model(parent), channel_map)
    scores = recent_scores(parent, Graph(model, device="cpu", threads=ground.threads), ground.learn)
    _check_enough(scores)
    names = [parent.manifest.channel_names[channel] for channel in moved]
    parameters = {
        "rescaled": {
            name: {"gain": float(channel_map.gain[channel]), "offset": float(channel_map.offset[channel])}
            for name, channel in zip(names, moved, strict=True)
        }
    }
    child = write_child(
        parent,
        adapted(parent, model, parameters, (f"channels are rescaled to a new regime: {first_names(names)}",)),
        _stood_on(ground, mapped=True),
        scores,
        out,
        step=INPUT_SCALING,
        calibration=level_of(parent, scores, ground.false_alarms_per_day),
        false_alarms_per_day=ground.false_alarms_per_day,
        seed=ground.seed,
    )
    return child, f"{len(moved)} of {len(channel_map.gain)} channels are rescaled: {first_names(names)}"


def refit(ground: Ground, out: Path) -> tuple[Bundle, str]:
    """The detector trained anew, as its parent was, on the reference in the new regime and on recent rows."""
    return _trained(ground, out, REFIT, budget_s=None)


def fine_tune(ground: Ground, out: Path) -> tuple[Bundle, str]:
    """A network trained on the reference in the new regime and on recent rows, within the time budget."""
    return _trained(ground, out, FINE_TUNE, budget_s=ground.budget_s)


STEPS: Mapping[str, Step] = MappingProxyType(
    {OPERATING_LEVEL: operating_level, INPUT_SCALING: input_scaling, REFIT: refit, FINE_TUNE: fine_tune}
)
"""Name -> what makes the child."""


def _trained(ground: Ground, out: Path, step: str, *, budget_s: float | None) -> tuple[Bundle, str]:
    parent = ground.parent
    manifest = parent.manifest
    spec = DETECTORS[manifest.detector]
    names = set(spec.setting_names) - {"preset"}
    settings = {
        key: "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in manifest.parameters.items()
        if key in names and not isinstance(value, (dict, list))
    }
    options = TrainOptions(
        seed=ground.seed,
        stride=manifest.stride,
        threads=ground.threads,
        device=ground.device,
        progress=ground.progress,
        settings=settings,
        budget_s=budget_s,
    )
    series = _stood_on(ground, mapped=True)
    fitted, scores = train_detector(manifest.detector, series, options)
    if fitted.window != manifest.window:
        raise StepSkippedError(
            f"trained anew it looks at {fitted.window} rows, its parent at {manifest.window}: the stream would have to warm up"
        )
    child = write_child(
        parent,
        fitted,
        series,
        scores,
        out,
        step=step,
        false_alarms_per_day=ground.false_alarms_per_day,
        seed=ground.seed,
    )
    return (
        child,
        f"trained anew on {len(ground.learn)} recent rows and {len(series.train) - len(ground.learn)} of the reference",
    )


def _stood_on(ground: Ground, *, mapped: bool) -> SensorSeries:
    """Reference rows, where wanted moved into the new regime, and recent rows after them, as the train part of a series."""
    values, times = reference_run(ground.parent)
    if mapped:
        values = ground.channel_map.back(values)
    recent = ground.learn
    interval_us = round(ground.parent.manifest.sampling_interval_s * 1e6)
    times = after(times, recent.times, interval_us)
    return series_of(ground.parent, np.concatenate([values, recent.values]), np.concatenate([times, recent.times]))


def _check_enough(scores: CalibrationScores) -> None:
    if len(scores.score) < LEAST_LEARNING_WINDOWS:
        raise StepSkippedError(
            f"{len(scores.score)} recent windows to learn from, expected at least {LEAST_LEARNING_WINDOWS}; wait for more rows"
        )
