"""The bundle: what training hands to the stream."""

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
