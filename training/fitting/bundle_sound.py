"""The content of a bundle of sound: golden windows, samples for thresholds and adaptation, blocks of scores for drift."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from wheeltapper.models.fitted import FittedSound
from wheeltapper.schemas.bundle import Calibration, Graph, TrainingData
from wheeltapper.schemas.bundle.manifest import AudioManifest
from wheeltapper.schemas.bundle.store import MODEL
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.drift.blocks import block_length_us
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.fitting.bundle_parts import (
    MAX_CALIBRATION_ROWS,
    MAX_REFERENCE_VALUES,
    BundleContent,
    channel_fields,
)
from wheeltapper.training.fitting.calibration import CalibrationScores, bounded_sample
from wheeltapper.training.fitting.drift_blocks import score_blocks
from wheeltapper.training.fitting.export_check import check_graph, check_twin, open_for_check, outputs_by_name
from wheeltapper.training.fitting.fingerprint import clips_sha256
from wheeltapper.training.fitting.sound_windows import ClipWindows, attribute_rows, clip_starts, windows_ending_at

# Above it, one normal golden window instead of two: a clip of 10 s is 160,000 values.
MAX_GOLDEN_VALUES = 1_000_000
# Adaptation and people want some whole clips, and a bundle of megabytes, not of hundreds.
MAX_REFERENCE_CLIPS = 16
LARGEST_BATCH = 8
_EMBEDDED_AT_ONCE = 32
# Above what a microphone gives, for channels with a unit: so many times the loudest sample of training.
_FAR_ABOVE = 10.0


def sound_content(
    fitted: FittedSound,
    series: SoundSeries,
    scores: CalibrationScores,
    calibration: Calibration,
    *,
    seed: int,
    torchscript: bool,
) -> BundleContent:
    """Check graph and twin against their contract, the data and each other; take samples of the train clips.

    Raises:
        InputError: the graph breaks its contract, or does not fit the data.
        ExportError: graph and twin disagree.
    """
    model = fitted.onnx_bytes()
    graph = open_for_check(model, f"{fitted.detector}/{MODEL}", largest=LARGEST_BATCH)
    _check_fit(fitted, series, graph)
    windows, attributes = golden_windows(fitted, series, scores.stride, seed=seed)
    rows = attributes if fitted.attributes else None
    outputs = outputs_by_name(check_graph(graph, windows, rows))
    _check_outputs(fitted, graph, outputs)
    twin = fitted.torchscript_bytes() if torchscript else None
    if twin is not None:
        check_twin(twin, graph, windows, rows)
    inputs = {"window": windows} | ({"attributes": attributes} if fitted.attributes else {})
    drift = score_blocks(scores, calibration, block_length_us(1 / series.sample_rate))
    return BundleContent(
        model=model,
        graph=graph,
        golden=inputs | outputs,
        input_names=tuple(inputs),
        twin=twin,
        training_data=TrainingData(
            dataset=series.dataset,
            entity=series.entity,
            rows=sum(len(clip.samples) for clip in series.train),
            sha256=clips_sha256(series.train),
        ),
        essentials={
            "kind": "audio",
            "sample_rate": series.sample_rate,
            "time_columns": fitted.time_columns,
            "attributes": [spec.model_dump() for spec in fitted.attributes],
        },
        calibration=calibration_sample(fitted, series, scores, graph),
        reference=reference_clips(fitted, series, scores.stride),
        drift=drift,
        manifest=AudioManifest,
        fields={
            "channels": channel_fields(series.channels, series.units),
            "sampling_interval_s": 1 / series.sample_rate,
            "sample_rate": series.sample_rate,
            "bands": [
                {
                    "channel": series.channels[channel] if len(series.channels) > 1 else "",
                    "low_hz": low,
                    "high_hz": high,
                }
                for channel, low, high in fitted.bands
            ],
            "time_columns": fitted.time_columns,
            "attributes": fitted.attributes,
        },
    )


def golden_windows(
    fitted: FittedSound, series: SoundSeries, hop: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Windows that a graph is tried with and proves itself by: [n, C * S] float32, and their attributes [n, A].

    One or two normal ones, then silence, loud noise that clips, and a normal one with a spike of one sample. The attributes of
    the silence are unknown, the others' are those of the clip.
    """
    generator = np.random.default_rng(seed)
    size = fitted.window * fitted.channels
    normal = 2 if 5 * size <= MAX_GOLDEN_VALUES else 1
    clips = series.train
    starts = clip_starts(clips, series.sample_rate, hop)
    times = ClipWindows.of(clips, starts, series.sample_rate, fitted.window, hop).time
    chosen = times[np.linspace(0, len(times) - 1, normal).astype(int)]
    windows, owner = windows_ending_at(clips, starts, series.sample_rate, fitted.window, chosen)
    loudest = np.max([np.abs(clip.samples).max(axis=0) for clip in clips], axis=0)
    full = np.array(
        [
            1.0 if not unit else _FAR_ABOVE * max(float(top), 1e-6)
            for unit, top in zip(series.units, loudest, strict=True)
        ]
    )
    by_channel = np.repeat(full, fitted.window)
    noise = by_channel * np.clip(generator.standard_normal(size), -1, 1)
    spike = windows[-1].copy()
    spike[fitted.window // 2 :: fitted.window] = full
    disturbed = np.stack([np.zeros(size), noise, spike]).astype(np.float32)
    known = attribute_rows([clips[index] for index in owner], fitted.attributes)
    unknown = attribute_rows([clips[0]], [])[:1] if not fitted.attributes else _unknown(fitted)
    return np.concatenate([windows, disturbed]), np.concatenate([known, unknown, known[-1:], known[-1:]])


def calibration_sample(
    fitted: FittedSound, series: SoundSeries, scores: CalibrationScores, graph: Graph
) -> dict[str, np.ndarray]:
    """`score`, `time` and `embedding` of evenly spaced held-out windows; embeddings by the bundled graph, as for rows."""
    order = np.argsort(scores.time, kind="stable")
    chosen = order[bounded_sample(len(order), MAX_CALIBRATION_ROWS)]
    times = np.asarray(scores.time, dtype=np.int64)[chosen]
    sample = {"score": np.asarray(scores.score, dtype=np.float64)[chosen], "time": times}
    if scores.embedding is not None:
        return sample | {"embedding": np.asarray(scores.embedding, dtype=np.float32)[chosen]}
    starts = clip_starts(series.train, series.sample_rate, scores.stride)
    found = []
    for first in range(0, len(times), _EMBEDDED_AT_ONCE):
        part = times[first : first + _EMBEDDED_AT_ONCE]
        windows, owner = windows_ending_at(series.train, starts, series.sample_rate, fitted.window, part)
        rows = (
            attribute_rows([series.train[index] for index in owner], fitted.attributes) if fitted.attributes else None
        )
        found.append(graph.run(windows, rows).embedding)
    return sample | {"embedding": np.concatenate([part for part in found if part is not None])}


def reference_clips(fitted: FittedSound, series: SoundSeries, hop: int) -> dict[str, np.ndarray]:
    """Evenly spaced windows of the train clips, and `time` of their last samples."""
    starts = clip_starts(series.train, series.sample_rate, hop)
    times = ClipWindows.of(series.train, starts, series.sample_rate, fitted.window, hop).time
    most = max(4, min(MAX_REFERENCE_CLIPS, MAX_REFERENCE_VALUES // (fitted.window * fitted.channels)))
    chosen = times[bounded_sample(len(times), most)]
    windows, _ = windows_ending_at(series.train, starts, series.sample_rate, fitted.window, chosen)
    return {"window": windows, "time": chosen}


def _unknown(fitted: FittedSound) -> np.ndarray:
    """[1, A]: the attributes of nothing known."""
    return np.array(
        [[0.0 if spec.categories else np.nan for spec in fitted.attributes for _ in range(spec.width)]],
        dtype=np.float32,
    )


def _check_fit(fitted: FittedSound, series: SoundSeries, graph: Graph) -> None:
    """
    Raises:
        InputError: the graph takes something else than the series holds, or than the detector says.
    """
    channels = len(series.channels)
    if fitted.channels != channels or fitted.sample_rate != series.sample_rate:
        raise InputError(
            f"{fitted.detector} was made for {fitted.channels} channel(s) at {fitted.sample_rate} Hz, {series.dataset} "
            f"{series.entity} has {channels} at {series.sample_rate} Hz; give the data that it was made for"
        )
    wanted = (fitted.window * channels,)
    if graph.sample_shape != wanted:
        found = " x ".join(map(str, graph.sample_shape))
        raise InputError(
            f"{graph.name}: takes windows of {found}, expected {wanted[0]}: {fitted.window} samples of {channels} channel(s), one "
            "channel after the other"
        )
    width = sum(spec.width for spec in fitted.attributes)
    if graph.attribute_width != width:
        raise InputError(
            f"{graph.name}: takes {graph.attribute_width} columns of attributes, the detector says {width}; make both the same"
        )
    if not fitted.bands or fitted.time_columns < 1:
        raise InputError(
            f"{graph.name}: {len(fitted.bands)} bands and {fitted.time_columns} time columns, expected 1 or more"
        )
    for channel, of_channel in itertools.groupby(fitted.bands, key=lambda band: band[0]):
        edges = [low for _, low, _ in of_channel]
        if not 0 <= channel < channels or edges != sorted(edges):
            raise InputError(
                f"{graph.name}: the bands of channel {channel} do not rise, or there is no such channel; give them channel after "
                "channel, each from low to high"
            )
    order = [channel for channel, _, _ in fitted.bands]
    if order != sorted(order):
        raise InputError(f"{graph.name}: its bands go back to an earlier channel; give them channel after channel")


def _check_outputs(fitted: FittedSound, graph: Graph, outputs: Mapping[str, np.ndarray]) -> None:
    """
    Raises:
        InputError: an output that sound must have is missing or has another shape.
    """
    wanted = (len(fitted.bands), fitted.time_columns)
    found: Sequence[int] = outputs["contribution"].shape[1:]
    if tuple(found) != wanted:
        raise InputError(
            f"{graph.name}: output 'contribution' has shape [N, {', '.join(map(str, found))}], expected [N, {wanted[0]}, {wanted[1]}]: "
            "bands x time columns"
        )
    if "embedding" not in outputs:
        raise InputError(f"{graph.name}: has no output 'embedding' [N, D], which graphs of sound must have for drift")
    if "expected" in outputs:
        raise InputError(f"{graph.name}: has an output 'expected', which graphs of sound do not have; leave it out")
