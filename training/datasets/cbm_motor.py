"""Motor vibration of the CbM-Datasets (Analog Devices, SpectraQuest rig): three axes at 20 kHz, by speed, load and fault.

One file a recording: `<rpm>_<bearing>_<shaft>_<balance>_<alignment>_<load>.npz` {codes i16 [n, 3], scale [3], offset [3]},
x = codes * scale + offset in volts. Healthy is GoB_GS_BaLo_WA: good bearing, good shaft, balanced, well aligned.

For pairs of conditions a recording becomes rows of log band levels, one row a frame:

- bands that are fixed in Hz: where structure and bearings resonate, whatever the speed;
- bands that are fixed in orders of the shaft's speed: imbalance, misalignment and a bent shaft show at 1, 2, 3 times
  the shaft, bearing faults at multiples in between. The speed is known to whoever drives the motor.
"""

from __future__ import annotations

import itertools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheeltapper.schemas.errors import InputError

RATE_HZ = 20_000
AXES = ("x", "y", "z")
HEALTHY = "GoB_GS_BaLo_WA"
SPEEDS_RPM = (600, 1200, 1800, 3000)
LOADS_LB = (0, 11)
_NAME = re.compile(r"^(\d{4})_([A-Za-z]+)_([A-Za-z]+)_([A-Za-z]+)_([A-Za-z]+)_(\d{2})lb$")
# Silence has a level too; far below the quietest band of these recordings.
_FLOOR = 1e-12


@dataclass(frozen=True)
class Recording:
    """
    Attributes:
        speed_rpm, load_lb: the condition.
        state: e.g. 'GoB_GS_BaLo_WA'.
        signal: [n, 3] float32, volts.
    """

    speed_rpm: int
    load_lb: int
    state: str
    signal: np.ndarray

    @property
    def faulty(self) -> bool:
        return self.state != HEALTHY


@dataclass(frozen=True)
class BandRows:
    """How a signal becomes rows.

    Attributes:
        frame: samples; 4096 are 0.2 s, so that 5 Hz tell the shaft (10 Hz at 600 rpm) from twice the shaft.
        hop: samples from frame to frame.
        fixed: bands from `lowest_hz` to half the sampling rate, equally wide on a log scale.
        orders: bands from half the shaft's speed to `highest_order` times it, equally wide on a log scale.
    """

    frame: int = 4096
    hop: int = 64
    fixed: int = 12
    orders: int = 12
    lowest_hz: float = 100.0
    highest_order: float = 40.0

    def channels(self) -> tuple[str, ...]:
        """Names of the rows' columns."""
        names = [f"hz-{index}" for index in range(self.fixed)] + [f"order-{index}" for index in range(self.orders)]
        return tuple(f"{name}-{axis}" for name in names for axis in AXES)

    def rows(self, signal: np.ndarray, speed_rpm: float) -> np.ndarray:
        """[n, 3] volts -> [frames, (fixed + orders) * 3] float32: natural log of the mean power in each band.

        Raises:
            InputError: less signal than a frame.
        """
        if len(signal) < self.frame:
            raise InputError(f"{len(signal)} samples, expected at least a frame of {self.frame}")
        starts = self.hop * np.arange((len(signal) - self.frame) // self.hop + 1)
        frames = (signal - signal.mean(axis=0))[starts[:, None] + np.arange(self.frame)]
        spectrum = np.fft.rfft(frames * np.hanning(self.frame)[None, :, None], axis=1)
        power = np.abs(spectrum) ** 2 / self.frame  # [frames, bins, 3]
        edges = [
            np.geomspace(self.lowest_hz, RATE_HZ / 2, self.fixed + 1),
            np.geomspace(0.5, self.highest_order, self.orders + 1) * speed_rpm / 60,
        ]
        columns = [
            np.log(power[:, _bins(low, high, self.frame)].mean(axis=1) + _FLOOR)
            for part in edges
            for low, high in itertools.pairwise(part)
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)


def _bins(low_hz: float, high_hz: float, frame: int) -> np.ndarray:
    """Spectral bins in [low, high), or the one that is nearest to the middle."""
    frequencies = np.fft.rfftfreq(frame, 1 / RATE_HZ)
    inside = np.flatnonzero((frequencies >= low_hz) & (frequencies < high_hz))
    if len(inside):
        return inside
    return np.array([int(np.argmin(np.abs(frequencies - np.sqrt(low_hz * high_hz))))])


def recordings(data: Path) -> list[Recording]:
    """Every recording of the folder, by name.

    Raises:
        InputError: no recording, or a file that is not one.
    """
    found = [_read(path) for path in sorted(data.glob("*.npz"))]
    if not found:
        raise InputError(
            f"{data} holds no motor recording; expected files such as 0600_{HEALTHY}_00lb.npz {{codes, scale, offset}}"
        )
    return found


def _read(path: Path) -> Recording:
    match = _NAME.match(path.stem)
    if match is None:
        raise InputError(
            f"{path}: not the name of a motor recording; expected <rpm>_<bearing>_<shaft>_<balance>_<alignment>_<load>lb.npz"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            signal = arrays["codes"].astype(np.float32) * arrays["scale"] + arrays["offset"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as codes, scale and offset ({error}); copy the file again") from error
    if signal.ndim != 2 or signal.shape[1] != len(AXES):
        raise InputError(f"{path}: signal has shape {signal.shape}, expected (samples, {len(AXES)})")
    return Recording(int(match[1]), int(match[6]), "_".join(match.group(2, 3, 4, 5)), signal.astype(np.float32))
