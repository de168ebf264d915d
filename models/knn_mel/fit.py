"""Log-mel nearest neighbour, per domain. numpy alone; scored by band profile's formulas with T = I and m the mean.

    f = mean of L over the window's frames                                                       [D] dB
    score = log(mean of the `nearest` smallest |f - F_i| / u_g(i)), less its median, over sqrt(var + .1^2) of held-out blocks
    u_g = mean distance of a normal window of domain g to its nearest of another recording of g

Per domain because recordings of a source that are many and alike lie close, and those of a target that are few lie far apart: without it every
normal clip of the target is strange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.models.band_profile.exported import ExportedBandProfile
from wheeltapper.models.band_profile.fitted import Neighbourhood
from wheeltapper.models.knn_mel.settings import LEAST_WINDOWS, KnnMelSettings
from wheeltapper.models.sound.blocks import blocks_of_time, centre_and_spread
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.statistics import centres, distances
from wheeltapper.schemas.errors import InputError

# Windows that a domain needs for a usual distance of its own.
LEAST_OF_DOMAIN = 3
# dB over all bands: clips that are the same, as digital silence is, have no distance to be measured by.
LEAST_USUAL = 0.1


@dataclass(frozen=True, eq=False)
class Spectra:
    """Mean log-mel spectra of normal windows, in order of time.

    Attributes:
        features: f, [n, D] dB.
        recording: [n] int64.
        domain: [n] texts.
        overlap: a window shares samples with so many before and after it in its recording.
    """

    features: np.ndarray
    recording: np.ndarray
    domain: Sequence[str]
    overlap: int = 0

    def take(self, index: np.ndarray) -> Spectra:
        return replace(
            self,
            features=self.features[index],
            recording=self.recording[index],
            domain=[self.domain[at] for at in index.tolist()],
        )


class KnnMel(ExportedBandProfile[KnnMelSettings]):
    """Fitted log-mel nearest neighbour."""


def fit_knn_mel(
    spectra: Spectra, settings: KnnMelSettings, frontend: FrontEnd, *, window: int, channels: int = 1
) -> KnnMel:
    """Fit on normal windows.

    Raises:
        InputError: too few windows, or levels that are not numbers.
    """
    if len(spectra.features) < LEAST_WINDOWS:
        raise InputError(
            f"{settings.DETECTOR}: {len(spectra.features)} windows of normal sound, expected {LEAST_WINDOWS} or more"
        )
    if not np.isfinite(spectra.features).all():
        raise InputError(f"{settings.DETECTOR}: the train clips hold samples that are not numbers; remove those clips")
    held_out = [
        neighbours(spectra.take(others), settings).log_distance(spectra.features[own])
        for own, others in blocks_of_time(spectra.recording, spectra.overlap)
    ]
    centre, spread = centre_and_spread(np.concatenate(held_out))
    small = [name or "(none)" for name, own in _domains(spectra, settings).items() if len(own) < LEAST_OF_DOMAIN]
    warnings = [
        "levels are averaged over the window, and every band counts the same: faint changes of a steady band are not seen"
    ]
    if small:
        warnings.append(
            f"domains with fewer than {LEAST_OF_DOMAIN} windows share the others' scale: {', '.join(small)}"
        )
    return KnnMel(
        settings=settings,
        frontend=frontend,
        window=window,
        channels=channels,
        warnings=tuple(warnings),
        around=neighbours(spectra, settings),
        centre=centre,
        spread=spread,
    )


def neighbours(spectra: Spectra, settings: KnnMelSettings) -> Neighbourhood:
    """References, and what distance to each is usual."""
    mean = spectra.features.mean(axis=0)
    rows = spectra.features - mean
    domains = _domains(spectra, settings)
    overall = _usual(rows, spectra.recording, spectra.overlap)
    references, usual = [], []
    for own in domains.values():
        # Each domain keeps its share of the references, and one at least.
        found = centres(rows[own], max(1, settings.references * len(own) // len(rows)))
        references.append(found)
        scale = _usual(rows[own], spectra.recording[own], spectra.overlap) if len(own) >= LEAST_OF_DOMAIN else overall
        usual.append(np.full(len(found), scale))
    identity = np.eye(len(mean))
    return Neighbourhood(
        mean,
        np.sqrt(rows.var(axis=0) + 1.0),
        identity,
        identity,
        np.concatenate(references),
        np.concatenate(usual),
        settings.nearest,
    )


def _domains(spectra: Spectra, settings: KnnMelSettings) -> dict[str, np.ndarray]:
    """Domain -> its windows."""
    names = spectra.domain if settings.per_domain else [""] * len(spectra.domain)
    return {name: np.array([at for at, own in enumerate(names) if own == name]) for name in dict.fromkeys(names)}


def _usual(rows: np.ndarray, recording: np.ndarray, overlap: int) -> float:
    """Mean distance of a window to its nearest in another recording, or of the same one where there is no other."""
    if len(rows) > 4096:
        index = np.linspace(0, len(rows) - 1, 4096).astype(np.int64)
        rows, recording, overlap = rows[index], recording[index], 0
    away = distances(rows, rows)
    place = np.arange(len(rows))
    other = recording[:, None] != recording[None, :]
    apart = other if other.any(axis=1).all() else np.abs(place[:, None] - place[None, :]) > overlap
    away[~apart] = np.inf
    nearest = away.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    # A window without another: a decibel in every band.
    return max(float(nearest.mean()) if len(nearest) else float(np.sqrt(rows.shape[1])), LEAST_USUAL)
