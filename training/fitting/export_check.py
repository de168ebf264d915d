"""Checks that an exported graph keeps the graph contract, before a bundle is written.

Checked on real windows and on grossly disturbed ones: outputs finite and contributions non-negative; the same result in
a batch of 1, 2, 3 and the largest, which a frozen batch axis or a mix-up across the batch would break; of a graph that takes runs
of rows the same result in runs of 1, 2, 7 and the longest, with missing values and rows that have not been yet; and the
TorchScript twin's outputs equal to the graph's. A twin takes single windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import numpy as np

from wheeltapper.schemas.bundle.graph import BATCH_SIZES, OPTIONAL_OUTPUTS, REQUIRED_OUTPUTS, Graph, GraphOutput, joined
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.fitting.training_rows import channel_medians

RELATIVE_TOLERANCE = 1e-4
# A channel that hardly moves comes out of the same float32 sums as the others: its noise is a share of theirs.
EXPECTED_FLOOR = 0.2
# Outputs whose usual size is that over all tried windows, not that of the window at hand.
SIZED_OVER_WINDOWS = ("score", "expected", "embedding")
# A score far below the largest of the tried windows is compared with that share of it.
SCORE_FLOOR = 1e-3
# The same for a contribution: what is blamed for next to nothing is the rounding of float32.
CONTRIBUTION_FLOOR = 1e-3
SMALL_BATCHES = (1, 2, 3)
RUNS = (1, 2, 7)
# float32 values of the largest batch tried: 128 MB, several of which a graph holds at a time.
_LARGEST_BATCH_VALUES = 2**25


class ExportError(Exception):
    """An exported graph and its twin disagree: a fault of the detector's code, not of the user."""


def probe_windows(train: np.ndarray, window: int, *, seed: int = 0, normal: int = 4) -> np.ndarray:
    """Windows that a graph is tried with: some of training, and the same disturbed.

    Args:
        train: [T, C] raw units, NaN allowed; T >= window.
        seed: of the disturbances.
        normal: undisturbed windows, spread over the train part; four disturbed ones follow.

    Returns:
        [normal + 4, W, C] float32 without NaN. Disturbed, each from another place: a third of the channels far above
        their range in the last rows; a third far below; every channel stuck at its first value with one jump in the
        last row; all channels noise of ten times their range.
    """
    generator = np.random.default_rng(seed)
    typical = channel_medians([train])
    starts = np.linspace(0, len(train) - window, normal + 4).astype(int)
    windows = np.stack([carry_forward(train[start : start + window], typical) for start in starts]).astype(np.float32)
    channels = train.shape[1]
    with np.errstate(all="ignore"):
        span = np.nan_to_num(np.nanmax(train, axis=0) - np.nanmin(train, axis=0)).astype(np.float32)
    span = np.where(span > 0, span, np.maximum(np.abs(typical), 1.0)).astype(np.float32)
    rows = max(1, window // 8)
    chosen = generator.permutation(channels)[: max(1, channels // 3)]
    above, below, stuck, noise = windows[normal:]
    above[-rows:, chosen] += 5 * span[chosen]
    below[-rows:, chosen] -= 5 * span[chosen]
    stuck[:] = stuck[0]
    stuck[-1] += span
    noise += 10 * span * generator.standard_normal(noise.shape, dtype=np.float32)
    return windows


def warming_windows(windows: np.ndarray, warm_up: int) -> np.ndarray:
    """What a graph sees while a machine warms up: [n, W, C] windows whose first rows are not there yet (NaN).

    Returns:
        [3, W, C]: the first window with so many rows missing that `warm_up` are left, with half as many, and with one.
    """
    missing = windows.shape[1] - warm_up
    found = np.repeat(windows[:1], 3, axis=0)
    for window, rows in zip(found, (missing, missing // 2, min(missing, 1)), strict=True):
        window[:rows] = np.nan
    return found


def open_for_check(model: bytes, name: str = "model.onnx", *, largest: int | None = None) -> Graph:
    """The graph on the CPU, with batches of exactly 1, 2, 3 and the largest: the stream's padding would hide 2 and 3.

    Args:
        largest: batch that is tried; None: what the size of a window allows.

    Raises:
        InputError: not an ONNX file, or one that breaks the contract.
    """
    probe = Graph(model, name=name, device="cpu")
    values = probe.window * probe.channels
    if largest is None:
        largest = max((size for size in BATCH_SIZES if size * values <= _LARGEST_BATCH_VALUES), default=BATCH_SIZES[1])
    return Graph(model, name=name, device="cpu", batch_sizes=(*SMALL_BATCHES, largest))


def check_graph(graph: Graph, windows: np.ndarray, attributes: np.ndarray | None = None) -> GraphOutput:
    """Run windows and hold a graph of `open_for_check` to its contract.

    Args:
        windows: [n, W, C], or [n, C * S] of sound.
        attributes: [n, A], of a graph that takes them.

    Returns:
        The outputs, computed one window at a time.

    Raises:
        InputError: an output is not finite or negative where it must not be, has another shape than promised, or
            depends on the batch.
    """
    sizes = graph.batch_sizes
    try:
        each = (
            (windows[i : i + 1], None if attributes is None else attributes[i : i + 1]) for i in range(len(windows))
        )
        alone = joined([graph.run(window, row) for window, row in each])
        together = {
            size: graph.run(_repeated(windows, size), None if attributes is None else _repeated(attributes, size))
            for size in sizes
        }
    except Exception as error:  # onnxruntime raises a family of unrelated types
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{graph.name}: cannot score batches of {', '.join(map(str, sizes))} windows ({first}); export it with a "
            "dynamic first axis and an example batch of 2"
        ) from error
    for name, value in outputs_by_name(alone).items():
        if not np.isfinite(value).all():
            raise InputError(
                f"{graph.name}: output '{name}' is not finite for {_where(value)}; guard divisions and logarithms"
            )
    for size, output in together.items():
        wanted = {name: _repeated(value, size) for name, value in outputs_by_name(alone).items()}
        for name, difference in differences(output, wanted, outputs_by_name(alone)).items():
            if not difference <= RELATIVE_TOLERANCE:
                raise InputError(
                    f"{graph.name}: output '{name}' of a window differs by {difference:.2g} between a batch of 1 and of "
                    f"{size}, at most {RELATIVE_TOLERANCE:g} is allowed; export it for inference, with windows independent of each other"
                )
    if (alone.contribution < 0).any():
        raise InputError(
            f"{graph.name}: output 'contribution' is negative (least {alone.contribution.min():.3g}), expected 0 or more; "
            "give magnitudes, such as squared errors"
        )
    if graph.longest_run > 1:
        check_runs(graph, windows)
    return alone


def check_runs(graph: Graph, windows: np.ndarray) -> None:
    """Hold a graph that takes runs of rows to the scores that it gives the same windows one by one.

    Args:
        windows: [n, W, C]; the rows tried are theirs one after another, missing values and all.

    Raises:
        InputError: an output differs, or a run of some length cannot be scored.
    """
    rows = stretches(windows, graph.window - 1 + graph.longest_run)
    usual = None
    for length in (*RUNS, graph.longest_run):
        # The last windows of a stretch: those of the longest run reach into what comes before.
        part = rows[:, -(graph.window - 1 + length) :]
        try:
            found = graph.run_together(part)
        except Exception as error:  # onnxruntime raises a family of unrelated types
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{graph.name}: cannot score runs of {length} windows ({first}); its metadata_props say that it takes up to "
                f"{graph.longest_run}"
            ) from error
        apart = np.concatenate([windows_of(stretch, graph.window) for stretch in part])
        wanted = outputs_by_name(graph.run(apart))
        usual = outputs_by_name(graph.run(windows)) if usual is None else usual
        for name, difference in differences(found, wanted, usual).items():
            if not difference <= RELATIVE_TOLERANCE:
                raise InputError(
                    f"{graph.name}: output '{name}' differs by {difference:.2g} between a run of {length} windows and these alone, at "
                    f"most {RELATIVE_TOLERANCE:g} is allowed; a step of it depends on where a window begins: export it for windows"
                )


def stretches(windows: np.ndarray, length: int) -> np.ndarray:
    """[3, length, C] rows of [n, W, C] windows one after another: in their order, the last first, and with rows and values missing."""
    window, channels = windows.shape[1:]
    rows = np.stack(
        [np.resize(order, (length // window + 1, *windows.shape[1:])) for order in (windows, windows[::-1], windows)]
    )
    found = rows.reshape(3, -1, channels)[:, -length:].copy()
    found[2, : window // 2] = np.nan
    found[2, window // 2 :: max(2, window // 5), channels // 2] = np.nan
    found[2, -max(1, window // 3) :, 0] = np.nan
    return found


def check_twin(
    torchscript: bytes, graph: Graph, windows: np.ndarray, attributes: np.ndarray | None = None
) -> dict[str, float]:
    """Compare the TorchScript twin with a graph of `open_for_check` at every batch size; needs torch.

    Returns:
        Largest relative difference by output.

    Raises:
        ExportError: a difference above `RELATIVE_TOLERANCE`.
    """
    import warnings

    import torch

    with warnings.catch_warnings():
        # torch calls TorchScript legacy at every use.
        warnings.simplefilter("ignore")
        module = torch.jit.load(BytesIO(torchscript), map_location="cpu")
    worst: dict[str, float] = {}
    usual = outputs_by_name(graph.run(windows, attributes))
    for size in graph.batch_sizes:
        batch = _repeated(windows, size)
        rows = None if attributes is None else _repeated(attributes, size)
        given = [torch.from_numpy(values) for values in (batch, rows) if values is not None]
        with torch.no_grad():
            outputs = module(*given)
        named = outputs if isinstance(outputs, dict) else dict(zip(graph.output_names, outputs, strict=True))
        found = {name: value.numpy() for name, value in named.items()}
        for name, difference in differences(graph.run(batch, rows), found, usual).items():
            worst[name] = max(worst.get(name, 0.0), difference)
            if not difference <= RELATIVE_TOLERANCE:
                raise ExportError(
                    f"TorchScript: output '{name}' differs from {graph.name} by {difference:.2g} at a batch of {size}, "
                    f"at most {RELATIVE_TOLERANCE:g} is allowed"
                )
    return worst


def differences(
    found: GraphOutput, wanted: Mapping[str, np.ndarray], usual: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """Largest relative difference by output; infinite where shapes differ or a value is missing.

    Args:
        usual: outputs of more windows than these, to tell how large an output usually is; none: `wanted` itself. A
            batch of one may happen to hold nothing but values near 0, which have no relative precision.
    """
    result: dict[str, float] = {}
    for name, value in outputs_by_name(found).items():
        other = wanted.get(name)
        if other is None or other.shape != value.shape:
            result[name] = float("inf")
            continue
        value, other = value.astype(np.float64), other.astype(np.float64)
        scale = np.maximum(np.maximum(np.abs(other), _typical_size(name, other)), 1e-30)
        if usual is not None and name in SIZED_OVER_WINDOWS:
            scale = np.maximum(scale, _typical_size(name, usual[name].astype(np.float64)))
        if name == "contribution":
            # With one channel, nothing else in the window says how large a contribution usually is.
            largest = np.abs(other if usual is None else usual[name]).max(initial=0.0)
            scale = np.maximum(scale, CONTRIBUTION_FLOOR * largest)
        difference = np.abs(value - other) / scale
        result[name] = float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
    return result


def _repeated(values: np.ndarray, size: int) -> np.ndarray:
    """The first `size` rows of `values` repeated without end."""
    return np.resize(values, (size, *values.shape[1:]))


def _typical_size(name: str, values: np.ndarray) -> np.ndarray:
    """What differences are measured against where an entry itself is nearly 0, which has no relative precision.

    For 'score' a share of the largest; for 'expected' the channel's own size, as channels have units, but no less than a
    share of the largest channel's, as all come out of one sum; for 'embedding' its largest entry; else the window's size.
    """
    if name == "score":
        return SCORE_FLOOR * np.abs(values).max(initial=0.0, keepdims=True)
    if name == "expected":
        by_channel = np.abs(values).max(axis=0, initial=0.0, keepdims=True)
        return np.maximum(by_channel, EXPECTED_FLOOR * by_channel.max(initial=0.0))
    if name == "embedding":
        return np.abs(values).max(initial=0.0, keepdims=True)
    return np.sqrt(np.mean(np.square(values), axis=tuple(range(1, values.ndim)), keepdims=True))


def outputs_by_name(output: GraphOutput) -> dict[str, np.ndarray]:
    """By contract name, in its order, as far as the graph has them."""
    values = {name: getattr(output, name) for name in (*REQUIRED_OUTPUTS, *OPTIONAL_OUTPUTS)}
    return {name: value for name, value in values.items() if value is not None}


def _where(value: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
    return f"{len(bad)} of {len(value)} tried windows (the second half of them is disturbed on purpose)"
