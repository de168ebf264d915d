"""Embeddings: the unbiased two-sample MMD of every block against the calibration's embeddings, smoothed.

Gretton et al., JMLR 2012; averages of block statistics against one reference are the scan B-statistic of Li et al., NeurIPS 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ANCHORS = 64
"""Embeddings of the calibration that stand for it."""
MOST_OF_BLOCK = 16
"""Embeddings of a block that are compared with them, evenly spaced: the cost grows with both."""


@dataclass(frozen=True)
class EmbeddingNormal:
    """The calibration's embeddings.

    Attributes:
        anchors: [m, D] float64, evenly spaced. squares: [m], their squared lengths.
        scale: [D], what each dimension is divided by. inverse: 1 / (2 bandwidth^2), by the median heuristic.
        within: mean kernel among the anchors.
    """

    anchors: np.ndarray
    squares: np.ndarray
    scale: np.ndarray
    inverse: float
    within: float

    def discrepancy(self, embeddings: np.ndarray) -> float:
        """Unbiased squared MMD of [n, D] embeddings, n of at least 2, against the calibration's."""
        points = embeddings / self.scale
        n, m = len(points), len(self.anchors)
        squares = np.add.reduce(points * points, axis=1)
        # Both kernels in one array: [n, m] across, [n, n] among the block's own.
        kernel = np.empty((n, m + n))
        np.matmul(points, self.anchors.T, out=kernel[:, :m])
        np.matmul(points, points.T, out=kernel[:, m:])
        kernel *= -2.0
        kernel += squares[:, None]
        kernel[:, :m] += self.squares
        kernel[:, m:] += squares
        np.maximum(kernel, 0.0, out=kernel)
        kernel *= -self.inverse
        np.exp(kernel, out=kernel)
        sums = np.add.reduce(kernel, axis=0)
        # A point's kernel with itself is 1, but for rounding.
        among = (float(np.add.reduce(sums[m:])) - n) / (n * (n - 1))
        return among - 2.0 * float(np.add.reduce(sums[:m])) / (n * m) + self.within


def thinned(embeddings: np.ndarray) -> np.ndarray:
    """At most `MOST_OF_BLOCK` of a block's embeddings [n, D]."""
    return embeddings[:: max(1, -(-len(embeddings) // MOST_OF_BLOCK))]


def embedding_normal(embeddings: np.ndarray) -> EmbeddingNormal:
    """Fit on the calibration's embeddings [n, D]."""
    picked = np.unique(np.linspace(0, len(embeddings) - 1, ANCHORS).round().astype(np.int64))
    values = embeddings.astype(np.float64)
    scale = np.maximum(values.std(axis=0), 1e-9 + 1e-3 * np.abs(values).mean(axis=0))
    anchors = values[picked] / scale
    squares = np.einsum("nd,nd->n", anchors, anchors)
    distances = np.maximum(squares[:, None] + squares - 2 * anchors @ anchors.T, 0.0)
    others = distances[~np.eye(len(anchors), dtype=np.bool_)]
    inverse = 1.0 / max(float(np.median(others)), 1e-12)
    return EmbeddingNormal(anchors, squares, scale, inverse, float(np.exp(-inverse * others).mean()))
