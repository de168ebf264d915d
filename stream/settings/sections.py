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

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    bundles: BundleSettings = BundleSettings()
    routes: dict[str, RouteSetting] = Field(
        default_factory=dict,
        description="Which bundles serve which machines: a machine's id, or a pattern (fnmatch) such as 'pump-*', and its bundles",
    )
    input: InputSettings = InputSettings()
    assembly: AssemblySettings = AssemblySettings()
    registry: RegistrySettings = RegistrySettings()
    audio: AudioSettings = AudioSettings()
    joint: JointSettings = JointSettings()
    windows: WindowSettings = WindowSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    scoring: ScoringSettings = ScoringSettings()
    control: ControlSettings = ControlSettings()
    drift: DriftSettings = DriftSettings()
    adaptation: AdaptationSettings = AdaptationSettings()
    labels: LabelSettings = LabelSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    no_data: NoDataSettings = NoDataSettings()
    state: StateSettings = StateSettings()
    worker: WorkerSettings = WorkerSettings()
