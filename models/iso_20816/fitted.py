"""The zones' formulas in numpy, and the constants of which graph and TorchScript twin are built. Nothing is learnt.

P = |DFT|^2 of frames with a Hann window                                     [frames, n_fft / 2 + 1]
v^2_b = sum over the band's bins of 2 P_k / (n_fft sum w^2) (factor / (2 pi f_k))^2        (mm/s)^2; without the division for velocity
rms of a channel = sqrt(mean over frames of sum over b of v^2_b)
score = the largest rms of a channel / limit_d: 1 where zone D begins
contribution of band b in column t = the column's part of v^2_b, over limit_d^2: a channel's add up to the square of its score
embedding = sqrt(mean over frames of v^2_b), mm/s
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wheeltapper.models.band_profile.fitted import without_offset
from wheeltapper.models.iso_20816.settings import Unit, VelocityZoneSettings
from wheeltapper.models.sound.detector import NumpySound
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.schemas.errors import InputError

# Hz between bins: so that a band that begins at 10 Hz begins there.
BIN_HZ = 2.5
STANDARD_GRAVITY = 9806.65
"""mm/s^2."""
FACTORS: dict[Unit, float] = {"g": STANDARD_GRAVITY, "m/s2": 1000.0, "mm/s": 1.0}
"""From the samples' unit to mm/s^2, or mm/s."""
SPELLINGS: dict[str, Unit] = {
    "g": "g",
    "m/s2": "m/s2",
    "m/s^2": "m/s2",
    "m/s²": "m/s2",
    "mm/s": "mm/s",
}


@dataclass(frozen=True)
class VelocityBands(FrontEnd):
    """A front end whose bands are mean squares of velocity, (mm/s)^2, without overlap or holes.

    Attributes:
        unit: of the samples.
    """

    unit: Unit = "g"

    @property
    def edges(self) -> tuple[tuple[float, float], ...]:
        points = np.geomspace(self.low_hz, self.top_hz, self.bands + 1).tolist()
        return tuple(itertools.pairwise(points))

    @cached_property
    def weights(self) -> np.ndarray:
        """[bands, bins] float64."""
        hz = np.fft.rfftfreq(self.n_fft, 1 / self.sample_rate)
        inside = (hz >= self.low_hz) & (hz <= self.top_hz)
        inner = np.array([high for _, high in self.edges[:-1]])
        owner = np.searchsorted(inner, hz, side="right")
        scale = 2 / (self.n_fft * np.sum(self.window**2)) * FACTORS[self.unit] ** 2
        turns = np.where(inside, 2 * np.pi * hz, 1.0) if self.unit != "mm/s" else 1.0
        return np.asarray((np.arange(self.bands)[:, None] == owner) * np.where(inside, scale / turns**2, 0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedVelocityZones(NumpySound[VelocityZoneSettings]):
    """What the zones are computed with."""

    @property
    def limit(self) -> float:
        """mm/s where zone D begins."""
        return self.settings.limits[2]

    @property
    def parameters(self) -> Mapping[str, Any]:
        zone_b, zone_c, zone_d = self.settings.limits
        unit = self.frontend.unit if isinstance(self.frontend, VelocityBands) else self.settings.unit
        return {**super().parameters, "limit_b": zone_b, "limit_c": zone_c, "limit_d": zone_d, "unit": unit}

    @property
    def membership(self) -> np.ndarray:
        """[frames, columns] float64: from frames to each column's part of their mean."""
        column = self.frontend.columns(self.window, self.time_columns)
        return np.asarray(np.eye(self.time_columns)[column] / len(column))

    def rms(self, window: np.ndarray) -> np.ndarray:
        """[C * S] to [C], mm/s; the reference for graph and twin."""
        squares = self.frontend.energies(without_offset(window, self.channels))
        return np.asarray(np.sqrt(squares.mean(axis=1).sum(axis=1)))


def velocity_bands(
    settings: VelocityZoneSettings, sample_rate: int, window: int, units: tuple[str, ...]
) -> VelocityBands:
    """The front end for samples of this rate and unit.

    Raises:
        InputError: a unit that is neither acceleration nor velocity, units that differ, a window too short for the lowest
            frequency, or a rate too low for the highest.
    """
    unit = settings.unit
    if unit == "auto":
        said = SPELLINGS.get(units[0].strip().lower())
        if said is None or any(SPELLINGS.get(text.strip().lower()) != said for text in units):
            raise InputError(
                f"{settings.DETECTOR}: the channels' units are {', '.join(text or 'not named' for text in units)}, expected one of "
                f"{', '.join(SPELLINGS)} for all; say it with --set unit=g, m/s2 or mm/s"
            )
        unit = said
    n_fft = 1 << int(np.ceil(np.log2(sample_rate * 10 / BIN_HZ / settings.low_hz)))
    n_fft = max(64, min(n_fft, 1 << int(np.log2(max(window, 1)))))
    if sample_rate / n_fft > settings.low_hz / 2:
        raise InputError(
            f"{settings.DETECTOR}: the window is {window / sample_rate:.3g} s, expected {4 / settings.low_hz:.3g} s or more to see "
            f"{settings.low_hz:g} Hz; give a longer --window-s"
        )
    return VelocityBands(
        sample_rate,
        n_fft=n_fft,
        hop=n_fft // 2,
        bands=settings.bands,
        low_hz=settings.low_hz,
        high_hz=settings.high_hz,
        unit=unit,
    )
