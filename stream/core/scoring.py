"""Windows of many machines to scores, one batch at a time."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.running import Call, running

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle import GraphOutput


FIRST_WINDOW_S = 1e-3
"""What a window is taken to cost until one has been scored, of a graph that was not warmed up."""

FORGETS = 0.5
"""Weight of what runs cost before, against the newest run."""


class ScoredWindows:
    """Scores of the windows that were added, in the order they were added.

    What only alerts need is put together when an alert asks for it: most batches raise none.

    Attributes:
        raw: [n] as the graph gave it.
        score: [n] float64 calibrated, 1.0 is the alarm level.
    """

    def __init__(self, rule: RuleSpec, outputs: list[GraphOutput]) -> None:
        self._outputs = outputs
        self.raw = _joined([output.score for output in outputs])
        self.score = rule.calibrate(self.raw)

    @cached_property
    def contribution(self) -> np.ndarray:
        """[n, ...]: where each score comes from; [n, C] for rows."""
        return _joined([output.contribution for output in self._outputs])

    @cached_property
    def expected(self) -> np.ndarray | None:
        """[n, C] raw units; None where the graph does not say."""
        parts = [output.expected for output in self._outputs if output.expected is not None]
        return _joined(parts) if parts else None

    @cached_property
    def embedding(self) -> np.ndarray | None:
        """[n, D]; None where the graph has none."""
        parts = [output.embedding for output in self._outputs if output.embedding is not None]
        return _joined(parts) if parts else None


class BatchScorer:
    """Collects windows of one rule and scores them in the graph's batch sizes.

    Windows are copied straight into the batch that onnxruntime reads: once, whatever came from which machine.
    """

    def __init__(self, rule: RuleSpec) -> None:
        self._rule = rule
        graph = rule.graph
        self._batch = np.zeros((graph.largest_batch, *graph.sample_shape), dtype=np.float32)
        width = graph.attribute_width
        self._attributes = np.zeros((graph.largest_batch, width), dtype=np.float32) if width else None
        self._filled = 0
        self._outputs: list[GraphOutput] = []
        self.seconds = 0.0
        """Spent in onnxruntime so far."""
        self.windows = 0
        """Scored so far."""
        self.values_per_window = 2.0 * graph.channels
        """What a window leaves in memory until it has been judged."""
        self._machines: list[str] = []
        """Whose windows wait to be scored, for who looks at a graph that does not return."""
        self._recent_s, self._recent_windows = graph.seconds_per_window or FIRST_WINDOW_S, 1.0

    @property
    def seconds_per_window(self) -> float:
        """What a window has cost lately."""
        return self._recent_s / self._recent_windows

    def add(self, windows: np.ndarray, attributes: np.ndarray | None = None, machine: str = "") -> None:
        """Add [k, *sample shape] windows; they are copied at once, so the view may change afterwards.

        Args:
            attributes: [k, A], of a graph that takes them.
            machine: whose they are.
        """
        start = 0
        while start < len(windows):
            count = min(len(windows) - start, len(self._batch) - self._filled)
            self._batch[self._filled : self._filled + count] = windows[start : start + count]
            if self._attributes is not None:
                assert attributes is not None
                self._attributes[self._filled : self._filled + count] = attributes[start : start + count]
            self._filled += count
            self._machines.append(machine)
            start += count
            if self._filled == len(self._batch):
                self._run()

    def finish(self) -> ScoredWindows:
        """Score what is left and give everything that was added since the last call."""
        if self._filled or not self._outputs:
            self._run()
        outputs, self._outputs = self._outputs, []
        return ScoredWindows(self._rule, outputs)

    def _run(self) -> None:
        count, self._filled = self._filled, 0
        started = time.perf_counter()
        attributes = None if self._attributes is None else self._attributes[:count]
        machines, self._machines = self._machines, []
        with running(Call("graph", self._rule.identity, machines, count)):
            output = self._rule.graph.run(self._batch[:count], attributes)
        self._outputs.append(output)
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self.windows += count
        if count:
            self._recent_s = FORGETS * self._recent_s + seconds
            self._recent_windows = FORGETS * self._recent_windows + count
            parts = (output.contribution, output.expected, output.embedding)
            self.values_per_window = sum(part.size for part in parts if part is not None) / count


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
