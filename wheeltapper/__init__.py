"""Streaming anomaly detection for industry: sensor rows in on Kafka, alerts and the channels to blame out.

The names below are the public interface; each is imported on first use, so that a worker loads nothing that it does not need.
Everything else may change between releases.

    from wheeltapper import evaluate_bundle, load_series, open_bundle

    report = evaluate_bundle(open_bundle("bundles/pump-1"), load_series("simulated", None, "pump-1"))
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle import Bundle, open_bundle
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.schemas.events import AlertEvent
    from wheeltapper.stream.pipeline import Pipeline
    from wheeltapper.stream.routes import load_routes
    from wheeltapper.stream.settings import Settings, load_settings
    from wheeltapper.training.datasets.registry import load_series
    from wheeltapper.training.detectors.registry import train_detector
    from wheeltapper.training.judging.evaluation import evaluate_bundle

__version__ = "0.1.0"

# From 1.31 on onnxruntime reports its use to its maker over the network, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "AlertEvent",
    "Bundle",
    "InputError",
    "Pipeline",
    "Settings",
    "evaluate_bundle",
    "load_routes",
    "load_series",
    "load_settings",
    "open_bundle",
    "train_detector",
]

_HOMES = {
    "AlertEvent": "schemas.events",
    "Bundle": "schemas.bundle",
    "InputError": "schemas.errors",
    "Pipeline": "stream.pipeline",
    "Settings": "stream.settings",
    "evaluate_bundle": "training.judging.evaluation",
    "load_routes": "stream.routes",
    "load_series": "training.datasets.registry",
    "load_settings": "stream.settings",
    "open_bundle": "schemas.bundle",
    "train_detector": "training.detectors.registry",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wheeltapper' has no attribute '{name}'; public names are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"wheeltapper.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
