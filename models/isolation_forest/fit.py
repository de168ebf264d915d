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

import numpy as np

from wheeltapper.models.isolation_forest.fitted import FittedForest
from wheeltapper.models.isolation_forest.graph import build_graph
from wheeltapper.models.isolation_forest.settings import ForestSettings
from wheeltapper.models.isolation_forest.trees import average_depth, grow
from wheeltapper.models.row_scaling import fit_row_scaling, still_step
from wheeltapper.models.training_rows import TrainingRows


class IsolationForest(FittedForest):
    """A grown forest; a `wheeltapper.models.fitted.FittedDetector`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.isolation_forest.torchscript import build_torchscript

        return build_torchscript(self)


def fit_isolation_forest(
    rows: TrainingRows,
    settings: ForestSettings | None = None,
    *,
    seed: int = 0,
    channels: Sequence[str] | None = None,
) -> IsolationForest:
    """Fit on normal rows; needs scikit-learn.

    Args:
        seed: of samples and splits.
        channels: C names, for warnings.
    """
    settings = settings or ForestSettings()
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
        settings=settings,
        scaling=scaling,
        low=low,
        high=high,
        reach=reach,
        trees=trees,
        usual_depth=average_depth(samples),
        seed=seed,
        warnings=tuple(found),
    )
