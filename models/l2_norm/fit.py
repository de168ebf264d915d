"""L2 norm: the length of the standardised row. What does not beat it has learnt nothing. numpy alone, deterministic.

z = clip((x - mean) / std, -clip, clip)
contribution_c = sum over the window's rows of w_i z_ic^2, w_i ~ 0.5^((W - 1 - i) / half_life), sum 1
score = sqrt(sum of the contributions)
expected = mean, raw units;  embedding = z of the last row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.models.fitted import where_torch_is
from wheeltapper.models.row_scaling import CLIP, RowScaling, Scale, fit_row_scaling, recency_weights
from wheeltapper.models.training_rows import training_rows
from wheeltapper.schemas.errors import InputError

DETECTOR = "l2-norm"
VERSION = 1

# Fewer rows than that give no mean and deviation worth the name.
LEAST_ROWS = 50


@dataclass(frozen=True)
class L2NormSettings:
    """
    Attributes:
        window: W, rows; 1 judges each row alone.
        half_life: rows, of the average of squares over the window.
        clip: standardised values are cut there.
        scale: 'train' standardises by the train part, 'given' takes values as they come.
    """

    window: int = 32
    half_life: float = 4.0
    clip: float = CLIP
    scale: Scale = "train"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a setting outside of its range.
        """
        if self.window < 1:
            raise InputError(f"l2-norm: window is {self.window} rows, expected 1 or more")
        for name in ("half_life", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"l2-norm: {name} is {getattr(self, name)}, expected a number above 0")

    def row_weights(self) -> np.ndarray:
        """w [W] float64, sum 1."""
        return recency_weights(self.window, self.half_life)


@dataclass
class L2Norm:
    """Fitted L2 norm; a `wheeltapper.models.fitted.FittedDetector`. Not to be changed once fitted."""

    settings: L2NormSettings
    scaling: RowScaling
    warnings: tuple[str, ...] = ()
    detector: str = field(default=DETECTOR, init=False)
    version: int = field(default=VERSION, init=False)
    window: int = field(init=False)
    lag: int = field(default=0, init=False)
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.settings.window
        self.parameters = asdict(self.settings)

    @property
    def channels(self) -> int:
        return self.scaling.channels

    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""
        from wheeltapper.models.l2_norm.graph import build_graph

        return build_graph(self)

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""

        def build() -> bytes:
            from wheeltapper.models.l2_norm.torchscript import build_torchscript

            return build_torchscript(self)

        return where_torch_is(build)


def fit_l2_norm(
    runs: Sequence[np.ndarray], settings: L2NormSettings | None = None, *, channels: Sequence[str] | None = None
) -> L2Norm:
    """Fit on normal rows.

    Args:
        runs: [T_i, C] float, raw units, NaN where a sensor gave nothing; contiguous in time within a run.
        channels: C names, for warnings.

    Raises:
        InputError: too few rows, or values that are not numbers.
    """
    settings = settings or L2NormSettings()
    rows = training_rows(runs, at_least=max(LEAST_ROWS, 2 * settings.window), detector=DETECTOR)
    scaling = fit_row_scaling(rows, settings.scale)
    found = [
        "channels are judged one by one and by their level alone: a changed pattern within the usual range is not seen"
    ]
    if constant := scaling.constant_names(channels):
        found.append(f"constant in training, so the scale of their change is a guess: {constant}")
    return L2Norm(settings, scaling, warnings=tuple(found))
