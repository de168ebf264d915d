"""How well the torch-free detectors of sound tell faulty clips from normal ones: AUC of clips, on splits by time alone.

    WHEELTAPPER_DATA=... python tests/bench/sound_detectors.py
    WHEELTAPPER_DATA=... python tests/bench/sound_detectors.py --only band-profile,knn-mel --tasks fan,motor

Tasks (each a mean over its splits; noise and gain are seeded):

- fan: MIMII fan 00, learnt from one half of the normal clips by number, tested on the other half and all faulty clips; both ways round.
- fan gain: the same, every test clip louder or quieter by up to 6 dB.
- squeal, dropout: the same halves; the strange clips are normal ones of the test half with a tone of 0.3 s (as loud as the clip, 600 to 6000 Hz),
  or 0.3 s without sound.
- put in fan, put in uav: the fan's halves, and flights by repetition (every clip of the same loudness); the strange clips are normal ones of the test with, in turn, 4 dB more
  in half an octave, a tone as strong as half of what lies in half an octave around it (both anywhere from 40 to 6000 Hz), or eight harmonics of 15 to 60 Hz, each as
  strong as two fifths of what lies in a third of an octave around it.
- dcase noise: DCASE 2020, by type: learnt from the first 5 s of the normal clips in windows of 2.5 s, tested on the second 5 s of all clips in white
  or pink noise, 5 to 20 dB below the clip.
- dcase id: by type, learnt from the normal clips of the other ids in windows of 5 s; one normal against one faulty clip of the id.
- uav: learnt from square flights and tested on f8, and the reverse; every clip of the same loudness, in noise 0 to 15 dB below it.
- motor same, load, speed: CbM motor, tested at the same operating points later, under load, and at the speed that was left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from wheeltapper.schemas.bundle.attributes import attribute_row  # noqa: E402
from wheeltapper.schemas.bundle.graph import Graph  # noqa: E402
from wheeltapper.training.datasets.sound import cbm, dcase, mimii, uav  # noqa: E402
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries, windows_of_clips  # noqa: E402
from wheeltapper.training.detectors.registry import train_detector  # noqa: E402
from wheeltapper.training.fitting.options import TrainOptions  # noqa: E402
from wheeltapper.training.judging.metrics.ranking import auc_roc  # noqa: E402

EVENT_S = 0.3


@dataclass(frozen=True)
class Contender:
    """A detector with settings."""

    title: str
    detector: str
    settings: tuple[tuple[str, str], ...] = ()


CONTENDERS = (
    Contender("spectral-bands", "spectral-bands"),
    Contender("knn-mel", "knn-mel"),
    Contender("band-profile, preset=mel, condition=none", "band-profile", (("preset", "mel"), ("condition", "none"))),
    Contender("band-profile, condition=none", "band-profile", (("condition", "none"),)),
    Contender("band-profile", "band-profile"),
    Contender("band-profile, orders=48", "band-profile", (("orders", "48"),)),
    Contender("band-events", "band-events"),
)


@dataclass(frozen=True)
class Split:
    """One training and its test; windows of 10 s, or so many seconds."""

    series: SoundSeries
    window_s: float | None = None
    hop_s: float | None = None


def fan(data: Path) -> Iterator[SoundSeries]:
    """Both halves."""
    series = mimii.load(data / "machine_audio" / "mimii", "fan_id_00")
    late = [clip for clip in series.test if not clip.anomalous]
    faulty = [clip for clip in series.test if clip.anomalous]
    yield series
    yield replace(series, train=late, test=[*series.train, *faulty])


def fan_halves(data: Path) -> Iterator[Split]:
    yield from (Split(series) for series in fan(data))


def fan_gain(data: Path) -> Iterator[Split]:
    rng = np.random.default_rng(1)
    for series in fan(data):
        yield Split(changed(series, lambda clip: clip.samples * 10 ** (rng.uniform(-6, 6) / 20)))


def fan_events(data: Path, put: Callable[[np.ndarray, int, np.random.Generator], None]) -> Iterator[Split]:
    rng = np.random.default_rng(2)
    for series in fan(data):
        normal = [clip for clip in series.test if not clip.anomalous]
        strange = []
        for clip in (*normal, *normal):
            samples = clip.samples.copy()
            put(samples, series.sample_rate, rng)
            strange.append(replace(clip, samples=samples, anomalous=True))
        yield Split(replace(series, test=[*normal, *strange]))


def squeal(samples: np.ndarray, rate: int, rng: np.random.Generator) -> None:
    length = round(EVENT_S * rate)
    start = rng.integers(0, len(samples) - length)
    tone = np.sin(2 * np.pi * rng.uniform(600, 6000) * np.arange(length) / rate) * np.hanning(length)
    samples[start : start + length, 0] += np.sqrt(2) * samples.std() * tone


def dropout(samples: np.ndarray, rate: int, rng: np.random.Generator) -> None:
    length = round(EVENT_S * rate)
    start = rng.integers(0, len(samples) - length)
    samples[start : start + length] = 0


def put_in(series: SoundSeries) -> Split:
    """Faults of any frequency, put into the normal clips of the test."""
    rng = np.random.default_rng(5)
    normal = [clip for clip in series.test if not clip.anomalous]
    strange = [
        replace(clip, samples=change(clip.samples[:, 0], series.sample_rate, rng)[:, None], anomalous=True)
        for clip in normal
        for change in (louder_band, tone, harmonics)
    ]
    return Split(replace(series, test=[*normal, *strange]))


def louder_band(signal: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    middle = np.exp(rng.uniform(np.log(40), np.log(6000)))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(signal), 1 / rate), 1.0) / middle)
    gain = 1 + (10 ** (4 / 20) - 1) * np.exp(-0.5 * (octaves / 0.25) ** 2)
    return np.fft.irfft(np.fft.rfft(signal) * gain, len(signal)).astype(np.float32)


def tone(signal: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    return with_lines(signal, rate, [float(np.exp(rng.uniform(np.log(40), np.log(6000))))], 0.5, 1 / 4)


def harmonics(signal: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    shaft = rng.uniform(15, 60)
    return with_lines(signal, rate, [shaft * order for order in range(1, 9)], 0.4, 1 / 6)


def with_lines(signal: np.ndarray, rate: int, lines: Sequence[float], share: float, octaves: float) -> np.ndarray:
    """With tones whose power is a share of what lies within so many octaves of them on either side."""
    spectrum = np.abs(np.fft.rfft(signal)) ** 2 * 2 / len(signal) ** 2
    hz, time_s = np.fft.rfftfreq(len(signal), 1 / rate), np.arange(len(signal)) / rate
    found = signal.astype(np.float64)
    for number, line in enumerate(lines):
        power = spectrum[(hz > line / 2**octaves) & (hz < line * 2**octaves)].sum()
        found = found + np.sqrt(2 * share * power) * np.sin(2 * np.pi * line * time_s + number)
    return found.astype(np.float32)


def put_in_uav(data: Path) -> Iterator[Split]:
    series = uav.load(data / "uav_propeller", "uav")
    yield put_in(changed(series, lambda clip: clip.samples / clip.samples.std() * 0.05, train=True))


def dcase_noise(data: Path) -> Iterator[Split]:
    rng = np.random.default_rng(3)
    for series, clips in dcase_types(data):
        half = 5 * series.sample_rate
        train = [replace(clip, samples=clip.samples[:half]) for clip in clips if not clip.anomalous]
        test = [replace(clip, samples=noisy(clip.samples[half : 2 * half], (5, 20), rng)) for clip in clips]
        yield Split(replace(series, train=train, test=test), 2.5, 0.5)


def dcase_id(data: Path) -> Iterator[Split]:
    for series, clips in dcase_types(data):
        for machine in sorted({clip.machine for clip in clips}):
            train = [clip for clip in clips if clip.machine != machine and not clip.anomalous]
            test = [clip for clip in clips if clip.machine == machine]
            if {clip.anomalous for clip in test} == {True, False}:
                yield Split(replace(series, train=train, test=test), 5.0, 2.5)


def dcase_types(data: Path) -> Iterator[tuple[SoundSeries, list[Clip]]]:
    """Every machine type with all its clips, once each: an entity's train part may hold those of other ids."""
    folder = data / "machine_audio" / "dcase2020"
    found: dict[str, tuple[SoundSeries, dict[str, Clip]]] = {}
    for entity in dcase.entities(folder):
        if entity.endswith(f"/{dcase.HALVES}"):
            continue
        series = dcase.load(folder, entity)
        known = found.setdefault(entity.split("/")[0], (series, {}))[1]
        known.update({clip.name: clip for clip in (*series.train, *series.test)})
    for series, clips in found.values():
        yield series, [clips[name] for name in sorted(clips)]


def uav_missions(data: Path) -> Iterator[Split]:
    rng = np.random.default_rng(4)
    for entity in ("square-to-f8", "f8-to-square"):
        series = uav.load(data / "uav_propeller", entity)
        even = changed(series, lambda clip: noisy(clip.samples / clip.samples.std(), (0, 15), rng), train=True)
        yield Split(even)


def motor(data: Path, entities: Sequence[str]) -> Iterator[Split]:
    yield from (Split(cbm.load(data / "cbm_motor", entity)) for entity in entities)


def changed(series: SoundSeries, change: Callable[[Clip], np.ndarray], *, train: bool = False) -> SoundSeries:
    def part(clips: Sequence[Clip]) -> list[Clip]:
        return [replace(clip, samples=change(clip).astype(np.float32)) for clip in clips]

    return replace(series, train=part(series.train) if train else series.train, test=part(series.test))


def noisy(samples: np.ndarray, below_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """With white or pink noise so far below its level."""
    noise = rng.standard_normal(len(samples))
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0
        noise = np.fft.irfft(spectrum, len(samples))
    level = samples.std() * 10 ** (-rng.uniform(*below_db) / 20)
    return (samples + (noise / noise.std() * level)[:, None]).astype(np.float32)


TASKS: dict[str, Callable[[Path], Iterator[Split]]] = {
    "fan": fan_halves,
    "fan gain": fan_gain,
    "squeal": lambda data: fan_events(data, squeal),
    "dropout": lambda data: fan_events(data, dropout),
    "put in fan": lambda data: (put_in(series) for series in fan(data)),
    "put in uav": put_in_uav,
    "dcase noise": dcase_noise,
    "dcase id": dcase_id,
    "uav": uav_missions,
    "motor same": lambda data: motor(data, ["same"]),
    "motor load": lambda data: motor(data, ["other-load"]),
    "motor speed": lambda data: motor(data, ["speed-600", "speed-1200", "speed-1800", "speed-3000"]),
}


def auc(contender: Contender, split: Split) -> float:
    """Of the test clips; a clip's score is the mean of its windows'."""
    rate = split.series.sample_rate
    options = TrainOptions(
        settings=dict(contender.settings),
        window=None if split.window_s is None else round(split.window_s * rate),
        stride=1 if split.hop_s is None else round(split.hop_s * rate),
    )
    fitted, _ = train_detector(contender.detector, split.series, options)
    graph = Graph(fitted.onnx_bytes(), device="cpu")
    scores = []
    for clip in split.series.test:
        windows, _ = windows_of_clips([clip], fitted.window, max(1, fitted.window // 2))
        rows = np.repeat(attribute_row(clip.attributes, fitted.attributes)[None], len(windows), axis=0)
        scores.append(float(graph.run(windows, rows if fitted.attributes else None).score.mean()))
    found = auc_roc(np.array([bool(clip.anomalous) for clip in split.series.test], dtype=np.uint8), np.array(scores))
    assert found is not None, "a split without faulty clips"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="detectors, with commas; all where empty")
    parser.add_argument("--tasks", default="", help="first words of tasks, with commas; all where empty")
    arguments = parser.parse_args()
    data = Path(os.environ.get("WHEELTAPPER_DATA", CHECKOUT.parent / "shared" / "data"))
    wanted, tasks = (tuple(filter(None, text.split(","))) for text in (arguments.only, arguments.tasks))
    chosen = {name: task for name, task in TASKS.items() if not tasks or name.startswith(tasks)}
    contenders = [one for one in CONTENDERS if not wanted or one.detector in wanted]
    print("| AUC | " + " | ".join(chosen) + " | s |\n" + "|---" * (len(chosen) + 2) + "|", flush=True)
    for contender in contenders:
        started, cells = time.process_time(), []
        for name, task in chosen.items():
            if "orders" in dict(contender.settings) and not name.startswith("motor"):
                cells.append("")
                continue
            cells.append(f"{np.mean([auc(contender, split) for split in task(data)]):.3f}".removeprefix("0"))
        print(f"| {contender.title} | " + " | ".join(cells) + f" | {time.process_time() - started:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
