"""What every detector that is fitted without torch shares once it is fitted, of rows or of sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

from wheeltapper.models.settings import DetectorSettings

Settings = TypeVar("Settings", bound=DetectorSettings)


@dataclass(frozen=True, kw_only=True, eq=False)
class NumpyFitted(ABC, Generic[Settings]):
    """Base of a fitted detector; the better part of `wheeltapper.models.fitted.Fitted`.

    Attributes:
        settings: that it was fitted with.
        warnings: blind spots found while fitting, one sentence each.
    """

    VERSION: ClassVar[int] = 1

    settings: Settings
    warnings: tuple[str, ...] = ()

    @property
    def detector(self) -> str:
        return self.settings.DETECTOR

    @property
    def version(self) -> int:
        return self.VERSION

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The settings, and what the fit made of them."""
        return asdict(self.settings)

    @abstractmethod
    def onnx_bytes(self) -> bytes:
        """The graph; needs onnx."""

    def torchscript_bytes(self) -> bytes | None:
        """The same graph for libtorch; None where torch is not installed."""
        try:
            return self.build_torchscript()
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            return None

    @abstractmethod
    def build_torchscript(self) -> bytes:
        """The same graph for libtorch; imports torch."""
