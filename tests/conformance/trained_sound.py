"""Every detector of sound fitted once to each kind of machine, for all tests of the battery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from threadpoolctl import threadpool_limits

from tests.conformance.trained import is_network, one_thread_of_torch
from wheeltapper.models.fitted import FittedSound
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries, windows_of_clips
from wheeltapper.training.datasets.sound.simulated import RATE, make_series, recording
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_windows import attribute_rows

CLIP_S = 2.0
AXES_RATE = 20_000


@dataclass(frozen=True)
class TrainedSound:
    """A fitted detector, what it was fitted to, its held-out scores and its graph."""

    series: SoundSeries
    fitted: FittedSound
    scores: CalibrationScores

    @cached_property
    def model(self) -> bytes:
        """Its graph, .onnx bytes."""
        return self.fitted.onnx_bytes()

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.model, device="cpu")

    @cached_property
    def bundle(self) -> Bundle:
        """Written once; with its twin."""
        return write_bundle(self.fitted, self.series, Path(mkdtemp(prefix="conformance-")) / "b", scores=self.scores)

    def windows(self, clips: list[Clip]) -> tuple[np.ndarray, np.ndarray | None]:
        """[n, C * S], and the attributes [n, A] of a detector that takes them."""
        windows, owner = windows_of_clips(clips, self.fitted.window, self.scores.stride)
        rows = attribute_rows([clips[index] for index in owner], self.fitted.attributes)
        return windows, rows if self.fitted.attributes else None


def usual_sound() -> SoundSeries:
    """The simulated fan: six recordings of four clips, and two later ones without a fault."""
    made = make_series("fan-1", train_recordings=8, test_recordings=0, clip_s=CLIP_S)
    return replace(made, train=made.train[:24], test=made.train[24:])


def three_axes() -> SoundSeries:
    """A motor's three axes in g, whose noise and hum grow with the speed; speed and product are known of most clips."""
    clips = []
    for index in range(16):
        generator = np.random.default_rng(index)
        speed = (600.0, 1200.0)[index % 2]
        time = np.arange(AXES_RATE) / AXES_RATE
        turns = 2 * np.pi * (speed / 60 * time[:, None] + generator.random(3))
        samples = (
            0.2 * np.sin(turns)
            + 0.1 * np.sin(4 * turns)
            + 0.02 * speed / 600 * generator.standard_normal((AXES_RATE, 3))
        )
        point: dict[str, float | str] = {"speed": speed, "product": ("ale", "stout")[index // 2 % 2]}
        clips.append(
            Clip(
                f"{index}.wav",
                samples.astype(np.float32),
                "motor",
                group=f"recording {index // 2}",
                order=index,
                anomalous=False,
                attributes=point if index % 8 else {},
            )
        )
    return SoundSeries("made", "motor", AXES_RATE, ("x", "y", "z"), ("g",) * 3, clips)


SOUNDS: dict[str, Callable[[], SoundSeries]] = {"usual": usual_sound, "three axes": three_axes}


@cache
def trained_sound(name: str, machine: str = "usual") -> TrainedSound:
    """The detector on that machine, by the options of its spec."""
    return fit_sound(name, SOUNDS[machine]())


def fit_sound(name: str, series: SoundSeries, options: TrainOptions | None = None) -> TrainedSound:
    """A new fit, with one thread so that it gives the same wherever it runs."""
    options = replace(options or DETECTORS[name].battery, device="cpu")
    with one_thread_of_torch() if is_network(name) else threadpool_limits(1):
        fitted, scores = train_detector(name, series, options)
    return TrainedSound(series, fitted, scores)


def with_tone(samples: np.ndarray, start_s: float, end_s: float, hertz: float, level: float) -> np.ndarray:
    """[n, C] of the usual machine with a tone in it."""
    found = samples.copy()
    time = np.arange(len(samples)) / RATE
    inside = (time >= start_s) & (time < end_s)
    found[inside] += (level * np.sin(2 * np.pi * hertz * time[inside]))[:, None].astype(np.float32)
    return found


def fresh_clip(number: int = 50) -> np.ndarray:
    """[n, 1] float32: the usual machine on another day."""
    return recording("fan-1", CLIP_S, number=number).astype(np.float32)
