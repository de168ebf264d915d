"""Settings of the worker: the sections, and where their values come from."""

from wheeltapper.stream.settings.assembly import AssemblySettings
from wheeltapper.stream.settings.audio import AudioSettings
from wheeltapper.stream.settings.bundles import BundleSettings
from wheeltapper.stream.settings.clients import confluent_config
from wheeltapper.stream.settings.connection import KafkaSettings, Section, TopicSettings
from wheeltapper.stream.settings.joint import JointSettings
from wheeltapper.stream.settings.load import ENVIRONMENT_PREFIX, load_settings
from wheeltapper.stream.settings.registry import RegistrySettings
from wheeltapper.stream.settings.routes import RouteSetting
from wheeltapper.stream.settings.sections import (
    AdaptationSettings,
    ControlSettings,
    DriftSettings,
    InputSettings,
    LabelSettings,
    MaintenanceSettings,
    NoDataSettings,
    ScoringSettings,
    Settings,
    StateSettings,
    ThresholdSettings,
    WindowSettings,
    WorkerSettings,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "AdaptationSettings",
    "AssemblySettings",
    "AudioSettings",
    "BundleSettings",
    "ControlSettings",
    "DriftSettings",
    "InputSettings",
    "JointSettings",
    "KafkaSettings",
    "LabelSettings",
    "MaintenanceSettings",
    "NoDataSettings",
    "RegistrySettings",
    "RouteSetting",
    "ScoringSettings",
    "Section",
    "Settings",
    "StateSettings",
    "ThresholdSettings",
    "TopicSettings",
    "WindowSettings",
    "WorkerSettings",
    "confluent_config",
    "load_settings",
]
