"""Band profile: where a clip's mean band levels lie among those of normal clips. numpy alone.

Fitted on f [n, D] of normal windows (`fitted` has the formulas of scoring):

    m = mean, s = sqrt(var + band_noise^2), Z = (F - m) / s
    C = LedoitWolf(Z) + .001 I + gain^2 (1/s)(1/s)'          a common change of gain is harmless
    C = V diag(w) V';  T = diag(1/s) V diag(w^-1/2)
    R = (F - m) T                                             at most `references`, else centres of k-means
    r_i = mean distance of R_i to its `neighbours` nearest others, of other recordings where there are enough;
          r_i = (r_i + .25 median r) / 1.25
    centre, spread of a: median and sqrt(var + .1^2) of six blocks of time, each measured by a fit on the others
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.models.band_profile.exported import ExportedBandProfile
from wheeltapper.models.band_profile.fitted import AttributeEffect, Neighbourhood
from wheeltapper.models.band_profile.settings import LEAST_WINDOWS, BandProfileSettings
from wheeltapper.models.sound.blocks import blocks_of_time, centre_and_spread
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.orders import OrderBands
from wheeltapper.models.sound.statistics import centres, distances, ledoit_wolf
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.schemas.errors import InputError

# Added to the correlations, so that bands which move together exactly can still be told apart.
RIDGE = 0.001
MEDIAN_SHARE = 0.25
# Whitened units: references that are all the same, as digital silence gives, have no distance to be measured by.
LEAST_RADIUS = 0.1
# Standardised rows of one operating point, added as if they showed no effect.
EFFECT_PRIOR = 1.0


@dataclass(frozen=True, eq=False)
class Profiles:
    """Features of normal windows, in order of time.

    Attributes:
        features: f, [n, D] dB, without anything taken out; NaN where an order band is unknown.
        recording: [n] int64: windows of one recording are neighbours in time.
        attributes: [n, A] as the graph takes them; A may be 0.
        overlap: a window shares samples with so many before and after it in its recording.
    """

    features: np.ndarray
    recording: np.ndarray
    attributes: np.ndarray
    overlap: int = 0

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: np.ndarray) -> Profiles:
        return replace(
            self, features=self.features[index], recording=self.recording[index], attributes=self.attributes[index]
        )


class BandProfile(ExportedBandProfile[BandProfileSettings]):
    """Fitted band profile."""


def fit_band_profile(
    profiles: Profiles,
    settings: BandProfileSettings,
    frontend: FrontEnd,
    *,
    window: int,
    channels: int = 1,
    attributes: Sequence[AttributeSpec] = (),
    condition: Sequence[str] = (),
    order_bands: OrderBands | None = None,
    speed_column: int = 0,
) -> BandProfile:
    """Fit on normal windows.

    Args:
        window: S, samples of a channel.
        attributes: that the graph takes.
        condition: those of them whose effect on the levels is taken out.
        order_bands: those of which the last columns of the features are.

    Raises:
        InputError: too few windows, or levels that are not numbers.
    """
    if len(profiles) < LEAST_WINDOWS:
        raise InputError(
            f"{settings.DETECTOR}: {len(profiles)} windows of normal sound, expected {LEAST_WINDOWS} or more"
        )
    width = channels * settings.bands
    if not np.isfinite(profiles.features[:, :width]).all():
        raise InputError(f"{settings.DETECTOR}: the train clips hold samples that are not numbers; remove those clips")
    effect = fit_effect(profiles, attributes, condition) if condition else None
    held_out = []
    for own, others in blocks_of_time(profiles.recording, profiles.overlap):
        part = profiles.take(others)
        its_effect = fit_effect(part, attributes, condition) if effect is not None else None
        around = neighbourhood(part, _cleared(part, its_effect), settings)
        held_out.append(around.log_distance(_cleared(profiles.take(own), its_effect)))
    centre, spread = centre_and_spread(np.concatenate(held_out))
    return BandProfile(
        settings=settings,
        frontend=frontend,
        window=window,
        channels=channels,
        attributes=tuple(attributes),
        warnings=_blind_spots(profiles, settings, frontend),
        around=neighbourhood(profiles, _cleared(profiles, effect), settings),
        centre=centre,
        spread=spread,
        effect=effect,
        order_bands=order_bands,
        speed_column=speed_column,
    )


def neighbourhood(profiles: Profiles, features: np.ndarray, settings: BandProfileSettings) -> Neighbourhood:
    """Fit the distances.

    Args:
        features: [n, D] of `profiles`, with the attributes' effect taken out.
    """
    known = ~np.isnan(features)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, features, 0.0).sum(axis=0) / counts
    away = np.where(known, features - mean, 0.0)
    scale = np.sqrt((away**2).sum(axis=0) / counts + settings.band_noise_db**2)
    covariance = (
        ledoit_wolf(away / scale) + RIDGE * np.eye(len(mean)) + settings.gain_db**2 * np.outer(1 / scale, 1 / scale)
    )
    strength, directions = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(strength, RIDGE))
    transform = directions / root / scale[:, None]
    inverse = (directions * root).T * scale
    rows = away @ transform
    references = centres(rows, settings.references)
    apart = _apart(profiles, settings.neighbours) if len(references) == len(rows) else None
    radius = _radius(references, settings.neighbours, apart)
    return Neighbourhood(mean, scale, transform, inverse, references, radius, settings.nearest)


def fit_effect(profiles: Profiles, specs: Sequence[AttributeSpec], names: Sequence[str]) -> AttributeEffect:
    """The linear effect of the named attributes on the levels, by ridge regression; unknown ones, and all others, have none."""
    widths = [spec.width for spec in specs]
    number = np.concatenate([np.full(spec.width, not spec.categories) for spec in specs])
    owner = np.repeat(np.arange(len(specs)), widths)
    known = (owner[:, None] == owner[None, :]).astype(np.float64)
    columns = profiles.attributes
    there = np.where(number, ~np.isnan(columns), np.nan_to_num(columns) @ known > 0.5)
    counts = np.maximum(there.sum(axis=0), 1)
    centre = np.where(there, columns, 0.0).sum(axis=0) / counts
    spread = np.sqrt((np.where(there, columns - centre, 0.0) ** 2).sum(axis=0) / counts)
    effect = AttributeEffect(
        centre, np.where(spread > 0, spread, 1.0), np.zeros((len(number), profiles.features.shape[1])), known, number
    )
    chosen = np.repeat([spec.name in names for spec in specs], widths)
    inputs = effect.inputs(columns) * chosen
    levels = profiles.features
    away = np.nan_to_num(levels - np.nanmean(np.where(np.isnan(levels).all(axis=0), 0.0, levels), axis=0))
    slope = np.linalg.solve(inputs.T @ inputs + EFFECT_PRIOR * np.eye(inputs.shape[1]), inputs.T @ away)
    return replace(effect, effect=slope)


def _cleared(profiles: Profiles, effect: AttributeEffect | None) -> np.ndarray:
    """f without the attributes' effect."""
    if effect is None:
        return profiles.features
    return np.asarray(profiles.features - effect.inputs(profiles.attributes) @ effect.effect)


def _apart(profiles: Profiles, neighbours: int) -> np.ndarray:
    """[n, n] bool: which windows are others: of other recordings where each has enough of them, else without shared samples."""
    other = profiles.recording[:, None] != profiles.recording[None, :]
    if other.sum(axis=1).min() >= min(neighbours, 2):
        return np.asarray(other)
    row = np.arange(len(profiles))
    far = np.abs(row[:, None] - row[None, :]) > profiles.overlap
    return np.asarray((other | far) if (other | far).any(axis=1).all() else row[:, None] != row[None, :])


def _radius(references: np.ndarray, neighbours: int, apart: np.ndarray | None) -> np.ndarray:
    """r [K]."""
    away = distances(references, references)
    away[~apart if apart is not None else np.eye(len(references), dtype=bool)] = np.inf
    nearest = np.sort(away, axis=1)[:, :neighbours]
    finite = np.isfinite(nearest)
    mean = np.where(finite, nearest, 0.0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    # A reference without another takes what whitened rows of one kind have between them.
    mean = np.where(finite.any(axis=1), mean, np.sqrt(2 * references.shape[1]))
    radius = (mean + MEDIAN_SHARE * np.median(mean)) / (1 + MEDIAN_SHARE)
    return np.asarray(np.maximum(radius, LEAST_RADIUS))


def _blind_spots(profiles: Profiles, settings: BandProfileSettings, frontend: FrontEnd) -> tuple[str, ...]:
    found = [
        "levels are averaged over the window: a click, squeal or dropout much shorter than it is hardly seen; band-events beside it "
        "sees those"
    ]
    if len(profiles) < 4 * settings.bands:
        found.append(
            f"fitted on {len(profiles)} windows: what changes between recordings is hardly known, so expect false alarms"
        )
    recordings = len(np.unique(profiles.recording))
    if recordings == 1:
        found.append("fitted on one recording: how the machine's sound differs between recordings is not known")
    empty = np.flatnonzero(~(frontend.weights > 0).any(axis=1))
    if len(empty):
        found.append(
            f"{len(empty)} of {settings.bands} bands are narrower than the distance between DFT bins and stay empty: take fewer "
            "bands or a larger n_fft"
        )
    silent = (profiles.features[:, : settings.bands] <= settings.floor_db + 1).mean()
    if silent > 0.5:
        found.append(
            f"{silent:.0%} of the band levels in training lie at the floor of {settings.floor_db:g} dB: raise the sensor's gain, "
            "or set floor_db lower"
        )
    return tuple(found)
