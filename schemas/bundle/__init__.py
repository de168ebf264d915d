"""The bundle: what training hands to the stream."""

from wheeltapper.schemas.bundle.graph import Graph, GraphOutput
from wheeltapper.schemas.bundle.manifest import Calibration, Channel, Manifest, TensorSpec, TrainingData
from wheeltapper.schemas.bundle.store import Bundle, open_bundle, write_bundle_folder

__all__ = [
    "Bundle",
    "Calibration",
    "Channel",
    "Graph",
    "GraphOutput",
    "Manifest",
    "TensorSpec",
    "TrainingData",
    "open_bundle",
    "write_bundle_folder",
]
