"""Band events: a Mahalanobis distance of short blocks, each less its window's median. numpy alone.

Fitted on the blocks e of all normal windows (`fitted` has the formulas of scoring):

    m = mean, s = sqrt(var + band_noise^2), Z = (e - m) / s
    C = LedoitWolf(Z) + .001 I = V diag(w) V';  T = diag(1/s) V diag(w^-1/2)
    centre, spread of log(max d): median and sqrt(var + .1^2) of six blocks of time, each measured by a fit on the others
"""

from __future__ import annotations

import numpy as np

from wheeltapper.models.band_events.fitted import FittedBandEvents, Shape
from wheeltapper.models.band_events.graph import build_graph
from wheeltapper.models.band_events.settings import LEAST_WINDOWS, BandEventSettings
from wheeltapper.models.sound.blocks import blocks_of_time, centre_and_spread
from wheeltapper.models.sound.frontend import FrontEnd
from wheeltapper.models.sound.statistics import ledoit_wolf
from wheeltapper.schemas.errors import InputError

RIDGE = 0.001
# Blocks that a covariance is fitted on, evenly spaced: days of sound have millions, and they change nothing more.
FITTED_BLOCKS = 100_000


class BandEvents(FittedBandEvents):
    """Fitted band events; a `wheeltapper.models.fitted.FittedSound`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.band_events.torchscript import build_torchscript

        return build_torchscript(self)


def fit_band_events(
    events: np.ndarray,
    recording: np.ndarray,
    settings: BandEventSettings,
    frontend: FrontEnd,
    *,
    window: int,
    channels: int = 1,
    overlap: int = 0,
) -> BandEvents:
    """Fit on normal windows, in order of time.

    Args:
        events: e, [n, blocks, D] dB; float32 is enough.
        recording: [n] int64.
        overlap: a window shares samples with so many before and after it in its recording.

    Raises:
        InputError: too few windows, or levels that are not numbers.
    """
    if len(events) < LEAST_WINDOWS:
        raise InputError(
            f"{settings.DETECTOR}: {len(events)} windows of normal sound, expected {LEAST_WINDOWS} or more"
        )
    if not np.isfinite(events).all():
        raise InputError(f"{settings.DETECTOR}: the train clips hold samples that are not numbers; remove those clips")
    held_out = [
        fit_shape(events[others], settings).log_largest(events[own])
        for own, others in blocks_of_time(recording, overlap)
    ]
    centre, spread = centre_and_spread(np.concatenate(held_out))
    return BandEvents(
        settings=settings,
        frontend=frontend,
        window=window,
        channels=channels,
        warnings=(
            "each window's median is taken out: a sound that lasts most of the window is not seen; band-profile beside it sees that",
            "an event that the train clips have, such as a valve's strokes, is normal whenever it comes",
        ),
        shape=fit_shape(events, settings),
        centre=centre,
        spread=spread,
    )


def fit_shape(events: np.ndarray, settings: BandEventSettings) -> Shape:
    """How the blocks of e [n, blocks, D] vary."""
    rows = events.reshape(-1, events.shape[2])
    if len(rows) > FITTED_BLOCKS:
        rows = rows[np.linspace(0, len(rows) - 1, FITTED_BLOCKS).astype(np.int64)]
    rows = rows.astype(np.float64)
    mean = rows.mean(axis=0)
    scale = np.sqrt(rows.var(axis=0) + settings.band_noise_db**2)
    strength, directions = np.linalg.eigh(ledoit_wolf((rows - mean) / scale) + RIDGE * np.eye(len(mean)))
    return Shape(mean, scale, directions / np.sqrt(np.maximum(strength, RIDGE)) / scale[:, None])
