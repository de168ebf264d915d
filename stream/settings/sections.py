"""Every setting of the worker: the sections together. docs/settings.md is made from it."""

from __future__ import annotations

from pydantic import Field

from wheeltapper.stream.settings.adaptation import AdaptationSettings, DriftSettings
from wheeltapper.stream.settings.alarms import LabelSettings, MaintenanceSettings, NoDataSettings, ThresholdSettings
from wheeltapper.stream.settings.assembly import AssemblySettings
from wheeltapper.stream.settings.audio import AudioSettings
from wheeltapper.stream.settings.bundles import BundleSettings
from wheeltapper.stream.settings.connection import KafkaSettings, Section, TopicSettings
from wheeltapper.stream.settings.input import InputSettings, WindowSettings
from wheeltapper.stream.settings.joint import JointSettings
from wheeltapper.stream.settings.process import ControlSettings, ScoringSettings, StateSettings, WorkerSettings
from wheeltapper.stream.settings.registry import RegistrySettings
from wheeltapper.stream.settings.routes import RouteSetting


class Settings(Section):
    """All sections."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    bundles: BundleSettings = Field(default_factory=BundleSettings)
    routes: dict[str, RouteSetting] = Field(
        default_factory=dict,
        description="Which bundles serve which machines: a machine's id, or a pattern (fnmatch) such as 'pump-*', and its bundles",
    )
    input: InputSettings = Field(default_factory=InputSettings)
    assembly: AssemblySettings = Field(default_factory=AssemblySettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    audio: AudioSettings = Field(default_factory=AudioSettings)
    joint: JointSettings = Field(default_factory=JointSettings)
    windows: WindowSettings = Field(default_factory=WindowSettings)
    threshold: ThresholdSettings = Field(default_factory=ThresholdSettings)
    scoring: ScoringSettings = Field(default_factory=ScoringSettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    adaptation: AdaptationSettings = Field(default_factory=AdaptationSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    maintenance: MaintenanceSettings = Field(default_factory=MaintenanceSettings)
    no_data: NoDataSettings = Field(default_factory=NoDataSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
