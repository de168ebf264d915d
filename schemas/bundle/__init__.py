"""The bundle: what training hands to the stream.

Each name is imported on first use: who reads a manifest needs no onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle.graph import Graph, GraphOutput
    from wheeltapper.schemas.bundle.manifest import (
        MANIFESTS,
        AttributeSpec,
        AudioManifest,
        BundleManifest,
        Calibration,
        Channel,
        FrequencyBand,
        Manifest,
        SensorManifest,
        TensorSpec,
        TrainingData,
    )
    from wheeltapper.schemas.bundle.store import Bundle, open_bundle, write_bundle_folder

__all__ = [
    "MANIFESTS",
    "AttributeSpec",
    "AudioManifest",
    "Bundle",
    "BundleManifest",
    "Calibration",
    "Channel",
    "FrequencyBand",
    "Graph",
    "GraphOutput",
    "Manifest",
    "SensorManifest",
    "TensorSpec",
    "TrainingData",
    "open_bundle",
    "write_bundle_folder",
]

_HOMES = {
    **dict.fromkeys(("Graph", "GraphOutput"), "graph"),
    **dict.fromkeys(("Bundle", "open_bundle", "write_bundle_folder"), "store"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'manifest')}"), name)
