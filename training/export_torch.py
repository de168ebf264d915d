"""Exports a torch module under the graph contract, to ONNX and to TorchScript, and proves that both agree with it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

# LayerNormalization came with 17; the exporter's own optimiser is written for 18 and later.
OPSET = 18
# torch's exporter takes an example batch of 1 for a constant and freezes the batch axis without a word.
EXAMPLE_BATCH = 2
PARITY_SIZES = (1, 2, 3, 512)
RELATIVE_TOLERANCE = 1e-4


class ExportError(Exception):
    """An exported graph does not do what the module does: our fault, not the user's."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's notes (absent torchvision operators, deprecations) off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _example(window: int, channels: int) -> torch.Tensor:
    values = np.random.default_rng(0).standard_normal((EXAMPLE_BATCH, window, channels))
    return torch.as_tensor(values, dtype=torch.float32)


def export_onnx(module: nn.Module, window: int, channels: int, output_names: Sequence[str]) -> bytes:
    """The module as ONNX: input 'window' [N, T, C] float32 with N dynamic, outputs as named, in that order.

    Same weights, same bytes: stack traces and file names, which the exporter adds to every node, are taken out.

    Raises:
        ExportError: torch could not export it.
    """
    module = module.eval().cpu()
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (_example(window, channels),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
                input_names=["window"],
                output_names=list(output_names),
                opset_version=OPSET,
                verbose=False,
            )
            model = program.model_proto
    except Exception as error:
        raise ExportError(f"torch.onnx.export failed: {str(error).strip().splitlines()[0]}") from error
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def export_torchscript(module: nn.Module, window: int, channels: int) -> bytes:
    """The module as TorchScript, traced: forward(window) -> tuple of outputs in contract order."""
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module.eval().cpu(), (_example(window, channels),), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest relative difference to torch, by output: |a - b| / max(|b|, scale of that output)."""

    onnx: dict[str, float]
    torchscript: dict[str, float]


def prove_parity(
    module: nn.Module,
    onnx_bytes: bytes,
    torchscript_bytes: bytes | None,
    windows: np.ndarray,
    output_names: Sequence[str],
    *,
    sizes: Sequence[int] = PARITY_SIZES,
    tolerance: float = RELATIVE_TOLERANCE,
) -> Parity:
    """Run the same windows through the module and its exports, at every batch size.

    Args:
        windows: [n, T, C] float32, raw units; repeated where a size needs more.

    Raises:
        ExportError: a shape differs, or a value by more than `tolerance`.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_bytes, sess_options=options, providers=["CPUExecutionProvider"])
    script = None
    if torchscript_bytes is not None:
        with quiet():
            script = torch.jit.load(io.BytesIO(torchscript_bytes), map_location="cpu")
    worst: dict[str, dict[str, float]] = {"onnx": {}, "torchscript": {}}
    for size in sizes:
        batch = np.resize(windows, (size, *windows.shape[1:])).astype(np.float32, copy=False)
        with torch.no_grad():
            truth = [output.numpy() for output in module(torch.from_numpy(batch))]
            found = {"onnx": session.run(list(output_names), {"window": batch})}
            if script is not None:
                found["torchscript"] = [output.numpy() for output in script(torch.from_numpy(batch))]
        for kind, outputs in found.items():
            for name, value, wanted in zip(output_names, outputs, truth, strict=True):
                difference = _difference(value, wanted)
                worst[kind][name] = max(worst[kind].get(name, 0.0), difference)
                if not difference <= tolerance:
                    raise ExportError(
                        f"{kind}: output '{name}' differs from torch by {difference:.2g} (relative) at batch {size}; "
                        f"at most {tolerance:g} is allowed"
                    )
    return Parity(worst["onnx"], worst["torchscript"])


def _difference(value: np.ndarray, wanted: np.ndarray) -> float:
    if value.shape != wanted.shape or not (np.isfinite(value) == np.isfinite(wanted)).all():
        return float("inf")
    # Against the output's own typical size: an entry that happens to be zero has no relative error.
    scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))) or 1.0
    return float(np.max(np.abs(value - wanted) / np.maximum(np.abs(wanted), scale), initial=0.0))
