"""PCA error: what standardised rows keep after their first principal components are taken away.

The floor that most deep detectors have to beat, and a good first detector where channels move together. Fitted with
numpy alone, deterministic.

    z = clip((x - mean) / std, -clip, clip)      r = (z - center) (I - V V')
    contribution_c = sum over the window's rows of w_i r_ic^2, w_i ~ 0.5^((W - 1 - i) / half_life), sum 1
    score = sum of the contributions
    expected = mean + std (center + (z - center) V V') of the last row, raw units;  embedding = its components

A single channel has no other to be compared with: there the window's W rows are taken as one vector, and V are the
first components of such vectors (a delay embedding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from wheeltapper.models.pca.fitted import FittedPca
from wheeltapper.models.pca.graph import build_graph
from wheeltapper.models.pca.settings import PcaSettings
from wheeltapper.models.row_scaling import RowScaling, fit_row_scaling
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.errors import InputError

# After Sarfraz et al. (Quo Vadis, ICML 2024): how many components for how many channels.
COMPONENTS_NARROW, COMPONENTS_WIDE, WIDE_CHANNELS = 10, 30, 50
COMPONENTS_SINGLE_CHANNEL = 2
_BLOCK = 65_536


class PcaError(FittedPca):
    """Fitted PCA error; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.pca.torchscript import build_torchscript

        return build_torchscript(self)


def fit_pca(
    rows: TrainingRows, settings: PcaSettings | None = None, *, channels: Sequence[str] | None = None
) -> PcaError:
    """Fit on normal rows.

    Args:
        channels: C names, for warnings.

    Raises:
        InputError: a single channel, and no run of rows as long as a window.
    """
    settings = settings or PcaSettings()
    scaling = fit_row_scaling(rows, settings.scale)
    single = rows.channels == 1
    width = settings.window if single else rows.channels
    center = np.zeros(width)
    samples = 0
    for block in _vectors(rows, scaling, settings, single):
        center += block.sum(axis=0)
        samples += len(block)
    if not samples:
        raise InputError(
            f"no stretch of training rows without a gap is as long as the window of {settings.window} rows"
        )
    center /= samples
    covariance = np.zeros((width, width))
    for block in _vectors(rows, scaling, settings, single):
        covariance += (block - center).T @ (block - center)
    _, vectors = np.linalg.eigh(covariance / max(1, samples - 1))
    count = _components(settings, rows.channels, int(scaling.varies.sum()))
    return PcaError(
        settings=settings,
        scaling=scaling,
        center=center,
        vectors=np.ascontiguousarray(vectors[:, ::-1][:, :count]),
        warnings=_blind_spots(scaling.constant_names(channels), count, single),
    )


def _vectors(rows: TrainingRows, scaling: RowScaling, settings: PcaSettings, single: bool) -> Iterator[np.ndarray]:
    """Blocks [n, F] float64 of what the components are fitted to: standardised rows, or windows of a single channel."""
    step = _BLOCK // settings.window if single else _BLOCK
    for run in rows.runs:
        last = len(run) - settings.window + 1 if single else len(run)
        for start in range(0, last, max(1, step)):
            stop = min(last, start + max(1, step))
            part = run[start : stop + settings.window - 1] if single else run[start:stop]
            scaled = scaling.apply(part, settings.clip)
            yield np.lib.stride_tricks.sliding_window_view(scaled[:, 0], settings.window) if single else scaled


def _components(settings: PcaSettings, channels: int, varying: int) -> int:
    if channels == 1:
        wanted, most = COMPONENTS_SINGLE_CHANNEL, (settings.window - 1) * varying
    else:
        wanted, most = (COMPONENTS_NARROW if channels < WIDE_CHANNELS else COMPONENTS_WIDE), varying // 2
    return min(settings.components or wanted, most)


def _blind_spots(constant: str, count: int, single: bool) -> tuple[str, ...]:
    found = ["a fault that follows the first components (all channels rising together as load does) scores low"]
    if constant:
        found.append(f"constant in training, so the scale of their change is a guess: {constant}")
    if not count and not single:
        found.append("too few channels vary in training for components: the score is the distance from the mean alone")
    return tuple(found)
