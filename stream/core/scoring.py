"""Windows of many machines to scores, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
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


LENGTHS = 8
"""So many lengths of runs at most are scored apart; shorter ones are filled up. A call costs more than some rows."""


class ScoredWindows:
    """Scores of the windows that were added, in the order they were added.

    What only alerts need is put together when an alert asks for it: most batches raise none.

    Attributes:
        raw: [n] as the graph gave it.
        score: [n] float64 calibrated, 1.0 is the alarm level.
    """

    def __init__(
        self,
        rule: RuleSpec,
        outputs: Sequence[GraphOutput],
        picked: Sequence[np.ndarray | None] | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            picked: for each output which of its windows were added; None: all, in their order.
            places: [n] where each of them belongs; None: they are in order.
        """
        self._outputs = outputs
        self._picked = picked if picked is not None else [None] * len(outputs)
        self._places = places
        self.raw: np.ndarray = self._joined([output.score for output in outputs])
        self.score = rule.calibrate(self.raw)

    @cached_property
    def contribution(self) -> np.ndarray:
        """[n, ...]: where each score comes from; [n, C] for rows."""
        return self._joined([output.contribution for output in self._outputs])

    @cached_property
    def expected(self) -> np.ndarray | None:
        """[n, C] raw units; None where the graph does not say."""
        return self._optional([output.expected for output in self._outputs])

    @cached_property
    def embedding(self) -> np.ndarray | None:
        """[n, D]; None where the graph has none."""
        return self._optional([output.embedding for output in self._outputs])

    def _optional(self, parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
        found = [part for part in parts if part is not None]
        return self._joined(found) if found else None

    def _joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        chosen = [part if picked is None else part[picked] for part, picked in zip(parts, self._picked, strict=True)]
        if not chosen:
            return np.empty(0, dtype=np.float32)
        joined = chosen[0] if len(chosen) == 1 else np.concatenate(chosen)
        if self._places is None:
            return joined
        placed = np.empty_like(joined)
        placed[self._places] = joined
        return placed


class BatchScorer:
    """Collects windows of one rule and scores them in the graph's batch sizes, or as runs of rows where that costs less.

    Windows and rows are copied straight into the batch that onnxruntime reads: once, whatever came from which machine. Runs of
    the same length share a batch; a short one is filled up with its last row, whose scores nobody sees.
    """

    def __init__(self, rule: RuleSpec) -> None:
        self._rule = rule
        graph = rule.graph
        self._windows = _Batch(np.zeros((graph.largest_batch, *graph.sample_shape), dtype=np.float32))
        width = graph.attribute_width
        self._attributes = np.zeros((graph.largest_batch, width), dtype=np.float32) if width else None
        self._runs: dict[int, _Batch] = {}
        """By the windows of a run."""
        self._most_windows = (graph.longest_run - 1) // rule.stride + 1
        """Of a run, with the rule's stride."""
        self._length_step = max(LENGTHS, graph.longest_run // LENGTHS)
        self._added = 0
        self._outputs: list[GraphOutput] = []
        self._picked: list[np.ndarray | None] = []
        self._places: list[tuple[list[int], list[int]]] = []
        self.seconds = 0.0
        """Spent in onnxruntime so far."""
        self.windows = 0
        """Scored so far."""
        self.values_per_window = 2.0 * graph.channels
        """What a window leaves in memory until it has been judged."""
        self._recent_s, self._recent_windows = graph.seconds_per_window or FIRST_WINDOW_S, 1.0

    @property
    def seconds_per_window(self) -> float:
        """What a window has cost lately."""
        return self._recent_s / self._recent_windows

    def add(
        self,
        windows: np.ndarray,
        attributes: np.ndarray | None = None,
        machine: str = "",
        run: np.ndarray | None = None,
    ) -> None:
        """Add [k, *sample shape] windows; they are copied at once, so the view may change afterwards.

        Args:
            attributes: [k, A], of a graph that takes them.
            machine: whose they are.
            run: [(k - 1) * stride + W, C], the rows that these windows lie in.
        """
        if run is not None and self._rule.graph.is_run_cheaper(len(windows), self._rule.stride):
            self._add_run(run, len(windows), machine)
        else:
            self._add_windows(windows, attributes, machine)
        self._added += len(windows)

    def finish(self) -> ScoredWindows:
        """Score what is left and give everything that was added since the last call."""
        for length, batch in self._runs.items():
            if batch.filled:
                self._score_runs(length, batch)
        if self._windows.filled or not self._outputs:
            self._score_windows()
        firsts = [place for places, _ in self._places for place in places]
        in_order = all(before < after for before, after in pairwise(firsts))
        places = None if in_order else np.concatenate([_ranges(*batch) for batch in self._places])
        scored = ScoredWindows(self._rule, self._outputs, self._picked, places)
        self._outputs, self._picked, self._places, self._added = [], [], [], 0
        return scored

    def _add_windows(self, windows: np.ndarray, attributes: np.ndarray | None, machine: str) -> None:
        batch, start = self._windows, 0
        while start < len(windows):
            count = min(len(windows) - start, len(batch.values) - batch.filled)
            batch.values[batch.filled : batch.filled + count] = windows[start : start + count]
            if self._attributes is not None:
                assert attributes is not None
                self._attributes[batch.filled : batch.filled + count] = attributes[start : start + count]
            batch.take_windows(machine, self._added + start, count)
            start += count
            if batch.filled == len(batch.values):
                self._score_windows()

    def _add_run(self, rows: np.ndarray, count: int, machine: str) -> None:
        stride, window = self._rule.stride, self._rule.graph.window
        for start in range(0, count, self._most_windows):
            here = min(self._most_windows, count - start)
            span = (here - 1) * stride + 1
            length = min(-(-span // self._length_step) * self._length_step, self._rule.graph.longest_run)
            batch = self._runs.get(length)
            if batch is None:
                shape = (self._rule.graph.most_runs(length), window - 1 + length, rows.shape[1])
                batch = self._runs[length] = _Batch(np.empty(shape, dtype=np.float32))
            first, given = start * stride, window - 1 + span
            into = batch.values[batch.filled]
            into[:given] = rows[first : first + given]
            into[given:] = rows[first + given - 1]
            batch.take_run(machine, self._added + start, here)
            if batch.filled == len(batch.values):
                self._score_runs(length, batch)

    def _score_windows(self) -> None:
        batch = self._windows
        count = batch.filled
        attributes = None if self._attributes is None else self._attributes[:count]
        self._score(batch, lambda: self._rule.graph.run(batch.values[:count], attributes), count)

    def _score_runs(self, length: int, batch: _Batch) -> None:
        runs, counts = batch.filled, batch.counts
        every = self._rule.stride == 1 and min(counts) == length
        picked = None if every else _ranges(range(0, runs * length, length), counts, self._rule.stride)
        self._score(batch, lambda: self._rule.graph.run_together(batch.values[:runs]), sum(counts), picked)

    def _score(
        self, batch: _Batch, run: Callable[[], GraphOutput], count: int, picked: np.ndarray | None = None
    ) -> None:
        started = time.perf_counter()
        with running(Call("graph", self._rule.identity, batch.machines, count)):
            output = run()
        self._outputs.append(output)
        self._picked.append(picked)
        self._places.append((batch.places, batch.counts))
        batch.empty()
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self.windows += count
        if count:
            self._recent_s = FORGETS * self._recent_s + seconds
            self._recent_windows = FORGETS * self._recent_windows + count
            parts = (output.contribution, output.expected, output.embedding)
            self.values_per_window = sum(part.size for part in parts if part is not None) / count


class _Batch:
    """Windows, or runs of one length, that wait for their scores.

    Attributes:
        values: [most, ...] float32, of which the first `filled` are there.
        places, counts: where the scores of `counts` windows that follow each other belong; of runs one entry each.
        machines: whose they are, for who looks at a graph that does not return.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.empty()

    def empty(self) -> None:
        """Begin anew."""
        self.filled = 0
        self.places: list[int] = []
        self.counts: list[int] = []
        self.machines: list[str] = []

    def take_windows(self, machine: str, place: int, count: int) -> None:
        """Note whose windows have come, and where their scores belong."""
        self.filled += count
        self.machines.append(machine)
        if self.places and self.places[-1] + self.counts[-1] == place:
            self.counts[-1] += count
        else:
            self.places.append(place)
            self.counts.append(count)

    def take_run(self, machine: str, place: int, count: int) -> None:
        """The same of a run."""
        self.filled += 1
        self.machines.append(machine)
        self.places.append(place)
        self.counts.append(count)


def _ranges(starts: Sequence[int], counts: Sequence[int], step: int = 1) -> np.ndarray:
    """[sum of counts] int64: so many numbers from each start on, `step` apart."""
    first, count = np.asarray(starts, dtype=np.int64), counts[0] if counts else 0
    found: np.ndarray
    if counts.count(count) == len(counts):
        found = (first[:, None] + step * np.arange(count)).reshape(-1)
        return found
    many = np.asarray(counts, dtype=np.int64)
    before = np.cumsum(many) - many
    found = np.repeat(first - step * before, many) + step * np.arange(int(many.sum()))
    return found
