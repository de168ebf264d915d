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
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from wheeltapper.schemas.errors import InputError

ATTRIBUTES = "attributes"
REQUIRED_OUTPUTS = ("score", "contribution")
OPTIONAL_OUTPUTS = ("expected", "embedding")

# On a GPU every batch is padded to one of these: a new shape costs it a search for kernels, up to half a second.
BATCH_SIZES = (1, 8, 32, 128, 512)

# On a CPU a new shape costs nothing, so padding would only be work; what costs is a batch that outgrows the core's cache.
CPU_BATCH_BYTES = 640 * 1024
SMALLEST_CPU_BATCH = 16


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """Outputs of N windows; shapes as in the contract."""

    score: np.ndarray
    contribution: np.ndarray
    expected: np.ndarray | None = None
    embedding: np.ndarray | None = None


class Graph:
    """One ONNX Runtime session under the contract. Not to be run from two threads at a time.

    Attributes:
        window, channels: W and C.
        attribute_width: A, columns of the input `attributes`; 0 where it has none.
        output_names: those of the contract that the graph has, in its order.
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
        self.batch_sizes = tuple(batch_sizes)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # onnxruntime-gpu warns about every absent CUDA library otherwise
        self.device = _resolve_device(device)
        providers = (
            ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.device == "cuda" else ["CPUExecutionProvider"]
        )
        data = model.read_bytes() if isinstance(model, Path) else model
        try:
            self._session = ort.InferenceSession(data, sess_options=options, providers=providers)
        except Exception as error:  # onnxruntime raises a family of unrelated types
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{name}: onnxruntime cannot load it ({first}); export it again") from error
        if self.device == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            if device == "cuda":
                raise InputError(
                    f"{name}: device is 'cuda' but onnxruntime could not use it; install CUDA or set device to 'auto'"
                )
            self.device = "cpu"
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self.sample_shape = self._check_input(inputs)
        self.attribute_width = self._check_attributes(inputs.get(ATTRIBUTES))
        self.output_names = self._check_outputs()
        self._fetches = list(self.output_names)
        self._at_once = 0 if self.device == "cuda" else self.largest_batch

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

    def warm_up(self) -> None:
        """Run the batch sizes that count once, so that the first real batch is as fast as the others."""
        for size in self.batch_sizes if self.device == "cuda" else (1, self.largest_batch):
            self.run(np.zeros((size, *self.sample_shape), dtype=np.float32), self._unknown(size))

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

    def _run_batch(self, windows: np.ndarray, size: int, attributes: np.ndarray | None) -> list[np.ndarray]:
        """Outputs of [n, *sample_shape] windows, run as a batch of `size` where that is more."""
        n = len(windows)
        if size > n:
            windows = _padded(windows, size)
            attributes = None if attributes is None else _padded(attributes, size)
        return [output[:n] for output in self._session_run(windows, attributes)]

    def _session_run(self, windows: np.ndarray, attributes: np.ndarray | None) -> list[np.ndarray]:
        feeds = {"window": np.ascontiguousarray(windows, dtype=np.float32)}
        if attributes is not None:
            feeds[ATTRIBUTES] = np.ascontiguousarray(attributes, dtype=np.float32)
        outputs: list[np.ndarray] = self._session.run(self._fetches, feeds)
        return outputs

    def _empty(self) -> GraphOutput:
        # The width of an embedding is not always in the graph's metadata: ask the graph.
        outputs = self._run_batch(np.zeros((1, *self.sample_shape), dtype=np.float32), 1, self._unknown(1))
        return GraphOutput(**dict(zip(self.output_names, (output[:0] for output in outputs), strict=True)))


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """[n, ..] to [size, ..]: repeating a real window keeps padding free of NaN and of denormal slow paths."""
    padded = np.empty((size, *rows.shape[1:]), dtype=np.float32)
    padded[: len(rows)] = rows
    padded[len(rows) :] = rows[:1]
    return padded


def split_padded(count: int, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(start, length, padded size) of the runs that score `count` windows: padding never doubles a run's work."""
    runs = []
    start = 0
    while start < count:
        left = count - start
        larger = next((size for size in sizes if size >= left), None)
        size = larger if larger is not None and larger <= 2 * left else max(size for size in sizes if size <= left)
        length = min(size, left)
        runs.append((start, length, size))
        start += length
    return runs


def _resolve_device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is '{device}', expected auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    has_build = "CUDAExecutionProvider" in ort.get_available_providers()
    usable = has_build and _cuda_driver_answers()
    if device == "cuda" and not has_build:
        raise InputError(
            "device is 'cuda' but the installed onnxruntime is the CPU's build; 'pip uninstall onnxruntime', then "
            "'pip install --force-reinstall onnxruntime-gpu[cuda,cudnn]', or set device to 'auto' or 'cpu'"
        )
    if device == "cuda" and not usable:
        raise InputError(
            "device is 'cuda' but no CUDA driver answers on this machine; install the NVIDIA driver, or set device to 'auto' or 'cpu'"
        )
    return "cuda" if usable else "cpu"


def _cuda_driver_answers() -> bool:
    # Asking the driver first keeps onnxruntime from printing an error for each library that is not there.
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return int(driver.cuInit(0)) == 0
