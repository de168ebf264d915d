"""Rows of sensors as a kind of input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wheeltapper.schemas.bundle import BundleManifest
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.schemas.topics import SENSORS
from wheeltapper.stream.core.row_memory import RowLayout, row_layout
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds.contract import Intake, Routes
from wheeltapper.stream.kinds.sensors.decoding import Decoder
from wheeltapper.stream.kinds.sensors.evidence import ChannelEvidence
from wheeltapper.stream.kinds.sensors.memory import SensorMemory
from wheeltapper.stream.kinds.sensors.reading_intake import ReadingIntake
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.settings import Settings


class SensorKind:
    """See `stream.kinds.contract.InputKind`."""

    name = "sensors"
    topic = SENSORS
    asks_labels = True

    def stride(self, manifest: BundleManifest, settings: Settings) -> tuple[str, int | None]:
        """Rows."""
        return "windows.stride", settings.windows.stride

    def layout(self, pattern: str, rules: Sequence[RuleSpec]) -> RowLayout:
        """The rules' common channels, and rows for the longest window.

        Raises:
            InputError: the rules' bundles differ in channels.
        """
        first = rules[0].manifest
        for rule in rules[1:]:
            if rule.manifest.channel_names != first.channel_names:
                odd = sorted(set(rule.manifest.channel_names) ^ set(first.channel_names)) or "their order"
                raise InputError(
                    f"bundles {rules[0].bundle.location} and {rule.bundle.location} both serve machines '{pattern}' but "
                    f"differ in channels ({odd}); give each its own pattern, or train them on the same channels"
                )
        return row_layout(rules)

    def intake(self, routes: Routes, settings: Settings) -> Intake:
        """Reads messages as the [input] settings say, or those of [assembly] where messages carry readings one by one.

        Raises:
            InputError: settings that do not fit each other, or the bundles.
        """
        registry = SchemaRegistry(settings.registry)
        if settings.assembly.enabled:
            return ReadingIntake(routes, settings, registry)
        return Decoder(routes, settings.input, registry)

    def memory(self, layout: RowLayout) -> SensorMemory:
        """A machine without rows."""
        return SensorMemory(layout)

    def evidence(self, rule: RuleSpec) -> ChannelEvidence:
        """Shares of channels."""
        return ChannelEvidence(rule)

    def machine_of(self, name: str) -> str:
        """The name itself."""
        return name

    def ended(self, name: str, header: Mapping[str, Any], reason: ClearReason) -> Sequence[AlertEvent]:
        """Nothing: rows have no alerts but those of rules."""
        return ()
