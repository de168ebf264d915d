"""Sound for tests: a bundle whose score is the energy in four bands, made by hand, and chunks of signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.stream.bundles import hand_made_files
from tests.unit.stream.feeds import Message
from wheeltapper.schemas.audio_chunk import AudioChunk, AudioEncoding
from wheeltapper.schemas.bundle import (
    AttributeSpec,
    AudioManifest,
    Calibration,
    Channel,
    FrequencyBand,
    TensorSpec,
    TrainingData,
    write_bundle_folder,
)
from wheeltapper.schemas.bundle.store import sha256_of
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_audio_chunk
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings, ThresholdSettings

AUDIO_TOPIC = "wheeltapper.audio"
RATE = 8_000
WINDOW, HOP = 4_000, 2_000
FRAME = 200
BANDS = ((100, 800), (800, 1_600), (1_600, 2_400), (2_400, 3_200))
COLUMNS = WINDOW // FRAME
SPEED = AttributeSpec(name="speed")
PRODUCT = AttributeSpec(name="product", categories=("oil", "water"))
START = 1_700_000_000_000_000
SETTINGS = Settings(threshold=ThresholdSettings(method="fixed", raise_level=0.5, clear_duration_s=0.5))


def band_energies(windows: np.ndarray, channels: int = 1) -> np.ndarray:
    """[N, C * 4, COLUMNS]: what the graph gives as contribution, in numpy."""
    frames = windows.reshape(len(windows), channels, COLUMNS, FRAME).astype(np.float64)
    power = np.abs(np.fft.rfft(frames, axis=-1)) ** 2 / FRAME**2
    hz = np.fft.rfftfreq(FRAME, 1 / RATE)
    bands = [power[..., (hz >= low) & (hz < high)].sum(axis=-1) for low, high in BANDS]
    return np.stack(bands, axis=2).reshape(len(windows), channels * len(BANDS), COLUMNS)


def write_sound_bundle(
    folder: Path,
    *,
    channels: Sequence[str] = ("sound",),
    attributes: Sequence[AttributeSpec] = (),
    detector: str = "energy",
    alarm_level: float = 0.02,
    held_out: np.ndarray | None = None,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """A bundle whose score is the energy of a half second in four bands; a known speed of 1 adds 1 to it, oil 10.

    Args:
        held_out: [n, 1] sound whose windows are the calibration, with times and embeddings; None: made-up scores.
        changed: fields of the manifest that are other than they should be.
    """
    hz = np.fft.rfftfreq(FRAME, 1 / RATE)
    angles = 2 * np.pi * np.outer(np.arange(FRAME), np.arange(len(hz))) / FRAME
    pick = np.array([[float(low <= each < high) for low, high in BANDS] for each in hz], dtype=np.float32)
    count = len(channels)
    constants = {
        "frames": np.array([-1, count, COLUMNS, FRAME], dtype=np.int64),
        "cosine": (np.cos(angles) / FRAME).astype(np.float32),
        "sine": (np.sin(angles) / FRAME).astype(np.float32),
        "pick": pick,
        "cells": np.array([-1, count * len(BANDS), COLUMNS], dtype=np.int64),
        "axes": np.array([1, 2], dtype=np.int64),
        "last": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["window", "frames"], ["framed"]),
        helper.make_node("MatMul", ["framed", "cosine"], ["real"]),
        helper.make_node("MatMul", ["framed", "sine"], ["imaginary"]),
        helper.make_node("Mul", ["real", "real"], ["real2"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary2"]),
        helper.make_node("Add", ["real2", "imaginary2"], ["power"]),
        helper.make_node("MatMul", ["power", "pick"], ["banded"]),
        helper.make_node("Transpose", ["banded"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["turned", "cells"], ["contribution"]),
        helper.make_node("ReduceMean", ["contribution", "axes"], ["energy"], keepdims=0),
        helper.make_node("ReduceMean", ["contribution", "last2"], ["embedding"], keepdims=0),
    ]
    constants["last2"] = np.array([2], dtype=np.int64)
    width = sum(spec.width for spec in attributes)
    shapes: dict[str, tuple[int | str, ...]] = {"window": ("N", count * WINDOW)}
    if width:
        constants["weights"] = np.array([[1.0], [10.0], [0.0]][:width], dtype=np.float32)
        constants["nothing"] = np.zeros(1, dtype=np.float32)
        nodes += [
            helper.make_node("IsNaN", ["attributes"], ["unknown"]),
            helper.make_node("Where", ["unknown", "nothing", "attributes"], ["known"]),
            helper.make_node("MatMul", ["known", "weights"], ["column"]),
            helper.make_node("Squeeze", ["column", "last"], ["extra"]),
            helper.make_node("Add", ["energy", "extra"], ["score"]),
        ]
        shapes["attributes"] = ("N", width)
    else:
        nodes.append(helper.make_node("Identity", ["energy"], ["score"]))
    inputs = list(shapes)
    shapes |= {
        "score": ("N",),
        "contribution": ("N", count * len(BANDS), COLUMNS),
        "embedding": ("N", count * len(BANDS)),
    }
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "energy",
        [infos[name] for name in inputs],
        [infos[name] for name in shapes if name not in inputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    windows = np.random.default_rng(1).normal(0, 0.1, size=(3, count * WINDOW)).astype(np.float32)
    cells = band_energies(windows, count)
    known = {"attributes": np.zeros((3, width), dtype=np.float32)} if width else {}
    golden = {
        "window": windows,
        "score": cells.mean(axis=(1, 2)),
        "contribution": cells,
        "embedding": cells.mean(axis=2),
        **known,
    }
    calibrated: dict[str, Any] = {"score": np.random.default_rng(2).random(100) * alarm_level / 4}
    if held_out is not None:
        stops = np.arange(WINDOW, len(held_out) + 1, HOP)
        known_cells = band_energies(np.stack([held_out[stop - WINDOW : stop, 0] for stop in stops]))
        calibrated = {
            "score": known_cells.mean(axis=(1, 2)),
            "time": START + (stops - 1) * 1_000_000 // RATE,
            "embedding": [row.tolist() for row in known_cells.mean(axis=2).astype(np.float32)],
        }
    files = hand_made_files(model, golden, calibrated, windows.tolist())
    specs = [TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()]
    several = len(channels) > 1
    fields: dict[str, Any] = {
        "bundle_id": f"{detector}-sound-1",
        "detector": detector,
        "sampling_interval_s": 1 / RATE,
        "sample_rate": RATE,
        "window": WINDOW,
        "stride": HOP,
        "channels": tuple(Channel(name=name) for name in channels),
        "bands": tuple(
            FrequencyBand(channel=name if several else "", low_hz=low, high_hz=high)
            for name in channels
            for low, high in BANDS
        ),
        "time_columns": COLUMNS,
        "attributes": tuple(attributes),
        "inputs": tuple(specs[: len(inputs)]),
        "outputs": tuple(specs[len(inputs) :]),
        "calibration": Calibration(
            center=0.0, alarm_level=alarm_level, false_alarms_per_day=0.25, windows=100, method="gpd"
        ),
        "training_data": TrainingData(dataset="made-up", entity="none", rows=10, sha256="0" * 64),
        "created_at": "2024-01-01T00:00:00Z",
        "files": sha256_of(files),
    }
    manifest: Any = AudioManifest(**fields | dict(changed or {}))
    return write_bundle_folder(folder / f"{detector}-{'-'.join(channels)}", manifest, files).location


def hum(seconds: float, *, loud: tuple[float, float] = (0, 0), rate: int = RATE, channels: int = 1) -> np.ndarray:
    """[n, C] float32, whole 16-bit numbers: noise, and in a stretch of time (s) a tone at 2,000 Hz."""
    count = round(seconds * rate)
    noise = np.random.default_rng(3).normal(0, 0.02, (count, channels))
    times = np.arange(count) / rate
    tone = 0.7 * np.sin(2 * np.pi * 2_000 * times) * ((times >= loud[0]) & (times < loud[1]))
    return (np.rint((noise + tone[:, None]) * 32_768) / 32_768).astype(np.float32)


def chunk_at(
    samples: np.ndarray,
    first: int,
    *,
    rate: int = RATE,
    machine: str = "fan-1",
    microphone: str = "",
    encoding: AudioEncoding = "int16",
    attributes: Mapping[str, float | str] | None = None,
    late_us: int = 0,
) -> AudioChunk:
    """Samples as a chunk whose first is the one with number `first` since START."""
    start = START + round(first * 1e6 / rate) + late_us
    return AudioChunk(machine, microphone, start, rate, samples, attributes or {}, encoding)


def chunks_of(samples: np.ndarray, sizes: Sequence[int], **how: Any) -> list[AudioChunk]:
    """A signal in chunks of these sizes, again and again."""
    found, first, turn = [], 0, 0
    while first < len(samples):
        size = sizes[turn % len(sizes)]
        turn += 1
        found.append(chunk_at(samples[first : first + size], first, **how))
        first += size
    return found


def sound_message(chunk: AudioChunk, form: Any = "avro") -> Message:
    """A chunk as one message."""
    headers = [("content-type", CONTENT_TYPES[form].encode())]
    return Message(encode_audio_chunk(chunk, form), chunk.machine.encode(), headers)


def sound_batch(chunks: Sequence[AudioChunk | Message], *, first: int = 0) -> PartitionBatch:
    """Chunks with consecutive offsets from `first`, in both forms in turn."""
    batch = PartitionBatch(AUDIO_TOPIC, 0)
    for offset, chunk in enumerate(chunks, start=first):
        message = sound_message(chunk, ("avro", "arrow")[offset % 2]) if isinstance(chunk, AudioChunk) else chunk
        batch.offsets.append(offset)
        batch.keys.append(message.key)
        batch.values.append(message.value)
        batch.headers.append(message.headers)
        batch.timestamps_ms.append(message.timestamp_ms)
    return batch


def pipeline_of(bundle: Path, settings: Settings = SETTINGS, pattern: str = "fan-*", **how: Any) -> Pipeline:
    """A pipeline that serves machines of a pattern by one bundle."""
    return Pipeline(load_routes([f"{pattern}={bundle}"], settings), settings, **how)


def handle(pipeline: Pipeline, chunks: list[AudioChunk], first: int = 0) -> list[Output]:
    """What comes of chunks with consecutive offsets from `first`."""
    return pipeline.handle([sound_batch(chunks, first=first)], now=0.0)
