"""Labels of windows from labels of rows."""

from __future__ import annotations

import numpy as np


def window_labels(labels: np.ndarray, ends: np.ndarray, label_rows: int) -> np.ndarray:
    """[T] labels of rows -> [m] int8 of the windows that end there: 1 where one of the last `label_rows` rows is 1.

    With a maximum over all rows, a fault that has left the window but for its oldest row would still count.
    """
    before = np.concatenate([[0], np.cumsum(np.asarray(labels, dtype=np.int64))])
    starts = np.maximum(ends + 1 - label_rows, 0)
    return (before[ends + 1] - before[starts] > 0).astype(np.int8)
