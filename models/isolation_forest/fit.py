"""Isolation forest: how few random cuts set a row apart. No torch; scikit-learn grows the trees.

A tree cuts a random channel at a random value between the least and the largest of its sample, again and again; a row
that few cuts isolate is strange. With the row's depth the mean over the trees of the leaf's depth, plus what the leaf's
rows would have needed further, and c the mean depth of a random row:

    h = mean of the depths of the window's rows, with weights w_i ~ 0.5^((W - 1 - i) / half_life), sum 1
    g_c = mean, with these weights, of how far channel c lies outside of its range in training, in units of that range
    score = 2^(1 - h / c) (1 + sum over channels of g_c)

scikit-learn's -score_samples of a row is 2^(-h / c); twice that is 1 for a row of ordinary depth. It saturates at 2, which
no row can pass however far away it is. The factor with g is not part of the published
method. Without it (`outside=false`) a value far outside of the training range scores as one at its edge, as it falls
into the same leaf, and a channel that never moved is not seen at all, as it cannot be cut.

contribution: v(node) is the mean depth of the train rows that pass a node. A step from parent to child changes it, and the
change belongs to the channel that the parent cuts: summed over path and trees, depth = v(root) + sum over channels of
a_c. 2^(1 - h / c) is shared out in proportion to max(0, -a_c), what each channel has shortened; 2^(1 - h / c) g_c is
channel c's own.

Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008; attribution as for decision trees by Saabas (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.models.fitted import where_torch_is
from wheeltapper.models.isolation_forest.trees import Trees, average_depth, grow
from wheeltapper.models.row_scaling import CLIP, RowScaling, Scale, fit_row_scaling, recency_weights, still_step
from wheeltapper.models.training_rows import training_rows
from wheeltapper.schemas.errors import InputError

DETECTOR = "isolation-forest"
VERSION = 1

LEAST_ROWS = 50


@dataclass(frozen=True)
class ForestSettings:
    """
    Attributes:
        window: W, rows; 1 judges each row alone.
        half_life: rows, of the average over the window.
        trees: number of trees; samples: rows that each is grown on.
        outside: whether values outside of the training range count by their distance.
        clip: of g, and of the embedding in standard deviations.
        scale: 'train' or 'given'; of the embedding alone, as cuts and ranges do not depend on how a channel is scaled.
    """

    window: int = 16
    half_life: float = 8.0
    trees: int = 100
    samples: int = 256
    outside: bool = True
    clip: float = CLIP
    scale: Scale = "train"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a setting outside of its range.
        """
        for name, least in (("window", 1), ("trees", 1), ("samples", 2)):
            if getattr(self, name) < least:
                raise InputError(f"isolation-forest: {name} is {getattr(self, name)}, expected {least} or more")
        for name in ("half_life", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"isolation-forest: {name} is {getattr(self, name)}, expected a number above 0")

    def row_weights(self) -> np.ndarray:
        """w [W] float64, sum 1."""
        return recency_weights(self.window, self.half_life)


@dataclass
class IsolationForest:
    """A grown forest; a `wheeltapper.models.fitted.FittedDetector`. Not to be changed once fitted.

    Attributes:
        low, high: [C] float32, the range of training, raw units.
        reach: [C] float64, raw units: what counts as one range, `high - low`; of a channel that never moved a guess.
        trees: of raw rows; depths in cuts.
        usual_depth: c.
    """

    settings: ForestSettings
    scaling: RowScaling
    low: np.ndarray
    high: np.ndarray
    reach: np.ndarray
    trees: Trees
    usual_depth: float
    seed: int = 0
    warnings: tuple[str, ...] = ()
    detector: str = field(default=DETECTOR, init=False)
    version: int = field(default=VERSION, init=False)
    window: int = field(init=False)
    lag: int = field(default=0, init=False)
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.settings.window
        self.parameters = asdict(self.settings) | {"usual_depth": self.usual_depth, "seed": self.seed}

    @property
    def channels(self) -> int:
        return self.scaling.channels

    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""
        from wheeltapper.models.isolation_forest.graph import build_graph

        return build_graph(self)

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""

        def build() -> bytes:
            from wheeltapper.models.isolation_forest.torchscript import build_torchscript

            return build_torchscript(self)

        return where_torch_is(build)


def fit_isolation_forest(
    runs: Sequence[np.ndarray],
    settings: ForestSettings | None = None,
    *,
    seed: int = 0,
    channels: Sequence[str] | None = None,
) -> IsolationForest:
    """Fit on normal rows; needs scikit-learn.

    Args:
        runs: [T_i, C] float, raw units, NaN where a sensor gave nothing.
        seed: of samples and cuts.
        channels: C names, for warnings.

    Raises:
        InputError: too few rows, or values that are not numbers.
    """
    settings = settings or ForestSettings()
    rows = training_rows(runs, at_least=max(LEAST_ROWS, 2 * settings.window), detector=DETECTOR)
    scaling = fit_row_scaling(rows, settings.scale)
    values = np.concatenate(rows.runs)
    low, high = values.min(axis=0), values.max(axis=0)
    reach = np.where(scaling.varies, high.astype(np.float64) - low, still_step(low.astype(np.float64)))
    samples = min(settings.samples, len(values))
    trees = grow(values, trees=settings.trees, samples=samples, seed=seed)
    found = ["each row is judged for itself: a changed order of ordinary rows is not seen"]
    if constant := scaling.constant_names(channels):
        found.append(
            f"constant in training, so the scale of their change is a guess: {constant}"
            if settings.outside
            else f"constant in training, so no tree cuts them and no change of them is seen: {constant}"
        )
    return IsolationForest(
        settings, scaling, low, high, reach, trees, average_depth(samples), seed, warnings=tuple(found)
    )
