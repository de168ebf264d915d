"""What every detector hands over once it is fitted: a graph under the contract, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle.graph import GraphOutput
    from wheeltapper.schemas.bundle.manifest import AttributeSpec


class Fitted(Protocol):
    """What every fitted detector says and exports, whatever its input."""

    @property
    def detector(self) -> str:
        """Its name, e.g. 'range-bands'."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same training data would give other scores."""
        ...

    @property
    def window(self) -> int:
        """Rows of a window, or samples of one channel."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Settings worth reading in the manifest (JSON types)."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Blind spots found while fitting, one sentence each."""
        ...

    def onnx_bytes(self) -> bytes:
        """The graph under the contract of `wheeltapper.schemas.bundle.graph`, opset >= 17."""
        ...

    def torchscript_bytes(self) -> bytes | None:
        """The same graph as TorchScript: forward(window[, attributes]) -> dict or tuple in contract order; None without torch."""
        ...


@runtime_checkable
class FittedDetector(Fitted, Protocol):
    """A fitted detector of rows, ready to be bundled; not changed once it is fitted. Its graph takes [N, W, C] float32 in raw units."""

    @property
    def lag(self) -> int:
        """Rows between the scored row and the window's last."""
        ...

    @property
    def warm_up(self) -> int | None:
        """Rows of a machine after which it can score, where that is before the window is full; None where it needs all.

        Where it is a number, the graph takes windows whose first W - warm_up rows, or fewer, are NaN in every channel: rows that
        have not been yet.
        """
        ...


@runtime_checkable
class KeepsWeights(Protocol):
    """A fitted detector whose training can go on later; its bundle keeps what that needs."""

    def weights(self) -> Mapping[str, np.ndarray]:
        """Every parameter and buffer of what was trained, by `<part>/<name>`; none where there is nothing to keep."""
        ...


@runtime_checkable
class FittedSound(Fitted, Protocol):
    """A fitted detector of sound or vibration, ready to be bundled; not changed once it is fitted.

    Its graph takes `window` [N, C * S] float32, the channels' samples one after another, and, where `attributes` is not empty,
    `attributes` [N, A] float32 as `wheeltapper.schemas.bundle.attributes.attribute_row` makes them. It gives `score` [N],
    `contribution` [N, F, T] (0 or more) and `embedding` [N, D], finite for every finite window, silence and clipping too.
    """

    @property
    def sample_rate(self) -> int:
        """Hz, of the samples that the graph takes."""
        ...

    @property
    def channels(self) -> int:
        """C: 1 of a microphone."""
        ...

    @property
    def bands(self) -> tuple[tuple[int, float, float], ...]:
        """F rows of the contribution: (channel index, low Hz, high Hz), channel after channel, each from low to high."""
        ...

    @property
    def time_columns(self) -> int:
        """T columns of the contribution: equal parts of the window, the oldest first."""
        ...

    @property
    def attributes(self) -> tuple[AttributeSpec, ...]:
        """What of the operating point the graph takes; empty: it has no such input."""
        ...


class WindowScorer(Protocol):
    """What scores windows: an ONNX graph (`wheeltapper.schemas.bundle.graph.Graph`), or a torch module in its place."""

    @property
    def window(self) -> int:
        """W, rows."""
        ...

    @property
    def channels(self) -> int:
        """C."""
        ...

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes of batches that it takes without padding, ascending."""
        ...

    def run(self, windows: np.ndarray) -> GraphOutput:
        """[n, W, C] float32, raw units, to what the contract says."""
        ...
