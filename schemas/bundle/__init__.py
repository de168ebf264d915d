"""The bundle: what training hands to the stream."""

from schemas.bundle.graph import Graph, GraphOutput
from schemas.bundle.manifest import Calibration, Channel, Manifest, TensorSpec, TrainingData
from schemas.bundle.store import Bundle, open_bundle, write_bundle_folder

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
