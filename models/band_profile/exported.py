"""A fitted band profile that exports itself; log-mel nearest neighbour, whose graph is the same, derives from it too."""

from __future__ import annotations

from typing import Generic

from wheeltapper.models.band_profile.fitted import FittedBandProfile
from wheeltapper.models.band_profile.graph import build_graph
from wheeltapper.models.sound.detector import Settings


class ExportedBandProfile(FittedBandProfile[Settings], Generic[Settings]):
    """Adds the exports; a `wheeltapper.models.fitted.FittedSound`."""

    def onnx_bytes(self) -> bytes:
        return build_graph(self)

    def build_torchscript(self) -> bytes:
        from wheeltapper.models.band_profile.torchscript import build_torchscript

        return build_torchscript(self)
