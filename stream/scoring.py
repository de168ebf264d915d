"""Windows of many machines to scores, one batch at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from schemas.bundle import GraphOutput
from stream.routes import Rule


@dataclass(frozen=True, slots=True)
class ScoredWindows:
    """Scores of the windows that were added, in the order they were added.

    Attributes:
        raw: [n] as the graph gave it.
        score: [n] float64 calibrated, 1.0 is the alarm level.
        contribution: [n, C]; `expected` [n, C] or None.
        last_row: [n, C] float32: the row that each score belongs to, raw units.
    """

    raw: np.ndarray
    score: np.ndarray
    contribution: np.ndarray
    expected: np.ndarray | None
    last_row: np.ndarray


class BatchScorer:
    """Collects windows of one rule and scores them in the graph's batch sizes.

    Windows are copied straight into the batch that onnxruntime reads: once, whatever came from which machine.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        graph = rule.graph
        self._batch = np.zeros((graph.largest_batch, graph.window, graph.channels), dtype=np.float32)
        self._filled = 0
        self._outputs: list[GraphOutput] = []
        self._rows: list[np.ndarray] = []
        self.seconds = 0.0
        """Spent in onnxruntime so far."""
        self.windows = 0
        """Scored so far."""

    def add(self, windows: np.ndarray) -> None:
        """Add [k, W, C] windows; they are copied at once, so the view may change afterwards."""
        start = 0
        while start < len(windows):
            count = min(len(windows) - start, len(self._batch) - self._filled)
            self._batch[self._filled : self._filled + count] = windows[start : start + count]
            self._filled += count
            start += count
            if self._filled == len(self._batch):
                self._run()

    def finish(self) -> ScoredWindows:
        """Score what is left and give everything that was added since the last call."""
        if self._filled:
            self._run()
        outputs, self._outputs = self._outputs, []
        rows, self._rows = self._rows, []
        channels = self._batch.shape[2]
        raw = _joined([output.score for output in outputs])
        expected = [output.expected for output in outputs if output.expected is not None]
        return ScoredWindows(
            raw=raw,
            score=self._rule.calibrate(raw),
            contribution=_joined([output.contribution for output in outputs], channels),
            expected=_joined(expected, channels) if len(expected) == len(outputs) and outputs else None,
            last_row=_joined(rows, channels),
        )

    def _run(self) -> None:
        count, self._filled = self._filled, 0
        scored_row = self._batch.shape[1] - 1 - self._rule.manifest.lag
        started = time.perf_counter()
        self._outputs.append(self._rule.graph.run(self._batch[:count]))
        self.seconds += time.perf_counter() - started
        self.windows += count
        self._rows.append(self._batch[:count, scored_row].copy())


def _joined(parts: list[np.ndarray], columns: int | None = None) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.empty((0,) if columns is None else (0, columns), dtype=np.float32)
    return np.concatenate(parts)
