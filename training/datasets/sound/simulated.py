"""Machine sounds that this project makes: a fan, a pump and a gearbox, with faults of known time and frequency.

A recording has its own speed and gain, as one has that was made on another day; noise of the room lies on top. Faults: a squeal (a tone that wavers),
knocking (impulses that ring), a bearing tone with side bands, a dropout (the microphone's cable), hiss (broad-band noise). Everything is a function of
entity and seed: the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries

DATASET = "simulated-sound"
RATE = 16_000
CLIP_S = 10.0
CLIPS_A_RECORDING = 4
TRAIN_RECORDINGS = 10
TEST_RECORDINGS = 5

FaultKind = Literal["squeal", "knocking", "bearing", "dropout", "hiss"]
FAULTS: tuple[FaultKind, ...] = ("squeal", "knocking", "bearing", "dropout", "hiss")
LOUDNESS = 0.08
"""Root mean square of a normal recording of mean gain, of full scale 1."""


@dataclass(frozen=True)
class Fault:
    """What is put into a sound.

    Attributes:
        start_s, end_s: when.
        low_hz, high_hz: where its energy lies; of a dropout, everything.
    """

    kind: FaultKind
    start_s: float
    end_s: float
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class Machine:
    """How a machine sounds.

    Attributes:
        shaft_hz: of the shaft; recordings differ by some per cent.
        harmonics: level of the shaft's harmonics, from the first.
        mesh: (multiple of the shaft, level, side bands apart in shafts) of gears or blades.
        noise: (low Hz, high Hz, level) of bands of noise.
        swing: depth and Hz of a slow swing of loudness.
    """

    shaft_hz: float
    harmonics: tuple[float, ...]
    mesh: tuple[tuple[float, float, float], ...]
    noise: tuple[tuple[float, float, float], ...]
    swing: tuple[float, float]


MACHINES: dict[str, Machine] = {
    "fan-1": Machine(24.5, (0.5, 0.3, 0.15), ((7, 1.0, 0.0), (14, 0.5, 0.0), (21, 0.2, 0.0)), ((60, 1500, 0.9), (1500, 6000, 0.25)), (0.05, 0.7)),
    "pump-1": Machine(49.0, (0.8, 0.6, 0.3, 0.2), ((6, 0.8, 0.0), (12, 0.4, 0.0)), ((200, 2500, 0.5), (2500, 7000, 0.4)), (0.15, 1.9)),
    "gearbox-1": Machine(17.0, (0.4, 0.3, 0.3, 0.2, 0.1), ((31, 0.9, 1.0), (62, 0.5, 1.0), (93, 0.25, 1.0)), ((100, 4000, 0.5),), (0.1, 0.4)),
}  # fmt: skip


def entities(data: Path) -> tuple[str, ...]:
    """Needs no folder."""
    return tuple(MACHINES)


def load(data: Path, entity: str) -> SoundSeries:
    """40 normal clips of ten recordings, and 20 of five later ones: every second of those has a fault."""
    return make_series(entity)


def make_series(
    entity: str,
    *,
    seed: int = 0,
    train_recordings: int = TRAIN_RECORDINGS,
    test_recordings: int = TEST_RECORDINGS,
    clip_s: float = CLIP_S,
    faults: Sequence[FaultKind] = FAULTS,
) -> SoundSeries:
    """
    Raises:
        InputError: no such machine.
    """
    parts: list[list[Clip]] = [[], []]
    for number in range(train_recordings + test_recordings):
        tested = number >= train_recordings
        sound = recording(entity, CLIPS_A_RECORDING * clip_s, seed=seed, number=number)
        for place in range(CLIPS_A_RECORDING):
            order = number * CLIPS_A_RECORDING + place
            samples = sound[round(place * clip_s * RATE) : round((place + 1) * clip_s * RATE)].copy()
            disturbed: tuple[tuple[float, float, float, float], ...] = ()
            kind = ""
            if tested and place % 2:
                fault = make_fault(faults[(order // 2) % len(faults)], clip_s, seed=seed * 1000 + order)
                add_fault(samples, fault, seed=seed * 1000 + order)
                disturbed = ((fault.start_s, fault.end_s, fault.low_hz, fault.high_hz),)
                kind = f"_{fault.kind}"
            parts[tested].append(
                Clip(
                    name=f"{entity}_{order:04}{kind}.wav",
                    samples=_as_pcm(samples),
                    machine=entity,
                    group=f"recording {number}",
                    order=order,
                    anomalous=bool(disturbed),
                    disturbed=disturbed,
                )
            )
    return SoundSeries(DATASET, entity, RATE, ("sound",), ("",), parts[0], parts[1])


def make_stream(
    entity: str, seconds: float, faults: Sequence[Fault] = (), *, seed: int = 0, recording_number: int = 100
) -> np.ndarray:
    """[n, 1] float32: one long recording with faults at known times, as 16-bit PCM would carry it.

    Raises:
        InputError: no such machine, or a fault that does not lie in it.
    """
    sound = recording(entity, seconds, seed=seed, number=recording_number)
    for index, fault in enumerate(faults):
        if not 0 <= fault.start_s < fault.end_s <= seconds:
            raise InputError(
                f"{fault.kind} from {fault.start_s:g} to {fault.end_s:g} s does not lie in {seconds:g} s of sound"
            )
        add_fault(sound, fault, seed=seed * 1000 + index)
    return _as_pcm(sound)


def make_fault(kind: FaultKind, clip_s: float, *, seed: int) -> Fault:
    """A fault somewhere inside a clip, about a third of it long; a dropout is shorter."""
    generator = np.random.default_rng([seed, 17])
    length = clip_s * (0.15 if kind == "dropout" else 0.35)
    start = float(generator.uniform(0.1 * clip_s, 0.9 * clip_s - length))
    middle = float(generator.uniform(1_800, 5_000))
    spans: dict[FaultKind, tuple[float, float]] = {
        "squeal": (0.95 * middle, 1.05 * middle),
        "knocking": (0.6 * middle, 1.4 * middle),
        "bearing": (middle - 350, middle + 350),
        "dropout": (0.0, RATE / 2),
        "hiss": (0.8 * middle, min(7_800.0, 1.8 * middle)),
    }
    return Fault(kind, start, start + length, *spans[kind])


def recording(entity: str, seconds: float, *, seed: int = 0, number: int = 0) -> np.ndarray:
    """[n, 1] float64: a normal recording, with the speed, gain and room of its own day.

    Raises:
        InputError: no such machine.
    """
    if entity not in MACHINES:
        raise InputError(f"no simulated machine '{entity}'; expected one of {', '.join(MACHINES)}")
    machine = MACHINES[entity]
    generator = np.random.default_rng([seed, number, list(MACHINES).index(entity)])
    n = round(seconds * RATE)
    time = np.arange(n) / RATE
    # The speed wanders a little within a recording, more between recordings.
    speed = machine.shaft_hz * (1 + 0.02 * generator.standard_normal())
    wander = 0.002 * np.sin(2 * np.pi * generator.uniform(0.02, 0.08) * time + generator.uniform(0, 2 * np.pi))
    turns = np.cumsum(speed * (1 + wander)) / RATE
    tones = np.zeros(n, dtype=np.float32)

    def add_tone(multiple: float, level: float) -> None:
        phase = multiple * turns + generator.uniform()
        # Whole turns off first: float32 is fast and exact enough for what is left.
        phase -= np.floor(phase)
        np.add(tones, level * np.sin(np.float32(2 * np.pi) * phase.astype(np.float32)), out=tones)

    for order, level in enumerate(machine.harmonics, start=1):
        add_tone(order, level)
    for multiple, level, apart in machine.mesh:
        add_tone(multiple, level)
        if apart:
            add_tone(multiple - apart, 0.3 * level)
            add_tone(multiple + apart, 0.3 * level)
    # The mix of a room changes from day to day.
    bands = [(low, high, level * 10 ** (generator.normal(0, 1.0) / 20)) for low, high, level in machine.noise]
    noise = _noise(n, bands, generator)
    depth, hertz = machine.swing
    swing = 1 + depth * np.sin(2 * np.pi * hertz * time + generator.uniform(0, 2 * np.pi))
    room = 0.3 * _noise(n, [(20.0, RATE / 2, 1.0)], generator)
    sound = swing * (0.6 * tones + noise) + room
    gain = 10 ** (generator.normal(0, 1.5) / 20)
    return np.asarray(gain * LOUDNESS * sound / np.sqrt(np.mean(sound**2)))[:, None]


def add_fault(sound: np.ndarray, fault: Fault, *, seed: int = 0) -> None:
    """Put a fault into [n, 1] samples, in place."""
    start, stop = round(fault.start_s * RATE), min(len(sound), round(fault.end_s * RATE))
    generator = np.random.default_rng([seed, 23])
    if fault.kind == "dropout":
        sound[start:stop] = 0.0
        return
    sound[start:stop, 0] += 2.0 * LOUDNESS * _MAKERS[fault.kind](stop - start, fault, generator) * _fade(stop - start)


def _noise(n: int, bands: Sequence[tuple[float, float, float]], generator: np.random.Generator) -> np.ndarray:
    """[n] noise: the sum of bands (low Hz, high Hz, root mean square)."""
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    power = np.zeros(len(frequency))
    for low, high, level in bands:
        inside = (frequency >= low) & (frequency <= high)
        power[inside] += level**2 / max(1, int(inside.sum()))
    amplitude = n * np.sqrt(power) / 2
    spectrum = amplitude * (generator.standard_normal(len(frequency)) + 1j * generator.standard_normal(len(frequency)))
    return np.fft.irfft(spectrum, n)


def _squeal(n: int, fault: Fault, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(n) / RATE
    middle, width = (fault.low_hz + fault.high_hz) / 2, (fault.high_hz - fault.low_hz) / 2
    frequency = middle + 0.8 * width * np.sin(2 * np.pi * 3.1 * time + generator.uniform(0, 2 * np.pi))
    return np.asarray(0.5 * np.sin(2 * np.pi * np.cumsum(frequency) / RATE))


def _knocking(n: int, fault: Fault, generator: np.random.Generator) -> np.ndarray:
    middle = (fault.low_hz + fault.high_hz) / 2
    ring = np.arange(round(0.03 * RATE)) / RATE
    knock = np.sin(2 * np.pi * middle * ring) * np.exp(-ring / 0.004)
    values = np.zeros(n + len(knock))
    for place in np.arange(0, n - 1, RATE / 9.0):
        at = int(np.clip(place + generator.normal(0, 0.002 * RATE), 0, n - 1))
        values[at : at + len(knock)] += 2.5 * knock
    return values[:n]


def _bearing(n: int, fault: Fault, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(n) / RATE
    middle, apart = (fault.low_hz + fault.high_hz) / 2, (fault.high_hz - fault.low_hz) / 6
    values = np.sin(2 * np.pi * middle * time + generator.uniform(0, 2 * np.pi))
    for side in (-2, -1, 1, 2):
        values += 0.5 / abs(side) * np.sin(2 * np.pi * (middle + side * apart) * time + generator.uniform(0, 2 * np.pi))
    return np.asarray(0.35 * values)


def _hiss(n: int, fault: Fault, generator: np.random.Generator) -> np.ndarray:
    return _noise(n, [(fault.low_hz, fault.high_hz, 0.6)], generator)


_MAKERS: dict[FaultKind, Callable[[int, Fault, np.random.Generator], np.ndarray]] = {
    "squeal": _squeal,
    "knocking": _knocking,
    "bearing": _bearing,
    "hiss": _hiss,
}


def _fade(n: int) -> np.ndarray:
    """[n] 1 with 10 ms of fading at both ends: a switch would be heard at every frequency."""
    edge = np.minimum(1.0, (np.arange(n) + 1) / (0.01 * RATE))
    return edge * edge[::-1]


def _as_pcm(sound: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1) on the steps of 16 bits."""
    return (np.clip(np.round(sound * 32_768), -32_768, 32_767) / 32_768).astype(np.float32)
