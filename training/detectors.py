"""Every detector that can be trained, behind one function: series in, fitted detector and held-out scores out.

A new detector joins by one entry in `DETECTORS` and a function `train(series, options)`; its module is imported only
when it is asked for, so that range bands and PCA need neither torch nor anything else of the training extra.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from models.fitted import FittedDetector
from models.pca import PcaSettings, fit_pca
from models.range_bands import PRESETS, RangeBandSettings, fit_range_bands
from schemas.bundle import Graph
from schemas.errors import InputError
from training.calibration import (
    BLOCKS,
    MAX_WINDOWS,
    CalibrationScores,
    contiguous_runs,
    cross_fit_scores,
    every_nth,
    score_rows,
)
from training.datasets.series import SensorSeries
from training.options import with_settings


@dataclass(frozen=True)
class TrainOptions:
    """What every detector may be told; each takes what it has a use for.

    Attributes:
        seed: of everything random.
        epochs: at most that many, for trained networks; None is the detector's own default.
        stride: rows between scored windows in the stream; held-out windows are scored as far apart.
        window: W, rows; None is the detector's own default.
        device: 'cpu', 'cuda' or 'auto', for trained networks.
        threads: onnxruntime's, for scoring held-out windows.
        checkpoint_folder: where an interrupted training goes on from; None starts anew each time.
        progress: show what is going on.
        settings: the detector's own, as text.
    """

    seed: int = 0
    epochs: int | None = None
    stride: int = 1
    window: int | None = None
    device: str = "auto"
    threads: int = 1
    checkpoint_folder: Path | None = None
    progress: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a number outside of its range.
        """
        for name, least in (("epochs", 1), ("stride", 1), ("window", 1), ("threads", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}, expected {least} or more")


Train = Callable[[SensorSeries, TrainOptions], tuple[FittedDetector, CalibrationScores]]


@dataclass(frozen=True)
class Detector:
    """An entry of the registry.

    Attributes:
        summary: one line for help texts.
        train: 'module:function', imported on use.
        has_epochs: False for detectors that are fitted in one pass.
        extra: the pip extra that it needs.
    """

    summary: str
    train: str
    has_epochs: bool = False
    extra: str = "fit"


DETECTORS = {
    "range-bands": Detector(
        "range bands, the default: fitted in seconds, explains itself", "training.detectors:train_range_bands"
    ),
    "pca": Detector("PCA reconstruction error: the floor that others have to beat", "training.detectors:train_pca"),
    "alora": Detector(
        "ALoRa, a low-rank attention transformer", "training.detectors:train_alora", has_epochs=True, extra="training"
    ),
}


def train_detector(
    name: str, series: SensorSeries, options: TrainOptions | None = None
) -> tuple[FittedDetector, CalibrationScores]:
    """Train a detector on a series' train part.

    Raises:
        InputError: no such detector or setting, a library that is not installed, or a train part that it cannot use.
    """
    entry = detector_entry(name)
    module, _, function = entry.train.partition(":")
    try:
        train = cast(Train, getattr(importlib.import_module(module), function))
        return train(series, options or TrainOptions())
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("models", "training", "schemas"):
            raise
        raise InputError(
            f"{name} needs {error.name}, which is not installed: pip install 'wheeltapper[{entry.extra}]'"
        ) from error


def detector_entry(name: str) -> Detector:
    """
    Raises:
        InputError: no such detector.
    """
    if name not in DETECTORS:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), DETECTORS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"no detector '{name}'; expected one of {', '.join(DETECTORS)}{hint}")
    return DETECTORS[name]


def train_range_bands(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """Range bands; settings are those of `RangeBandSettings`, and preset=events|sustained."""
    values = dict(options.settings)
    preset = values.pop("preset", "events")
    if preset not in PRESETS:
        raise InputError(f"--set preset={preset}: expected one of {', '.join(PRESETS)}")
    base = RangeBandSettings.of_window(options.window) if options.window else RangeBandSettings()
    settings = with_settings(replace(base, leak=PRESETS[preset]), values, what="range-bands", extra=("preset",))

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_range_bands(runs, settings, channels=series.channels, sampling_interval_s=series.sampling_interval_s)

    return _fit_and_cross_fit("range-bands", series, options, fit, 2 * settings.window)


def train_pca(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """PCA error; settings are those of `PcaSettings`."""
    base = PcaSettings(window=options.window) if options.window else PcaSettings()
    settings = with_settings(base, options.settings, what="pca")

    def fit(runs: list[np.ndarray]) -> FittedDetector:
        return fit_pca(runs, settings, channels=series.channels)

    return _fit_and_cross_fit("pca", series, options, fit, max(100, 2 * settings.window))


def train_alora(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """ALoRa; settings are those of `AloraConfig` and `TrainerOptions`, and preset=paper|small."""
    from training.alora import alora_options
    from training.alora import train_alora as train

    values = dict(options.settings)
    base = alora_options(values.pop("preset", "paper"))
    own = {item.name for item in fields(base.config)}
    of_trainer = sorted({item.name for item in fields(base.trainer)} - own)
    trainer = with_settings(base.trainer, {k: v for k, v in values.items() if k in of_trainer}, what="alora")
    config = with_settings(
        base.config,
        {k: v for k, v in values.items() if k not in of_trainer},
        what="alora",
        extra=("preset", *of_trainer),
    )
    chosen = replace(
        base,
        config=replace(config, window=options.window) if options.window else config,
        trainer=replace(
            trainer,
            seed=options.seed,
            epochs=options.epochs or trainer.epochs,
            device=options.device,
            progress=options.progress,
            checkpoint_folder=options.checkpoint_folder,
        ),
    )
    fitted, scores = train(series, chosen)
    return fitted, every_nth(scores, options.stride)


@dataclass
class BroughtGraph:
    """Somebody's own .onnx as a `FittedDetector`."""

    model: bytes
    detector: str
    window: int
    lag: int = 0
    version: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def onnx_bytes(self) -> bytes:
        return self.model

    def torchscript_bytes(self) -> bytes | None:
        return None


def read_model(path: Path) -> bytes:
    """An .onnx file as one piece: torch's exporter puts the weights into a second file beside it.

    Raises:
        InputError: no such file, or the second one is missing.
    """
    import onnx

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an .onnx file") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, a type of another library's
        raise InputError(f"{path}: is not an ONNX file; export it again") from error
    files = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not files:
        return data
    try:
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
        return bytes(model.SerializeToString(deterministic=True))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"{path}: its weights are in {', '.join(sorted(files))}, expected beside it; copy both files"
        ) from error


def pack_graph(
    model: bytes, series: SensorSeries, options: TrainOptions, *, file: str, detector: str, lag: int = 0
) -> tuple[BroughtGraph, CalibrationScores]:
    """Somebody's own graph, with scores of the train part's last quarter: the rows that it most likely did not see.

    Args:
        model: the .onnx file.
        file: what errors call it.
        detector: name for manifest and alerts.
        lag: rows between the scored row and the window's last.

    Raises:
        InputError: not ONNX, a graph that breaks the contract, or one that does not fit the data.
    """
    graph = Graph(model, name=file, device="cpu", threads=options.threads)
    if graph.channels != len(series.channels):
        raise InputError(
            f"{file}: takes {graph.channels} channels, {series.dataset} {series.entity} has {len(series.channels)}; give "
            "the data that it was made for, columns in the order that it was trained with"
        )
    if not 0 <= lag < graph.window:
        raise InputError(f"lag is {lag} rows, expected 0 <= lag < {graph.window}, the graph's window")
    first = len(series.train) * 3 // 4
    held_out = replace(series, train=series.train[first:], train_ts=series.train_ts[first:])
    if len(held_out.train) < graph.window:
        raise InputError(
            f"{file}: its window is {graph.window} rows, the last quarter of the train part has {len(held_out.train)}; "
            f"give at least {4 * graph.window} rows"
        )
    scores = _score_series(graph, held_out, options, lag, origin="the last quarter of the train part")
    return BroughtGraph(model, detector, graph.window, lag, parameters={"file": Path(file).name}), scores


def _score_series(
    graph: Graph, series: SensorSeries, options: TrainOptions, lag: int, *, origin: str
) -> CalibrationScores:
    from models.training_rows import carry_forward, channel_medians

    values = carry_forward(series.train, channel_medians([series.train])).astype(np.float32)
    parts = [
        score_rows(
            graph,
            values[run][-MAX_WINDOWS * options.stride :],
            series.train_ts[run][-MAX_WINDOWS * options.stride :],
            sampling_interval_s=series.sampling_interval_s,
            stride=options.stride,
            lag=lag,
        )
        for run in contiguous_runs(series.train_ts, series.sampling_interval_s)
    ]
    return CalibrationScores(
        score=np.concatenate([part.score for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        interval_s=options.stride * series.sampling_interval_s,
        origin=origin,
    )


def _fit_and_cross_fit(
    name: str,
    series: SensorSeries,
    options: TrainOptions,
    fit: Callable[[list[np.ndarray]], FittedDetector],
    least_rows: int,
) -> tuple[FittedDetector, CalibrationScores]:
    least = -(-least_rows * BLOCKS // (BLOCKS - 1))
    if len(series.train) < least:
        raise InputError(
            f"{series.dataset} {series.entity}: {len(series.train)} train rows, {name} needs at least {least} (windows of "
            f"{least_rows // 2} rows, fitted on four fifths at a time); give it more history or a smaller --window"
        )
    show = _Progress(options.progress)
    scores = cross_fit_scores(
        series.train,
        series.train_ts,
        fit,
        sampling_interval_s=series.sampling_interval_s,
        stride=options.stride,
        threads=options.threads,
        progress=show,
    )
    show("fit on all rows")
    fitted = fit([series.train[run] for run in contiguous_runs(series.train_ts, series.sampling_interval_s)])
    show("")
    return fitted, scores


class _Progress:
    """One line on a terminal, rewritten; nothing where the output is none."""

    def __init__(self, wanted: bool) -> None:
        import sys

        self._stream = sys.stderr if wanted and sys.stderr.isatty() else None

    def __call__(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()
