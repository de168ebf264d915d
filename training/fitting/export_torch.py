"""Exports a torch module under the graph contract, to ONNX and to TorchScript, and checks that the graph agrees with it.

That the TorchScript twin agrees with the graph is `wheeltapper.training.fitting.export_check.check_twin`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import nn

from wheeltapper.training.fitting.export_check import (
    RELATIVE_TOLERANCE,
    ExportError,
    differences,
    open_for_check,
    outputs_by_name,
)

# LayerNormalization came with 17; the exporter's own optimiser is written for 18 and later.
OPSET = 18
# torch's exporter takes an example batch of 1 for a constant and freezes the batch axis without a word.
EXAMPLE_BATCH = 2


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


def _example(*shape: int) -> torch.Tensor:
    values = np.random.default_rng(0).standard_normal((EXAMPLE_BATCH, *shape))
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
    return _cleaned(model)


def export_onnx_traced(module: nn.Module, window: int, channels: int, output_names: Sequence[str]) -> bytes:
    """As `export_onnx`, by torch's older exporter, which traces: a twentieth of the time.

    For modules without branches that depend on values; `prove_parity` shows whether it came out right.

    Raises:
        ExportError: torch could not export it.
    """
    return _traced_onnx(module, {"window": _example(window, channels)}, output_names)


def export_sound_onnx(module: nn.Module, samples: int, attributes: int, output_names: Sequence[str]) -> bytes:
    """A module under the contract of sound as ONNX, traced: `window` [N, samples] and, where there are any, `attributes` [N, A].

    Args:
        samples: of all channels together.
        attributes: A; 0 leaves the input out.

    Raises:
        ExportError: torch could not export it.
    """
    return _traced_onnx(module, _sound_example(samples, attributes), output_names)


def _sound_example(samples: int, attributes: int) -> dict[str, torch.Tensor]:
    return {"window": _example(samples)} | ({"attributes": _example(attributes)} if attributes else {})


def _traced_onnx(module: nn.Module, inputs: Mapping[str, torch.Tensor], output_names: Sequence[str]) -> bytes:
    module = module.eval().cpu()
    examples, names, buffer = tuple(inputs.values()), list(output_names), io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                examples,
                buffer,
                dynamo=False,
                dynamic_axes={name: {0: "N"} for name in (*inputs, *names)},
                input_names=list(inputs),
                output_names=names,
                opset_version=OPSET,
            )
            shapes = [output.shape for output in module(*examples)]
    except Exception as error:
        raise ExportError(f"torch.onnx.export failed: {str(error).strip().splitlines()[0]}") from error
    model = onnx.load_model_from_string(buffer.getvalue())
    for output, shape in zip(model.graph.output, shapes, strict=True):
        for axis in range(1, len(shape)):  # it forgets what reshaping leaves static
            output.type.tensor_type.shape.dim[axis].dim_value = shape[axis]
    return _cleaned(model)


def _cleaned(model: onnx.ModelProto) -> bytes:
    """Without what the exporter says of files and lines; checked."""
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
    return _traced_script(module, (_example(window, channels),))


def export_sound_torchscript(module: nn.Module, samples: int, attributes: int) -> bytes:
    """As `export_sound_onnx`, to TorchScript: forward(window[, attributes]) -> tuple of outputs in contract order."""
    return _traced_script(module, tuple(_sound_example(samples, attributes).values()))


def _traced_script(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> bytes:
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module.eval().cpu(), examples, check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return _without_debug_files(buffer.getvalue())


def _without_debug_files(archive: bytes) -> bytes:
    """A TorchScript archive less the source files and line numbers of whoever wrote it; loading does not need them."""
    cleaned = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(cleaned, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                # A fixed time: the same module, exported first thing in another process, gives the same bytes.
                target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), source.read(name))
    return cleaned.getvalue()


def prove_parity(
    module: nn.Module,
    onnx_bytes: bytes,
    windows: np.ndarray,
    attributes: np.ndarray | None = None,
    *,
    largest: int | None = None,
) -> dict[str, float]:
    """Run the same windows through the module and its ONNX graph, in batches of 1, 2, 3 and the largest.

    Args:
        windows: [n, W, C] float32, raw units, or [n, C * S] of sound; repeated where a batch needs more.
        attributes: [n, A] of a module that takes them.
        largest: batch that is tried; None: what the size of a window allows.

    Returns:
        Largest relative difference by output.

    Raises:
        ExportError: a shape differs, or a value by more than `RELATIVE_TOLERANCE`.
    """
    graph = open_for_check(onnx_bytes, largest=largest)
    worst: dict[str, float] = {}
    usual = outputs_by_name(graph.run(windows.astype(np.float32, copy=False), attributes))
    for size in graph.batch_sizes:
        batch = np.resize(windows, (size, *windows.shape[1:])).astype(np.float32, copy=False)
        rows = None if attributes is None else np.resize(attributes, (size, attributes.shape[1])).astype(np.float32)
        with torch.no_grad():
            given = [torch.from_numpy(values) for values in (batch, rows) if values is not None]
            truth = [output.numpy() for output in module(*given)]
        named = dict(zip(graph.output_names, truth, strict=True))
        for name, difference in differences(graph.run(batch, rows), named, usual).items():
            worst[name] = max(worst.get(name, 0.0), difference)
            if not difference <= RELATIVE_TOLERANCE:
                raise ExportError(
                    f"output '{name}' of the ONNX graph differs from torch by {difference:.2g} at a batch of {size}, at "
                    f"most {RELATIVE_TOLERANCE:g} is allowed"
                )
    return worst
