"""Domain adaptation as a detector of the registry: one machine is the target, others, or its own past, the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from wheeltapper.models.domain_adaptation.config import ALIGNING, DomainAdaptationConfig
from wheeltapper.models.domain_adaptation.graph import OUTPUTS, DomainAdaptationGraph
from wheeltapper.models.training_rows import moving_channels
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.domain_adaptation.adapted import AdaptedModel
from wheeltapper.training.detectors.domain_adaptation.domains import UNLABELLED, Scaler, WindowDomain
from wheeltapper.training.detectors.domain_adaptation.fit import train_adapted
from wheeltapper.training.detectors.domain_adaptation.spec import SPEC, DomainAdaptationSettings
from wheeltapper.training.detectors.domain_adaptation.windows import window_labels
from wheeltapper.training.fitting.calibration import CalibrationScores, bounded_sample, contiguous_runs
from wheeltapper.training.fitting.disturbances import disturbed_pool
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import MINIMUM_WINDOWS, PreparedSeries, prepare, scaling, window_ends
from wheeltapper.training.fitting.torch_detector import TorchDetector, held_out_scores
from wheeltapper.training.fitting.training_rows import channel_medians
from wheeltapper.training.fitting.warm_start import WarmStart

# Windows of each domain that are kept at most: with 38 channels of 64 rows, 40 MB.
TRAIN_WINDOWS = 4000


class DomainAdaptationDetector(TorchDetector):
    """A trained network with the scaler of its target."""

    graph: DomainAdaptationGraph


@dataclass(frozen=True)
class _Problem:
    """What is learnt from, and what to say of it."""

    sources: tuple[WindowDomain, ...]
    target: WindowDomain
    scalers: tuple[tuple[Scaler, ...], Scaler]
    target_labels: np.ndarray | None
    warnings: tuple[str, ...]


def train_domain_adaptation(
    series: SensorSeries, options: TrainOptions
) -> tuple[DomainAdaptationDetector, CalibrationScores]:
    """Train for the machine of `series`, from its own past or from the labelled test parts of other machines.

    Labels of the series' own test part are never looked at.

    Raises:
        InputError: too few rows, no such setting or source, a source without labels or with other channels, labels of
            the target that 'target-supervised' needs and nobody gave, or a loss that is not finite.
    """
    config = chosen_settings(options)
    prepared = prepare(series, window=config.window, validation_share=options.held_out_share, scale=config.scale)
    names = config.source_names
    problem = (
        _from_machines(prepared, config, options, names)
        if names
        else _from_its_past(prepared, config, options.seed, options.warm_start)
    )
    problem = _with_labelled(problem, config, options)
    model = train_adapted(
        problem.sources,
        problem.target,
        config.method,
        config,
        problem.target_labels,
        scalers=problem.scalers,
        seed=options.seed,
        budget_s=options.budget_s,
        progress=options.progress,
        warm_start=options.warm_start,
    )
    detector = DomainAdaptationDetector(
        SPEC.name,
        model.graph(),
        prepared,
        OUTPUTS,
        parameters=_parameters(model, problem, names, options.seed),
        warnings=(*prepared.constant_warnings(), *problem.warnings),
        networks={"network": model.network},
    )
    return detector, held_out_scores(detector, options)


def chosen_settings(options: TrainOptions) -> DomainAdaptationSettings:
    """Preset, settings and the command line's options put together.

    Raises:
        InputError: no such preset or setting, or a value that it does not take.
    """
    settings = SPEC.settings_for(options)
    if options.epochs is not None and "iterations" not in options.settings:
        # An epoch shows every kept window once.
        settings = replace(settings, iterations=max(1, options.epochs * TRAIN_WINDOWS // settings.batch_size))
    return settings


def _from_its_past(
    prepared: PreparedSeries, config: DomainAdaptationConfig, seed: int, warm_start: WarmStart | None = None
) -> _Problem:
    """Source: the first half of the train windows, every other one disturbed; target: the second half.

    Where a bundle is fine-tuned, the source is what its weights know, and the target what is recent.
    """
    random = np.random.default_rng(seed)
    half = len(prepared.train_ends) // 2
    if warm_start is not None:
        known = int(np.searchsorted(prepared.train_ends, warm_start.source_rows))
        half = known if min(known, len(prepared.train_ends) - known) >= MINIMUM_WINDOWS else half
    first = prepared.train_ends[:half]
    # No row in both domains.
    second = prepared.train_ends[half:][prepared.train_ends[half:] >= first[-1] + config.window]
    if not len(second):
        second = prepared.train_ends[half:]
    first, second = (ends[bounded_sample(len(ends), TRAIN_WINDOWS)] for ends in (first, second))
    scaler = Scaler(prepared.mean, prepared.scale)
    clean = scaler.apply(_windows(prepared.filled, first, config.window), np.inf)
    disturbed, labels = disturbed_pool(clean, prepared.moving, random)
    source = WindowDomain(
        "disturbed past", disturbed * scaler.deviation + scaler.mean, labels.astype(np.int8), order=first
    )
    return _Problem(
        sources=(source,),
        target=_unlabelled(prepared, second, config),
        scalers=((scaler,), scaler),
        target_labels=None,
        warnings=(
            "no sources were given: the classifier learned from the first half of the train part, every other window of it "
            "disturbed on purpose, and was adapted to the second half; it knows no real fault",
        ),
    )


def _from_machines(
    prepared: PreparedSeries, config: DomainAdaptationConfig, options: TrainOptions, names: Sequence[str]
) -> _Problem:
    related = options.extra_data.related
    if related is None:
        raise InputError(f"sources={','.join(names)}: this data has no other machines; leave sources out")
    domains, scalers = [], []
    for name in names:
        other = related(name)
        domains.append(labelled_windows(other, config))
        mean, deviation = scaling(other.train, moving_channels(other.train))
        scalers.append(Scaler(mean, deviation))
        if other.channels != prepared.series.channels:
            raise InputError(
                f"source {name} has {len(other.channels)} channels and {prepared.series.entity} {prepared.channels}, or others: "
                "expected the same channels in the same order; choose another source"
            )
    target = Scaler(prepared.mean, prepared.scale)
    if config.scale == "given":
        scalers = [target] * len(scalers)
    ends = prepared.train_ends[bounded_sample(len(prepared.train_ends), TRAIN_WINDOWS)]
    return _Problem(
        sources=tuple(domains),
        target=_unlabelled(prepared, ends, config),
        scalers=(tuple(scalers), scalers[0] if config.method == "source-only" else target),
        target_labels=None,
        warnings=(f"faults are those of {', '.join(names)}; labels of {prepared.series.entity} were not used",),
    )


def labelled_windows(series: SensorSeries, config: DomainAdaptationConfig) -> WindowDomain:
    """Windows of a machine's labelled test part: all that end in an anomaly, as far as there is room, and normal ones.

    A window is anomalous where one of its last `label_rows` rows is.

    Raises:
        InputError: no labels, or windows of one kind only.
    """
    name = f"{series.dataset} {series.entity}"
    if series.test_labels is None:
        raise InputError(f"{name} has no labels, expected a labelled test part; choose another source")
    runs = contiguous_runs(series.test_ts, series.sampling_interval_s)
    ends = window_ends(runs, config.window, 0, len(series.test))
    labels = window_labels(series.test_labels, ends, config.label_rows)
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"{name}: {int((labels == 1).sum())} of {len(labels)} windows of {config.window} rows are anomalous, expected "
            "some of both kinds; choose another source"
        )
    strange, normal = ends[labels == 1], ends[labels == 0]
    strange = strange[bounded_sample(len(strange), TRAIN_WINDOWS // 2)]
    normal = normal[bounded_sample(len(normal), TRAIN_WINDOWS - len(strange))]
    kept = np.sort(np.concatenate([strange, normal]))
    typical = channel_medians([series.train])
    filled = np.concatenate([carry_forward(series.test[run], typical) for run in runs])
    return WindowDomain(
        name,
        _windows(filled, kept, config.window),
        window_labels(series.test_labels, kept, config.label_rows),
        order=kept,
    )


def _with_labelled(problem: _Problem, config: DomainAdaptationConfig, options: TrainOptions) -> _Problem:
    """The target's windows with those that a person judged among them."""
    labelled = options.extra_data.labelled
    if labelled is None or not len(labelled):
        return problem
    expected = problem.target.windows.shape[1:]
    if labelled.windows.shape[1:] != expected:
        raise InputError(
            f"labelled windows are {labelled.windows.shape[1:]} (rows, channels), expected {expected}: set --window "
            f"{labelled.windows.shape[1]} or label windows of this detector"
        )
    target = problem.target
    joint = WindowDomain(
        target.name,
        np.concatenate([target.windows, labelled.windows.astype(np.float32)]),
        np.full(len(target) + len(labelled), UNLABELLED, dtype=np.int8),
        order=np.concatenate([target.order, labelled.times]),
        recording=np.concatenate([target.recording, np.ones(len(labelled), dtype=np.int64)]),
    )
    known = np.concatenate([np.full(len(target), UNLABELLED), labelled.labels.astype(np.int64)])
    warnings = problem.warnings
    if config.method not in (*ALIGNING, "target-supervised"):
        known, warnings = None, (*warnings, f"method {config.method} learns nothing from the labelled windows")
    return replace(problem, target=joint, target_labels=known, warnings=warnings)


def _unlabelled(prepared: PreparedSeries, ends: np.ndarray, config: DomainAdaptationConfig) -> WindowDomain:
    return WindowDomain(
        prepared.series.entity,
        _windows(prepared.filled, ends, config.window),
        np.full(len(ends), UNLABELLED, dtype=np.int8),
        order=ends,
    )


def _windows(rows: np.ndarray, ends: np.ndarray, window: int) -> np.ndarray:
    """[n, C] rows -> [m, W, C] float32, the windows that end there."""
    return rows[ends[:, None] + np.arange(1 - window, 1)].astype(np.float32)


def _parameters(model: AdaptedModel, problem: _Problem, names: Sequence[str], seed: int) -> dict[str, Any]:
    settings = asdict(model.config)
    return {
        **settings,
        "iterations": model.iterations,
        "selected_at": model.selected_at,
        "sources": list(names),
        "source_windows": sum(len(source) for source in problem.sources),
        "target_windows": len(problem.target),
        "target_labels": 0 if problem.target_labels is None else int((problem.target_labels != UNLABELLED).sum()),
        "error_median": model.error_median,
        "error_spread": model.error_spread,
        "seed": seed,
        "cut_by_budget": model.cut,
    }
