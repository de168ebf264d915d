"""Settings of the worker: the sections, and where their values come from."""

from wheeltapper.stream.settings.adaptation import AdaptationSettings, DriftSettings
from wheeltapper.stream.settings.alarms import LabelSettings, MaintenanceSettings, NoDataSettings, ThresholdSettings
from wheeltapper.stream.settings.assembly import AssemblySettings
from wheeltapper.stream.settings.audio import AudioSettings
from wheeltapper.stream.settings.bundles import BundleSettings
from wheeltapper.stream.settings.clients import confluent_config
from wheeltapper.stream.settings.connection import KafkaSettings, Section, TopicSettings
from wheeltapper.stream.settings.input import InputSettings, WindowSettings
from wheeltapper.stream.settings.joint import JointSettings
from wheeltapper.stream.settings.load import ENVIRONMENT_PREFIX, load_settings
from wheeltapper.stream.settings.process import ControlSettings, ScoringSettings, StateSettings, WorkerSettings
from wheeltapper.stream.settings.registry import RegistrySettings
from wheeltapper.stream.settings.routes import RouteSetting
from wheeltapper.stream.settings.sections import Settings

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
