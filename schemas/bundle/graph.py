"""The one graph contract, and how such a graph is run.

| name | direction | shape | meaning |
|---|---|---|---|
| `window` | in | [N, W, C] float32 of rows, [N, S] float32 of samples | raw engineering units; scaling is inside the graph |
| `attributes` | in, optional | [N, A] float32 | the operating point; NaN is an unknown number, zeros an unknown category |
| `score` | out | [N] | raw anomaly score of the window's last step (less `lag`); larger is stranger |
| `contribution` | out | [N, C] of rows, [N, F, T] of sound | where the score comes from; non-negative |
| `expected` | out, optional | [N, C] | what that step should have been, raw units |
| `embedding` | out, optional | [N, D] | latent, for drift tests and adaptation |

N is dynamic, everything else static.

A graph of rows may take a run of them instead: several windows that share most of their rows, in one pass. Its `window` is
[N, T, C] with a dynamic T, W or more, and every output has the windows of each run as its second axis: `score` is [N, T - W + 1],
`contribution` [N, T - W + 1, C]. The first is the window of the first W rows; T = W is one plain window. Its metadata_props say
`window`, which is W, and `longest_run`, the most windows that a run may have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from wheeltapper.schemas.bundle.batches import padded, split_padded
from wheeltapper.schemas.bundle.device import resolve_device
from wheeltapper.schemas.bundle.onnx_file import read_onnx
from wheeltapper.schemas.errors import InputError

ATTRIBUTES = "attributes"
WINDOW_KEY, LONGEST_RUN_KEY = "window", "longest_run"
"""In the metadata_props of a graph that takes runs."""

REQUIRED_OUTPUTS = ("score", "contribution")
OPTIONAL_OUTPUTS = ("expected", "embedding")

# On a GPU every batch is padded to one of these: a new shape costs it a search for kernels, up to half a second.
BATCH_SIZES = (1, 8, 32, 128, 512)

# On a CPU a new shape costs nothing, so padding would only be work; what costs is a batch that outgrows the core's cache.
CPU_BATCH_BYTES = 640 * 1024
SMALLEST_CPU_BATCH = 16

RUN_BATCH_BYTES = 320 * 1024
"""The same of a batch of runs, each of which leaves more in between than a window."""

RUN_ROW_COST = 4
"""What a row costs that a run has beside those of its first window, in rows of single windows. Measured of range bands; of detectors
that average over fewer rows it is less."""

MOST_ROWS = 10**6
"""A window or a run of more rows is a mistake."""

MOST_WARM_UP_S = 5.0
"""A CPU is warmed up with the largest batch only where that takes no longer."""


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """Outputs of N windows; shapes as in the contract."""

    score: np.ndarray
    contribution: np.ndarray
    expected: np.ndarray | None = None
    embedding: np.ndarray | None = None


def joined(outputs: Sequence[GraphOutput]) -> GraphOutput:
    """Outputs of one graph, one behind another; at least one."""
    if len(outputs) == 1:
        return outputs[0]
    parts = {name: [getattr(output, name) for output in outputs] for name in (*REQUIRED_OUTPUTS, *OPTIONAL_OUTPUTS)}
    return GraphOutput(**{name: np.concatenate(part) for name, part in parts.items() if part[0] is not None})


class Graph:
    """One ONNX Runtime session under the contract. Not to be run from two threads at a time.

    Attributes:
        window, channels: W and C.
        attribute_width: A, columns of the input `attributes`; 0 where it has none.
        output_names: those of the contract that the graph has, in its order.
        longest_run: windows that a run may have, at most; 1 of a graph that takes windows alone.
        device: 'cpu' or 'cuda': where it really runs.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        name: str = "model.onnx",
        device: str = "auto",
        threads: int = 1,
        batch_sizes: Sequence[int] = BATCH_SIZES,
    ) -> None:
        """
        Args:
            model: the .onnx bytes, or the file.
            name: what errors call it.
            device: 'cpu'; 'cuda', an error where CUDA does not work; 'auto', CUDA where it works.
            threads: onnxruntime's intra-op threads; 0 lets it take every core.
            batch_sizes: ascending, from 1 on: those that a GPU's batches are padded to; the last bounds any batch.

        Raises:
            InputError: not an ONNX file, or one that breaks the contract.
        """
        self.name = name
        self._run_options = ort.RunOptions()
        self.batch_sizes = tuple(batch_sizes)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # onnxruntime-gpu warns about every absent CUDA library otherwise
        self.device = resolve_device(device)
        providers = (
            ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.device == "cuda" else ["CPUExecutionProvider"]
        )
        data = model.read_bytes() if isinstance(model, Path) else model
        read_onnx(data, name)  # refuses tensors that lie elsewhere
        self._session = self._open(data, options, providers)
        if self.device == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            if device == "cuda":
                raise InputError(
                    f"{name}: device is 'cuda' but onnxruntime could not use it; install CUDA or set device to 'auto'"
                )
            self.device = "cpu"
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self.longest_run = 1
        self._takes_runs = False
        self.sample_shape = self._check_input(inputs)
        self.attribute_width = self._check_attributes(inputs.get(ATTRIBUTES))
        self.output_names = self._check_outputs()
        self._fetches = list(self.output_names)
        self._window_session = self._session
        batch_axis, row_axis = inputs["window"].shape[:2]
        if self._takes_runs and isinstance(row_axis, str) and row_axis != batch_axis:
            # With T given, onnxruntime folds what depends on it: one window costs no more than in a graph of windows.
            options.add_free_dimension_override_by_name(row_axis, self.window)
            self._window_session = self._open(data, options, providers)
        self.seconds_per_window = 0.0
        """What a window took when the graph was warmed up; 0 before."""
        self._at_once = 0 if self.device == "cuda" else self.largest_batch

    def _open(self, data: bytes, options: ort.SessionOptions, providers: Sequence[str]) -> ort.InferenceSession:
        try:
            return ort.InferenceSession(data, sess_options=options, providers=providers)
        except Exception as error:  # onnxruntime raises a family of unrelated types
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{self.name}: onnxruntime cannot load it ({first}); export it again") from error

    def _check_input(self, inputs: Mapping[str, Any]) -> tuple[int, ...]:
        if "window" not in inputs:
            raise InputError(
                f"{self.name}: inputs are {sorted(inputs)}, expected 'window' [N, W, C] float32; rename the graph's input"
            )
        others = sorted(set(inputs) - {"window", ATTRIBUTES})
        if others:
            raise InputError(
                f"{self.name}: inputs {others} are not part of the contract; bake them into the graph as constants"
            )
        entry = inputs["window"]
        shape = entry.shape
        if len(shape) == 3 and not isinstance(shape[1], int) and isinstance(shape[2], int):
            shape = [shape[0], self._check_runs(shape, inputs), shape[2]]
        if (
            entry.type != "tensor(float)"
            or len(shape) < 2
            or isinstance(shape[0], int)
            or not all(isinstance(s, int) for s in shape[1:])
        ):
            raise InputError(
                f"{self.name}: input 'window' is {entry.type} {shape}, expected tensor(float) [N, W, C] (rows) or [N, S] "
                "(samples) with a dynamic batch axis and the others static; export it with a dynamic first axis (and an "
                "example batch of 2)"
            )
        return tuple(int(size) for size in shape[1:])

    def _check_runs(self, shape: Sequence[Any], inputs: Mapping[str, Any]) -> int:
        """W of a graph whose row axis is dynamic."""
        if ATTRIBUTES in inputs:
            raise InputError(f"{self.name}: takes runs of rows and '{ATTRIBUTES}'; export it with a static row axis")
        said = self._session.get_modelmeta().custom_metadata_map
        found = {key: said.get(key, "") for key in (WINDOW_KEY, LONGEST_RUN_KEY)}
        if not all(text.isascii() and text.isdigit() and 0 < int(text) <= MOST_ROWS for text in found.values()):
            raise InputError(
                f"{self.name}: input 'window' is {list(shape)} with a dynamic row axis, and its metadata_props say {found}; expected "
                f"the rows of a window as '{WINDOW_KEY}' and the most windows of a run as '{LONGEST_RUN_KEY}', or a static row axis"
            )
        self.longest_run = int(found[LONGEST_RUN_KEY])
        self._takes_runs = True
        return int(found[WINDOW_KEY])

    def _check_attributes(self, entry: Any) -> int:
        if entry is None:
            return 0
        shape = entry.shape
        if (
            entry.type != "tensor(float)"
            or len(shape) != 2
            or isinstance(shape[0], int)
            or not isinstance(shape[1], int)
        ):
            raise InputError(
                f"{self.name}: input '{ATTRIBUTES}' is {entry.type} {shape}, expected tensor(float) [N, A] with a dynamic batch "
                "axis; export it with a dynamic first axis"
            )
        return int(shape[1])

    @property
    def window(self) -> int:
        """W: rows, or samples, of a window."""
        return self.sample_shape[0]

    @property
    def channels(self) -> int:
        """C of a graph that takes rows; 1 of one that takes samples."""
        return math.prod(self.sample_shape[1:])

    def _check_outputs(self) -> tuple[str, ...]:
        found = {entry.name: entry for entry in self._session.get_outputs()}
        ranks = {"score": 1, "contribution": 2, "expected": 2, "embedding": 2}
        for name in REQUIRED_OUTPUTS:
            if name not in found:
                raise InputError(
                    f"{self.name}: outputs are {sorted(found)}, '{name}' is missing; name the graph's outputs as in the contract"
                )
        names = tuple(name for name in (*REQUIRED_OUTPUTS, *OPTIONAL_OUTPUTS) if name in found)
        for name in names:
            shape = found[name].shape
            if self._takes_runs:
                if len(shape) != ranks[name] + 1:
                    raise InputError(
                        f"{self.name}: takes runs of rows and gives '{name}' as {shape}, expected [N, n] and what follows, n windows "
                        "of each run"
                    )
                shape = [shape[0], *shape[2:]]
            if name in ("contribution", "expected") and len(self.sample_shape) != 2:
                continue  # what a kind of input other than rows blames is that kind's to say
            if len(shape) != ranks[name] or (name in ("contribution", "expected") and shape[1] != self.channels):
                wanted = "[N]" if ranks[name] == 1 else f"[N, {self.channels if name != 'embedding' else 'D'}]"
                raise InputError(f"{self.name}: output '{name}' has shape {shape}, expected {wanted}")
        return names

    @property
    def largest_batch(self) -> int:
        """Windows that are run at a time at most."""
        if self.device == "cuda":
            return self.batch_sizes[-1]
        fitting = CPU_BATCH_BYTES // (4 * math.prod(self.sample_shape))
        return min(self.batch_sizes[-1], max(SMALLEST_CPU_BATCH, fitting))

    def most_runs(self, windows: int) -> int:
        """Runs of so many windows each that are scored at a time, at most."""
        return max(1, RUN_BATCH_BYTES // (4 * self.channels * (self.window - 1 + windows)))

    def is_run_cheaper(self, windows: int, stride: int = 1) -> bool:
        """Whether so many windows, each `stride` rows behind the one before, cost less as runs than one by one."""
        if self.longest_run == 1 or windows == 1 or stride >= self.longest_run or self.device == "cuda":
            return False  # a GPU would search for kernels for every length of a run
        each = min(windows, (self.longest_run - 1) // stride + 1)
        return self.window + RUN_ROW_COST * (each - 1) * stride < each * self.window

    def warm_up(self) -> None:
        """Run the batch sizes that count once, so that the first real batch is as fast as the others."""
        for size in self.batch_sizes if self.device == "cuda" else (1, self.largest_batch):
            if self.device == "cpu" and size * self.seconds_per_window > MOST_WARM_UP_S:
                return  # a shape costs a CPU nothing, the windows of this graph do
            began = time.perf_counter()
            self.run(np.zeros((size, *self.sample_shape), dtype=np.float32), self._unknown(size))
            self.seconds_per_window = (time.perf_counter() - began) / size
        if self.longest_run > 1:
            rows = self.window - 1 + self.longest_run
            self.run_rows(np.zeros((1, rows, self.channels), dtype=np.float32))

    def interrupt(self) -> None:
        """End a run that goes on in another thread, between two operators, and every later one: it then raises."""
        self._run_options.terminate = True

    def _unknown(self, count: int) -> np.ndarray | None:
        return np.zeros((count, self.attribute_width), dtype=np.float32) if self.attribute_width else None

    def run(self, windows: np.ndarray, attributes: np.ndarray | None = None) -> GraphOutput:
        """Score [N, *sample_shape] float32 windows; N is any number, 0 too.

        Args:
            attributes: [N, A] float32, of a graph that takes them; others ignore them.

        Raises:
            ValueError: the graph takes attributes, and none or others are given.
        """
        if not self.attribute_width:
            attributes = None
        elif attributes is None or attributes.shape != (len(windows), self.attribute_width):
            raise ValueError(
                f"{self.name}: attributes are {None if attributes is None else attributes.shape}, expected "
                f"{(len(windows), self.attribute_width)}"
            )
        if 0 < len(windows) <= self._at_once:
            return GraphOutput(**dict(zip(self.output_names, self._session_run(windows, attributes), strict=True)))
        if self.device == "cuda":
            runs = split_padded(len(windows), self.batch_sizes)
        else:
            step = self.largest_batch
            runs = [(start, min(step, len(windows) - start), 0) for start in range(0, len(windows), step)]
        parts = [
            self._run_batch(
                windows[start : start + length],
                size,
                None if attributes is None else attributes[start : start + length],
            )
            for start, length, size in runs
        ]
        if not parts:
            return self._empty()
        columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        return GraphOutput(**dict(zip(self.output_names, columns, strict=True)))

    def run_rows(self, rows: np.ndarray, stride: int = 1) -> GraphOutput:
        """Score the windows of stretches of rows, as runs where that is cheaper.

        Args:
            rows: [N, T, C] float32, each stretch W rows or more; a window begins at its first row.
            stride: rows between windows.

        Returns:
            outputs of N * ((T - W) // stride + 1) windows, a stretch after another.
        """
        count = rows.shape[1] - self.window + 1
        if count < 1:
            raise ValueError(f"{self.name}: {rows.shape[1]} rows, expected {self.window} or more")
        windows = (count - 1) // stride + 1
        each = (self.longest_run - 1) // stride + 1 if self.is_run_cheaper(windows, stride) else 1
        pieces = [(start, min(each, windows - start)) for start in range(0, windows, each)]
        # As many windows at a time as one batch of them has, or as runs fit the cache.
        most = self.largest_batch if each == 1 else self.most_runs(self.longest_run)
        parts = []
        for stretch in rows:
            place = 0
            while place < len(pieces):
                length = pieces[place][1]
                starts = [start * stride for start, alike in pieces[place : place + most] if alike == length]
                place += len(starts)
                reach = self.window + (length - 1) * stride
                batch = np.stack([stretch[start : start + reach] for start in starts])
                parts.append(self._run_alike(batch, stride))
        return joined(parts) if parts else self._empty()

    def run_together(self, rows: np.ndarray) -> GraphOutput:
        """Score runs of the same length at once, on the CPU.

        Args:
            rows: [N, T, C] float32; T - W + 1 windows, 1 to `longest_run`.

        Returns:
            outputs of N * (T - W + 1) windows, a run after another.
        """
        return GraphOutput(**dict(zip(self.output_names, self._session_run(rows, None), strict=True)))

    def _run_alike(self, rows: np.ndarray, stride: int) -> GraphOutput:
        """Every `stride`-th window of [N, T, C], T no more than the longest run has."""
        if rows.shape[1] == self.window:
            return self.run(rows)
        output = self.run_together(rows)
        if stride == 1:
            return output
        count = rows.shape[1] - self.window + 1
        picked = (np.arange(len(rows))[:, None] * count + np.arange(0, count, stride)).reshape(-1)
        return GraphOutput(**{name: getattr(output, name)[picked] for name in self.output_names})

    def _run_batch(self, windows: np.ndarray, size: int, attributes: np.ndarray | None) -> list[np.ndarray]:
        """Outputs of [n, *sample_shape] windows, run as a batch of `size` where that is more."""
        n = len(windows)
        if size > n:
            windows = padded(windows, size)
            attributes = None if attributes is None else padded(attributes, size)
        return [output[:n] for output in self._session_run(windows, attributes)]

    def _session_run(self, windows: np.ndarray, attributes: np.ndarray | None) -> list[np.ndarray]:
        feeds = {"window": np.ascontiguousarray(windows, dtype=np.float32)}
        if attributes is not None:
            feeds[ATTRIBUTES] = np.ascontiguousarray(attributes, dtype=np.float32)
        if not self._takes_runs:
            outputs: list[np.ndarray] = self._session.run(self._fetches, feeds, self._run_options)
            return outputs
        if windows.shape[1] == self.window:
            return [output[:, 0] for output in self._window_session.run(self._fetches, feeds, self._run_options)]
        runs = self._session.run(self._fetches, feeds, self._run_options)
        return [output.reshape(-1, *output.shape[2:]) for output in runs]

    def _empty(self) -> GraphOutput:
        # The width of an embedding is not always in the graph's metadata: ask the graph.
        outputs = self._run_batch(np.zeros((1, *self.sample_shape), dtype=np.float32), 1, self._unknown(1))
        return GraphOutput(**dict(zip(self.output_names, (output[:0] for output in outputs), strict=True)))
