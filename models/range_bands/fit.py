"""Range bands: what is fitted, with numpy alone.

A channel is scaled to the range it had in training; a row counts as far as it leaves the band of the q and 1 - q
quantiles, and in full only where it also differs from the recent past more than training did. A second view does the
same for what is left of the channels' variation after its first k components. Deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.models.range_bands.fitted import CONSTANT_GAIN, Bands, FittedBands, ResidualView
from wheeltapper.models.range_bands.graph import build_graph
from wheeltapper.models.range_bands.settings import RESIDUAL_MIN_CHANNELS, RangeBandSettings
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.text import duration, first_names

# Channels with a smaller range than that cannot be told from constant ones in float32 arithmetic.
TINIEST_RANGE = 1e-30
# Standardised values need a floor, or a channel that hardly moves drowns the others' components.
LEAST_STD = 0.01


class RangeBands(FittedBands):
    """Fitted range bands; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.range_bands.torchscript import build_torchscript

        return build_torchscript(self)


def fit_range_bands(
    rows: TrainingRows,
    settings: RangeBandSettings | None = None,
    *,
    channels: Sequence[str] | None = None,
    sampling_interval_s: float | None = None,
) -> RangeBands:
    """Fit on normal rows.

    Args:
        channels: C names, for warnings.
        sampling_interval_s: seconds between rows, for warnings.
    """
    settings = settings or RangeBandSettings()
    columns = [_scaled_column(rows, channel, settings) for channel in range(rows.channels)]
    minimum, gain, clip_low, clip_high, average = (
        np.array([getattr(column, name) for column in columns])
        for name in ("minimum", "gain", "clip_low", "clip_high", "average")
    )
    bands = _stack([_fit_bands(column.scaled, settings) for column in columns])
    varies = np.array([column.varies for column in columns])
    with_residual = settings.residual_view and int(varies.sum()) >= RESIDUAL_MIN_CHANNELS
    residual = _fit_residual([column.scaled for column in columns], settings) if with_residual else None
    names = list(channels) if channels is not None else [f"channel {index}" for index in range(rows.channels)]
    return RangeBands(
        settings=settings,
        minimum=minimum,
        gain=gain,
        clip_low=clip_low,
        clip_high=clip_high,
        average=average,
        typical=rows.typical,
        bands=bands,
        residual=residual,
        warnings=_blind_spots(settings, rows, varies, bands, names, sampling_interval_s),
    )


def moving_baseline(values: np.ndarray, half_life: float, rows: int) -> np.ndarray:
    """Exponential moving average of [T] over the last `rows` rows, the current one included, weights normalised.

    Rows before the first do not exist: there the weights of those that do are normalised. A sum over 2n rows is one
    over n rows plus a decayed, shifted copy of it, so the cost is log2(rows) vector operations, without recursion.
    """
    decay = 0.5 ** (1.0 / half_life)
    total = np.zeros_like(values)
    power, power_rows, covered = values.copy(), 1, 0
    remaining = rows
    while remaining:
        if remaining & 1:
            total[covered:] += decay**covered * power[: len(values) - covered] if covered else power
            covered += power_rows
        remaining >>= 1
        if remaining:
            doubled = power.copy()
            doubled[power_rows:] += decay**power_rows * power[: max(0, len(values) - power_rows)]
            power, power_rows = doubled, 2 * power_rows
    present = np.minimum(np.arange(1, len(values) + 1), rows)
    return total * (1 - decay) / (1 - decay**present)


@dataclass(frozen=True)
class _Column:
    minimum: float
    gain: float
    clip_low: float
    clip_high: float
    average: float
    varies: bool
    scaled: list[np.ndarray]
    """u of each run, float32: for large training sets, half the memory."""


def _scaled_column(rows: TrainingRows, channel: int, settings: RangeBandSettings) -> _Column:
    runs = rows.column(channel)
    minimum = min(float(run.min()) for run in runs)
    span = max(float(run.max()) for run in runs) - minimum
    varies = span > TINIEST_RANGE
    clip = settings.clip
    if settings.scale == "given":
        minimum, gain, clip_low, clip_high = 0.0, 1.0, -clip, 1.0 + clip
    elif varies:
        gain, clip_low, clip_high = 1.0 / span, -clip, 1.0 + clip
    else:
        gain, clip_low, clip_high = CONSTANT_GAIN, -1.0, 1.0
    average = sum(float(run.sum()) for run in runs) / rows.rows
    scaled = [((run - minimum) * gain).astype(np.float32) for run in runs]
    return _Column(minimum, gain, clip_low, clip_high, average, varies, scaled)


def _fit_bands(runs: list[np.ndarray], settings: RangeBandSettings) -> Bands:
    """Bands of one scaled channel, given as its runs; fields are scalars."""
    runs = [run.astype(np.float64) for run in runs]
    values = np.concatenate(runs)
    changes = np.concatenate(
        [run - moving_baseline(run, settings.baseline_half_life, settings.baseline_rows) for run in runs]
    )
    low, high = np.quantile(values, [settings.range_quantile, 1 - settings.range_quantile])
    change_low, change_high = np.quantile(changes, [settings.change_quantile, 1 - settings.change_quantile])
    excess = np.maximum(np.maximum(values - high, low - values), 0.0)
    scale = (high - low) + settings.excess_weight * np.sqrt(np.mean(excess**2)) + settings.scale_floor
    return Bands(low, high, change_low, change_high, scale)


def _stack(bands: list[Bands]) -> Bands:
    names = ("low", "high", "change_low", "change_high", "scale")
    return Bands(*(np.array([getattr(band, name) for band in bands], dtype=np.float64) for name in names))


def _fit_residual(columns: list[list[np.ndarray]], settings: RangeBandSettings) -> ResidualView:
    mean = np.array([np.concatenate(column).mean(dtype=np.float64) for column in columns])
    std = np.maximum([np.concatenate(column).std(dtype=np.float64) for column in columns], LEAST_STD)
    runs = [
        np.clip(
            (np.stack(run, axis=1) - mean.astype(np.float32)) / std.astype(np.float32), -settings.clip, settings.clip
        )
        for run in zip(*columns, strict=True)
    ]
    total = sum(len(run) for run in runs)
    center = np.sum([run.sum(axis=0, dtype=np.float64) for run in runs], axis=0) / total
    # Blocks: the covariance in double precision without a second copy of all rows.
    covariance = np.zeros((len(columns), len(columns)))
    for run in runs:
        for start in range(0, len(run), 65_536):
            block = run[start : start + 65_536] - center
            covariance += block.T @ block
    _, vectors = np.linalg.eigh(covariance / max(1, total - 1))
    first = vectors[:, ::-1][:, : settings.components]
    projector = np.eye(len(columns)) - first @ first.T
    residuals = [((run - center) @ projector).astype(np.float32) for run in runs]
    bands = _stack([_fit_bands([run[:, channel] for run in residuals], settings) for channel in range(len(columns))])
    return ResidualView(mean, std, center, projector, bands)


def _blind_spots(
    settings: RangeBandSettings,
    rows: TrainingRows,
    varies: np.ndarray,
    bands: Bands,
    names: Sequence[str],
    sampling_interval_s: float | None,
) -> tuple[str, ...]:
    """What these bands cannot see, one sentence each; the general limits first, then this machine's own."""
    past = f"{settings.baseline_rows} rows"
    if sampling_interval_s:
        past += f" ({duration(settings.baseline_rows * sampling_interval_s)})"
    found = ["a fault whose values stay inside the range of training scores about 0: put a pattern detector beside it"]
    if settings.leak < 1:
        found.append(
            f"a fault that lasts longer than about {past} becomes the recent past and keeps {settings.leak:g} of its "
            "score: use preset=sustained where faults last"
        )
    if rows.never_measured.any():
        found.append(
            f"never measured in training, so only noticed by their first value: {_some(names, rows.never_measured)}"
        )
    constant = ~varies & ~rows.never_measured
    if constant.any():
        found.append(
            f"constant in training, so any change counts as a full one, whatever its size: {_some(names, constant)}"
        )
    switches = varies & (bands.low <= 0.0) & (bands.high >= 1.0)
    if switches.any():
        found.append(
            f"at both ends of their range in {settings.range_quantile:.0%} of training or more (switches, saturated "
            f"sensors), so only values never seen before count: {_some(names, switches)}"
        )
    if settings.residual_view and int(varies.sum()) < RESIDUAL_MIN_CHANNELS:
        found.append(
            f"{int(varies.sum())} channels vary in training, the view of what they have in common needs "
            f"{RESIDUAL_MIN_CHANNELS}: each channel is judged alone"
        )
    return tuple(found)


def _some(names: Sequence[str], which: np.ndarray, most: int = 8) -> str:
    chosen = [names[index] for index in np.flatnonzero(which)]
    return first_names(chosen, most)
