"""Windows of many machines to scores, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.stream.core.row_store import ranges, stretches
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
        self._places: list[np.ndarray] = []
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

    def add(self, windows: np.ndarray, attributes: np.ndarray | None = None, machine: str = "") -> None:
        """Add [k, *sample shape] windows; they are copied at once, so the view may change afterwards.

        Args:
            attributes: [k, A], of a graph that takes them.
            machine: whose they are.
        """
        batch, start = self._windows, 0
        while start < len(windows):
            count = min(len(windows) - start, len(batch.values) - batch.filled)
            batch.values[batch.filled : batch.filled + count] = windows[start : start + count]
            if self._attributes is not None:
                assert attributes is not None
                self._attributes[batch.filled : batch.filled + count] = attributes[start : start + count]
            first = self._added + start
            self._take(batch, count, [machine], np.arange(first, first + count))
            start += count
        self._added += len(windows)

    def add_rows(self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray, machines: Sequence[str]) -> None:
        """Add windows of machines whose rows lie in one array; they are copied at once.

        Args:
            rows: [.., C] float32, in one piece.
            starts: [M] the row at which each machine's first window begins; counts: [M] its windows, one at least, each the rule's
                stride behind the one before.
            machines: M of them.
        """
        places = np.cumsum(counts)
        total, most = int(places[-1]), int(counts.max())
        places += self._added - counts
        if most == 1 or not self._rule.graph.is_run_cheaper(most, self._rule.stride):
            self._add_windows(rows, starts, counts, places, machines)
        else:
            for count in sorted({*counts.tolist()}):
                those = np.flatnonzero(counts == count)
                names = [machines[place] for place in those.tolist()]
                if count == 1:
                    self._add_windows(rows, starts[those], counts[those], places[those], names)
                else:
                    self._add_runs(rows, starts[those], count, places[those], names)
        self._added += total

    def finish(self) -> ScoredWindows:
        """Score what is left and give everything that was added since the last call."""
        for length, batch in self._runs.items():
            if batch.filled:
                self._score_runs(length, batch)
        if self._windows.filled or not self._outputs:
            self._score_windows()
        places = self._places[0] if len(self._places) == 1 else np.concatenate(self._places)
        in_order = bool((places[1:] > places[:-1]).all())
        scored = ScoredWindows(self._rule, self._outputs, self._picked, None if in_order else places)
        self._outputs, self._picked, self._places, self._added = [], [], [], 0
        return scored

    def _add_windows(
        self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray, places: np.ndarray, machines: Sequence[str]
    ) -> None:
        batch, window = self._windows, self._rule.graph.window
        index, owners = starts, range(len(starts))
        if len(starts) < (total := int(counts.sum())):
            index, places = ranges(starts, counts, self._rule.stride), ranges(places, counts)
            owners = np.repeat(np.arange(len(starts)), counts).tolist()
        views = stretches(rows, window)
        done = 0
        while done < total:
            stop = min(total, done + len(batch.values) - batch.filled)
            part = slice(done, stop)
            batch.values[batch.filled :][: stop - done] = views[index[part]].reshape(stop - done, window, -1)
            self._take(batch, stop - done, machines[owners[done] : owners[stop - 1] + 1], places[part])
            done = stop

    def _add_runs(
        self, rows: np.ndarray, starts: np.ndarray, count: int, places: np.ndarray, machines: Sequence[str]
    ) -> None:
        """Runs of `count` windows each."""
        stride, window = self._rule.stride, self._rule.graph.window
        for start in range(0, count, self._most_windows):
            here = min(self._most_windows, count - start)
            span = (here - 1) * stride + 1
            length = min(-(-span // self._length_step) * self._length_step, self._rule.graph.longest_run)
            batch = self._runs.get(length)
            if batch is None:
                shape = (self._rule.graph.most_runs(length), window - 1 + length, rows.shape[-1])
                batch = self._runs[length] = _Batch(np.empty(shape, dtype=np.float32))
            given = window - 1 + span
            views = stretches(rows, given)
            done = 0
            while done < len(starts):
                runs = min(len(starts) - done, len(batch.values) - batch.filled)
                part = slice(done, done + runs)
                into = batch.values[batch.filled :][:runs]
                into[:, :given] = views[starts[part] + start * stride].reshape(runs, given, -1)
                into[:, given:] = into[:, given - 1 : given]
                batch.counts += [here] * runs
                firsts = places[part] + start
                covered = firsts if here == 1 else (firsts[:, None] + np.arange(here)).reshape(-1)
                self._take(batch, runs, machines[part], covered, length)
                done += runs

    def _take(
        self, batch: _Batch, count: int, machines: Sequence[str], places: np.ndarray, length: int | None = None
    ) -> None:
        """So many windows, or runs of `length`, have come into a batch, whose scores belong to these [n] places."""
        batch.filled += count
        batch.machines += machines
        batch.places.append(places)
        if batch.filled == len(batch.values):
            if length is None:
                self._score_windows()
            else:
                self._score_runs(length, batch)

    def _score_windows(self) -> None:
        batch = self._windows
        count = batch.filled
        attributes = None if self._attributes is None else self._attributes[:count]
        self._score(batch, lambda: self._rule.graph.run(batch.values[:count], attributes), count)

    def _score_runs(self, length: int, batch: _Batch) -> None:
        runs, counts = batch.filled, batch.counts
        every = self._rule.stride == 1 and min(counts) == length
        picked = None
        if not every:
            picked = ranges(np.arange(0, runs * length, length), np.array(counts), self._rule.stride)
        self._score(batch, lambda: self._rule.graph.run_together(batch.values[:runs]), sum(counts), picked)

    def _score(
        self, batch: _Batch, run: Callable[[], GraphOutput], count: int, picked: np.ndarray | None = None
    ) -> None:
        started = time.perf_counter()
        with running(Call("graph", self._rule.identity, batch.machines, count)):
            output = run()
        self._outputs.append(output)
        self._picked.append(picked)
        self._places += batch.places or [np.empty(0, dtype=np.int64)]
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
        places: where the scores belong, in their order; counts: windows of each run.
        machines: whose they are, for who looks at a graph that does not return.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.empty()

    def empty(self) -> None:
        """Begin anew."""
        self.filled = 0
        self.places: list[np.ndarray] = []
        self.counts: list[int] = []
        self.machines: list[str] = []
