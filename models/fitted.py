"""What every detector hands over once it is fitted: a graph under the contract, and what to say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class FittedDetector(Protocol):
    """A fitted detector, ready to be bundled.

    Attributes:
        detector: its name, e.g. 'range-bands'.
        version: raised when the same training data would give other scores.
        window: W, rows. The graph takes [N, W, C] float32 in raw units.
        lag: rows between the scored row and the window's last.
        parameters: settings worth reading in the manifest (JSON types).
        warnings: blind spots found while fitting, one sentence each.

    A detector that can score before a machine's window is full has one more, `warm_up`: rows after which it can. Its graph
    then takes windows whose first W - warm_up rows, or fewer, are NaN in every channel: rows that have not been yet.
    """

    detector: str
    version: int
    window: int
    lag: int
    parameters: dict[str, Any]
    warnings: tuple[str, ...]

    def onnx_bytes(self) -> bytes:
        """The graph under the contract of `wheeltapper.schemas.bundle.graph`, opset >= 17."""
        ...

    def torchscript_bytes(self) -> bytes | None:
        """The same graph as TorchScript: forward(window) -> dict or tuple in contract order; None without torch."""
        ...


def where_torch_is(build: Callable[[], bytes]) -> bytes | None:
    """What `build` gives, which imports torch itself; None where torch is not installed."""
    try:
        return build()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
