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
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.models.fitted import where_torch_is
from wheeltapper.models.row_scaling import CLIP, RowScaling, Scale, fit_row_scaling, recency_weights
from wheeltapper.models.training_rows import TrainingRows, training_rows
from wheeltapper.schemas.errors import InputError

DETECTOR = "pca"
VERSION = 1

# After Sarfraz et al. (Quo Vadis, ICML 2024): how many components for how many channels.
COMPONENTS_NARROW, COMPONENTS_WIDE, WIDE_CHANNELS = 10, 30, 50
COMPONENTS_SINGLE_CHANNEL = 2
# Fewer rows than that give no covariance worth the name.
LEAST_ROWS = 100
_BLOCK = 65_536


@dataclass(frozen=True)
class PcaSettings:
    """
    Attributes:
        window: W, rows; 1 judges each row alone.
        half_life: rows, of the average over the window; long windows need no more than a few of them.
        components: k; None takes 10 below 50 channels, 30 from there on, 2 for a single channel; never more than half
            of the channels that vary, or nothing would be left to look at.
        clip: standardised values are cut there, so that no reading, however wild, overflows float32.
        scale: 'train' standardises by the train part, 'given' takes values as they come.
    """

    window: int = 32
    half_life: float = 4.0
    components: int | None = None
    clip: float = CLIP
    scale: Scale = "train"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a setting outside of its range.
        """
        if self.window < 1:
            raise InputError(f"pca: window is {self.window} rows, expected 1 or more")
        for name in ("half_life", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"pca: {name} is {getattr(self, name)}, expected a number above 0")
        if self.components is not None and self.components < 1:
            raise InputError(f"pca: components is {self.components}, expected 1 or more")

    def row_weights(self) -> np.ndarray:
        """w [W] float64, sum 1."""
        return recency_weights(self.window, self.half_life)


@dataclass
class PcaError:
    """Fitted PCA error; a `wheeltapper.models.fitted.FittedDetector`. Not to be changed once fitted.

    Attributes:
        scaling: of the rows, z = (x - mean) / std.
        center: [F] float64, mean of z; F = C, or W for a single channel.
        vectors: [F, k] float64, orthonormal columns; k may be 0.
    """

    settings: PcaSettings
    scaling: RowScaling
    center: np.ndarray
    vectors: np.ndarray
    warnings: tuple[str, ...] = ()
    detector: str = field(default=DETECTOR, init=False)
    version: int = field(default=VERSION, init=False)
    window: int = field(init=False)
    lag: int = field(default=0, init=False)
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.settings.window
        self.parameters = asdict(self.settings) | {"components": self.vectors.shape[1]}

    @property
    def channels(self) -> int:
        return self.scaling.channels

    @property
    def mean(self) -> np.ndarray:
        """[C] float64, raw units."""
        return self.scaling.mean

    @property
    def std(self) -> np.ndarray:
        """[C] float64, raw units."""
        return self.scaling.std

    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""
        from wheeltapper.models.pca.graph import build_graph

        return build_graph(self)

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""

        def build() -> bytes:
            from wheeltapper.models.pca.torchscript import build_torchscript

            return build_torchscript(self)

        return where_torch_is(build)


def fit_pca(
    runs: Sequence[np.ndarray], settings: PcaSettings | None = None, *, channels: Sequence[str] | None = None
) -> PcaError:
    """Fit on normal rows.

    Args:
        runs: [T_i, C] float, raw units, NaN where a sensor gave nothing; contiguous in time within a run.
        channels: C names, for warnings.

    Raises:
        InputError: too few rows, or values that are not numbers.
    """
    settings = settings or PcaSettings()
    rows = training_rows(runs, at_least=max(LEAST_ROWS, 2 * settings.window), detector=DETECTOR)
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
