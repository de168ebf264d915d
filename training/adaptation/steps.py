"""The steps of the ladder: each makes a child bundle, or says why it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.schemas.bundle.manifest import Calibration
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.adaptation.child import (
    Draft,
    adapted,
    after,
    parent_model,
    recent_scores,
    reference_run,
    series_of,
)
from wheeltapper.training.adaptation.child_level import is_foreign, level_of, raised_level
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import ChannelMap, rescaled_graph
from wheeltapper.training.adaptation.step_names import (
    FINE_TUNE,
    INPUT_SCALING,
    OPERATING_LEVEL,
    REFIT,
    REFIT_RECENT,
)
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.calibration import CalibrationScores, alarm_level
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec
from wheeltapper.training.fitting.warm_start import AlignmentMethod, OtherWeightsError, WarmStart

FULL_TRAINING = "full_training"
"""Parameter of a fine-tuned bundle: the settings that training it anew would take, where fine-tuning takes others."""

LEAST_LEARNING_WINDOWS = 100

# Of the reference's stretches beside recent rows: long enough for windows and a cross-fit.
STRETCH_WINDOWS = 4

# Networks learn from the first part of the recent rows; the last part decides when to stop, and the alarm level. A share of all rows,
# as in training, could hold out every recent row where the reference is long.
HELD_OUT_OF_RECENT = 0.5


class StepSkippedError(Exception):
    """The step cannot make a child here; the text says why."""


@dataclass(frozen=True)
class Ground:
    """What every step stands on.

    Attributes:
        learn: recent rows that may be learnt from; none of them judges.
        channel_map: how channels moved, from the reference to `learn`.
        false_alarms_per_day: that the child's alarm level is chosen for.
        alignment: of reference and recent windows, where a network is fine-tuned.
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
    alignment: AlignmentMethod = "none"


Step = Callable[[Ground], Draft]
"""Makes a child that is not written yet."""


def steps_for(detector: str, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the steps that a detector can climb, in order.

    Args:
        wanted: only these; () takes all.

    Raises:
        InputError: no such step.
    """
    spec = DETECTORS.get(detector)
    third = () if spec is None else (FINE_TUNE,) if spec.extra == "training" else (REFIT, REFIT_RECENT)
    names = (OPERATING_LEVEL, INPUT_SCALING, *third)
    unknown = [name for name in wanted if name not in STEPS]
    if unknown:
        raise InputError(f"no step '{unknown[0]}' of adaptation; expected {', '.join(STEPS)}")
    return tuple(name for name in names if not wanted or name in wanted)


def operating_level(ground: Ground) -> Draft:
    """The parent's graph with an alarm level of the recent scores."""
    parent = ground.parent
    model = parent_model(parent)
    scores = recent_scores(parent, Graph(model, device="cpu", threads=ground.threads), ground.learn)
    _check_enough(scores)
    calibration = level_of(parent, scores, ground.false_alarms_per_day)
    if calibration == parent.manifest.calibration:
        raise StepSkippedError("the recent scores ask for no higher alarm level")
    before, now = parent.manifest.calibration.alarm_level, calibration.alarm_level
    return Draft(
        OPERATING_LEVEL,
        f"alarm level {before:.4g} to {now:.4g} in raw score",
        adapted(parent, model, {}),
        _stood_on(ground, mapped=False),
        scores,
        calibration,
    )


def input_scaling(ground: Ground) -> Draft:
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
    warning = f"channels are rescaled to a new regime: {first_names(names)}"
    return Draft(
        INPUT_SCALING,
        f"{len(moved)} of {len(channel_map.gain)} channels are rescaled: {first_names(names)}",
        adapted(parent, model, parameters, (warning,), channel_map),
        _stood_on(ground, mapped=True),
        scores,
        level_of(parent, scores, ground.false_alarms_per_day),
    )


def refit(ground: Ground) -> Draft:
    """The detector trained anew, as its parent was, on the reference in the new regime and on recent rows."""
    return _trained(ground, REFIT, _settings(ground.parent), "trained anew")


def refit_recent(ground: Ground) -> Draft:
    """The detector trained anew on recent rows and as many of the reference, as they were: both regimes may come again."""
    return _trained(ground, REFIT_RECENT, _settings(ground.parent), "trained anew", even=True)


def fine_tune(ground: Ground) -> Draft:
    """A network that goes on from its parent's weights, on the reference in the new regime and on recent rows, within the budget.

    A parent without weights, as older bundles are, is trained anew; the child says so.
    """
    parent = ground.parent
    whole = _settings(parent)
    weights = parent.weights()
    reason = "its parent keeps no weights to go on from"
    if weights is not None:
        settings = _gentler(DETECTORS[parent.manifest.detector], whole)
        warm_start = WarmStart(weights, len(reference_run(parent)[1]), ground.alignment)
        # What training anew would take is kept: else each generation would learn less than the one before.
        kept = {FULL_TRAINING: {name: whole[name] for name in settings if settings[name] != whole[name]}}
        try:
            return _trained(ground, FINE_TUNE, settings, "fine-tuned", warm_start=warm_start, parameters=kept)
        except OtherWeightsError as error:
            reason = str(error)
    return _trained(ground, FINE_TUNE, whole, "trained anew", warning=f"trained anew, not fine-tuned: {reason}")


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        OPERATING_LEVEL: operating_level,
        INPUT_SCALING: input_scaling,
        REFIT: refit,
        REFIT_RECENT: refit_recent,
        FINE_TUNE: fine_tune,
    }
)
"""Name -> what makes the child."""


def _settings(parent: Bundle) -> dict[str, str]:
    """What the parent was trained with, as `--set` takes it; of a fine-tuned one what training it anew would take."""
    manifest = parent.manifest
    names = set(DETECTORS[manifest.detector].setting_names) - {"preset"}
    told = {**manifest.parameters, **manifest.parameters.get(FULL_TRAINING, {})}
    return {
        key: "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in told.items()
        if key in names and not isinstance(value, (dict, list))
    }


def _gentler(spec: DetectorSpec[Any], settings: Mapping[str, str]) -> dict[str, str]:
    """Fewer epochs and a lower learning rate, as the detector says."""
    changed = dict(settings)
    for name, factor in spec.fine_tuning.items():
        if name not in changed:
            continue
        value = float(changed[name])
        whole = next(each for each in (*spec.own_settings, *spec.trainer_settings) if each.name == name).kind is int
        changed[name] = str(max(1, math.ceil(factor * value))) if whole else str(factor * value)
    return changed


def _trained(
    ground: Ground,
    step: str,
    settings: Mapping[str, str],
    how: str,
    *,
    warm_start: WarmStart | None = None,
    parameters: Mapping[str, Any] | None = None,
    warning: str = "",
    even: bool = False,
) -> Draft:
    parent = ground.parent
    manifest = parent.manifest
    series = _even(ground) if even else _stood_on(ground, mapped=step == REFIT or ground.learn.accepted)
    options = TrainOptions(
        seed=ground.seed,
        stride=manifest.stride,
        threads=ground.threads,
        device=ground.device,
        progress=ground.progress,
        settings=settings,
        budget_s=ground.budget_s if step == FINE_TUNE else None,
        held_out_share=HELD_OUT_OF_RECENT * len(ground.learn) / len(series.train),
        warm_start=warm_start,
    )
    fitted, scores = train_detector(manifest.detector, series, options)
    if fitted.window != manifest.window:
        raise StepSkippedError(
            f"trained anew it looks at {fitted.window} rows, its parent at {manifest.window}: the stream would have to warm up"
        )
    rows = f"{len(ground.learn)} recent rows and {len(series.train) - len(ground.learn)} of the reference"
    aligned = "" if warm_start is None or warm_start.alignment == "none" else f", aligned by {warm_start.alignment}"
    # A network's scores are those of recent rows already, that it was not fitted on.
    is_refit = step in (REFIT, REFIT_RECENT)
    return Draft(
        step,
        f"{how} on {rows}{aligned}",
        fitted,
        series,
        replace(scores, warnings=(*scores.warnings, warning)) if warning else scores,
        _refit_level(ground, fitted, scores) if is_refit else alarm_level(scores, ground.false_alarms_per_day),
        parameters or {},
    )


def _refit_level(ground: Ground, fitted: FittedDetector, scores: CalibrationScores) -> Calibration:
    """The level of the cross-fitted scores, where recent ones by the fit itself do not contradict it.

    Few of the cross-fitted scores are recent, and they come from a fit that has seen next to nothing of the new regime.
    """
    known = alarm_level(scores, ground.false_alarms_per_day)
    graph = Graph(fitted.onnx_bytes(), device="cpu", threads=ground.threads)
    recent = recent_scores(ground.parent, graph, ground.learn)
    # Rows that it was fitted on and that would still be alarms: a higher level would hide from the gate what it has not learnt.
    if len(recent.score) < LEAST_LEARNING_WINDOWS or is_foreign(known, recent):
        return known
    return raised_level(known, scores.score, recent, fitted.window, ground.false_alarms_per_day)


def _stood_on(ground: Ground, *, mapped: bool) -> SensorSeries:
    """Reference rows, where wanted moved into the new regime, and recent rows after them, as the train part of a series."""
    values, times = reference_run(ground.parent)
    if mapped:
        values = ground.channel_map.back(values)
    recent = ground.learn
    interval_us = round(ground.parent.manifest.sampling_interval_s * 1e6)
    times = after(times, recent.times, interval_us)
    return series_of(ground.parent, np.concatenate([values, recent.values]), np.concatenate([times, recent.times]))


def _even(ground: Ground) -> SensorSeries:
    """Stretches of the reference from all over it, together as long as the recent rows, and these after them."""
    values, times = reference_run(ground.parent)
    recent = ground.learn
    stretch = STRETCH_WINDOWS * ground.parent.manifest.window
    count = max(1, round(len(recent) / stretch))
    if len(values) > len(recent):
        starts = np.unique(np.linspace(0, max(0, len(values) - stretch), count).astype(int))
        kept = np.unique((starts[:, None] + np.arange(min(stretch, len(values)))).ravel())
        values, times = values[kept], times[kept]
    interval_us = round(ground.parent.manifest.sampling_interval_s * 1e6)
    times = after(times, recent.times, interval_us)
    return series_of(ground.parent, np.concatenate([values, recent.values]), np.concatenate([times, recent.times]))


def _check_enough(scores: CalibrationScores) -> None:
    if len(scores.score) < LEAST_LEARNING_WINDOWS:
        raise StepSkippedError(
            f"{len(scores.score)} recent windows to learn from, expected at least {LEAST_LEARNING_WINDOWS}; wait for more rows"
        )
