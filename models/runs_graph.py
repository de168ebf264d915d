"""What graphs of runs of rows share: a row is worked on once, for all windows that it lies in."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.onnx_builder import LAST, LONGEST_RUN, GraphBuilder, banded


class RunGraph(GraphBuilder):
    """A builder whose `window` is [N, T, C], T up to W - 1 + `LONGEST_RUN`; n = T - W + 1 windows."""

    @classmethod
    def beside(cls, graph: GraphBuilder) -> RunGraph:
        """For the second form of a graph."""
        return cls(graph.window, graph.channels, prefix="run_", opset=graph.opset)

    def average(self, tensor: str, weights: np.ndarray) -> str:
        """[N, T, k] to [N, n, k]: the sum over each window's rows with weights [W]."""
        time = self.node("Shape", "window", start=1, end=2)
        size = self.node("Concat", self.node("Add", time, self.integers([1 - self.window])), time, axis=0)
        band = self.node("Slice", self.constant(banded(weights, LONGEST_RUN).T), self.integers([0, 0]), size)
        return self.node("MatMul", band, tensor)

    def last_rows(self, tensor: str) -> str:
        """[N, T, k] to [N, n, k]: each window's last row."""
        return self.slice(tensor, self.window - 1, LAST, 1)

    def windows(self, tensor: str) -> str:
        """[N, T, C] to [N, n, W, C]: the windows themselves, of what is worked on by rows before."""
        time = self.node("Shape", "window", start=1, end=2)
        count = self.node("Add", time, self.integers([1 - self.window]))
        rows = np.arange(LONGEST_RUN)[:, None] + np.arange(self.window)
        chosen = self.node("Slice", self.integers(rows), self.integers([0]), count, self.integers([0]))
        return self.node("Gather", tensor, chosen, axis=1)

    def by_run(self, tensor: str, *width: int) -> str:
        """[N n, ..] to [N, n, *width]."""
        shape = self.node("Shape", "window", start=0, end=1)
        return self.node("Reshape", tensor, self.node("Concat", shape, self.integers([-1, *width]), axis=0))
