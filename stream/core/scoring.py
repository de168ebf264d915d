"""Windows of many machines to scores, one batch at a time."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from wheeltapper.schemas.bundle import GraphOutput
from wheeltapper.stream.routes import Rule


class ScoredWindows:
    """Scores of the windows that were added, in the order they were added.

    What only alerts need is put together when an alert asks for it: most batches raise none.

    Attributes:
        raw: [n] as the graph gave it.
        score: [n] float64 calibrated, 1.0 is the alarm level.
    """

    def __init__(self, rule: Rule, outputs: list[GraphOutput], rows: list[np.ndarray], channels: int) -> None:
        self._outputs = outputs
        self._rows = rows
        self._channels = channels
        self.raw = _joined([output.score for output in outputs])
        self.score = rule.calibrate(self.raw)

    @cached_property
    def contribution(self) -> np.ndarray:
        """[n, C]: where each score comes from."""
        return _joined([output.contribution for output in self._outputs], self._channels)

    @cached_property
    def expected(self) -> np.ndarray | None:
        """[n, C] raw units; None where the graph does not say."""
        parts = [output.expected for output in self._outputs if output.expected is not None]
        return _joined(parts, self._channels) if parts else None

    @cached_property
    def last_row(self) -> np.ndarray:
        """[n, C] float32: the row that each score belongs to, raw units."""
        return _joined(self._rows, self._channels)


class BatchScorer:
    """Collects windows of one rule and scores them in the graph's batch sizes.

    Windows are copied straight into the batch that onnxruntime reads: once, whatever came from which machine.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        graph = rule.graph
        self._batch = np.zeros((graph.largest_batch, graph.window, graph.channels), dtype=np.float32)
        self._scored_row = graph.window - 1 - rule.manifest.lag
        self._filled = 0
        self._outputs: list[GraphOutput] = []
        self._rows: list[np.ndarray] = []
        self.seconds = 0.0
        """Spent in onnxruntime so far."""
        self.windows = 0
        """Scored so far."""

    def add(self, windows: np.ndarray) -> None:
        """Add [k, W, C] windows; they are copied at once, so the view may change afterwards."""
        self._rows.append(windows[:, self._scored_row].copy())
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
        return ScoredWindows(self._rule, outputs, rows, self._batch.shape[2])

    def _run(self) -> None:
        count, self._filled = self._filled, 0
        started = time.perf_counter()
        self._outputs.append(self._rule.graph.run(self._batch[:count]))
        self.seconds += time.perf_counter() - started
        self.windows += count


def _joined(parts: list[np.ndarray], columns: int | None = None) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.empty((0,) if columns is None else (0, columns), dtype=np.float32)
    return np.concatenate(parts)
