"""What graph, run graph and TorchScript twin of range bands compute with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.models.range_bands.fitted import CONSTANT_GAIN, FittedBands


@dataclass(frozen=True)
class GraphConstants:
    """What graph and TorchScript twin compute with; arrays are float32 unless said otherwise.

    Attributes:
        anchor: [C] raw units, near each channel's average; u = (x - anchor) * gain + offset.
        gain, offset: [C]; typical: [C] raw units, replaces NaN.
        clip_low, clip_high: [C], bounds of (x - anchor) * gain.
        change: [K, W], D.
        weights: [K], sum 1.
        inside: of the settings; 0 for a single channel, which has nobody beside it to be ranked with.
        low_raw, high_raw: [C] the band in raw units, for `expected`.
        first: the view of the channels. second: of the residual, or None.
    """

    anchor: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    typical: np.ndarray
    clip_low: np.ndarray
    clip_high: np.ndarray
    change: np.ndarray
    weights: np.ndarray
    inside: float
    low_raw: np.ndarray
    high_raw: np.ndarray
    first: ViewConstants
    second: ResidualConstants | None


@dataclass(frozen=True)
class ViewConstants:
    """Bands around the view's values, divided by scale where the values are; all [C] float32.

    Attributes:
        cap: where the view's excess saturates: v / (1 + v / cap) of v = e / scale is cap * e / (e + cap * scale).
    """

    middle: np.ndarray
    half_width: np.ndarray
    change_middle: np.ndarray
    change_half_width: np.ndarray
    cap: np.ndarray


@dataclass(frozen=True)
class ResidualConstants:
    """Second view: clip (x - anchor) * gain to [z_low, z_high] [C], times matrix [C, C]: r / scale, up to a shift that
    the bands' middle holds."""

    z_low: np.ndarray
    z_high: np.ndarray
    matrix: np.ndarray
    view: ViewConstants


def graph_constants(fitted: FittedBands) -> GraphConstants:
    """Fold the fitted parameters, in double precision, into what float32 arithmetic can use safely."""
    settings = fitted.settings
    constant = fitted.gain == CONSTANT_GAIN
    anchor = np.where(constant, fitted.minimum, fitted.average).astype(np.float32)
    # The anchor as float32 holds it, not as it was meant: all else is exact relative to that.
    offset = (anchor.astype(np.float64) - fitted.minimum) * fitted.gain
    bands = fitted.bands
    second = None
    if fitted.residual is not None:
        view = fitted.residual
        mean = view.mean - offset
        reach = settings.clip * view.std
        matrix = view.projector / view.std[:, None] / view.bands.scale[None, :]
        shift = -(mean / view.std + view.center) @ view.projector / view.bands.scale
        second = ResidualConstants(
            z_low=_float32(np.maximum(mean - reach, fitted.clip_low - offset)),
            z_high=_float32(np.minimum(mean + reach, fitted.clip_high - offset)),
            matrix=_float32(matrix),
            view=ViewConstants(
                middle=_float32((view.bands.high + view.bands.low) / 2 / view.bands.scale - shift),
                half_width=_float32((view.bands.high - view.bands.low) / 2 / view.bands.scale),
                change_middle=_float32((view.bands.change_high + view.bands.change_low) / 2 / view.bands.scale),
                change_half_width=_float32((view.bands.change_high - view.bands.change_low) / 2 / view.bands.scale),
                cap=np.full(fitted.channels, settings.cap, dtype=np.float32),
            ),
        )
    return GraphConstants(
        anchor=anchor,
        gain=_float32(fitted.gain),
        offset=_float32(offset),
        typical=_float32(fitted.typical),
        clip_low=_float32(fitted.clip_low - offset),
        clip_high=_float32(fitted.clip_high - offset),
        change=_float32(change_matrix(settings.window, settings.scored_rows, settings.baseline_half_life)),
        weights=_float32(row_weights(settings.scored_rows, settings.score_half_life, settings.lag)),
        inside=settings.inside if fitted.channels > 1 else 0.0,
        low_raw=_float32(fitted.minimum + bands.low / fitted.gain),
        high_raw=_float32(fitted.minimum + bands.high / fitted.gain),
        first=ViewConstants(
            middle=_float32((bands.high + bands.low) / 2 - offset),
            half_width=_float32((bands.high - bands.low) / 2),
            change_middle=_float32((bands.change_high + bands.change_low) / 2),
            change_half_width=_float32((bands.change_high - bands.change_low) / 2),
            cap=_float32(settings.cap * bands.scale),
        ),
        second=second,
    )


def change_matrix(window: int, scored_rows: int, half_life: float) -> np.ndarray:
    """D [K, W] float64: (D u)_i is the i-th scored row less its moving average over the W - K rows up to it."""
    taps = change_taps(window, scored_rows, half_life)
    matrix = np.zeros((scored_rows, window))
    for row in range(scored_rows):
        matrix[row, row + 1 : row + 1 + len(taps)] = taps
    return matrix


def change_taps(window: int, scored_rows: int, half_life: float) -> np.ndarray:
    """[W - K] float64: a row less its moving average is their sum over the W - K rows up to it."""
    weights = 0.5 ** (np.arange(window - scored_rows)[::-1] / half_life)
    taps = -weights / weights.sum()
    taps[-1] += 1.0
    return np.asarray(taps)


def row_weights(scored_rows: int, half_life: float, lag: int) -> np.ndarray:
    """w [K] float64, sum 1, largest at the scored row."""
    weights = 0.5 ** (np.abs(scored_rows - 1 - lag - np.arange(scored_rows)) / half_life)
    return np.asarray(weights / weights.sum())


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
