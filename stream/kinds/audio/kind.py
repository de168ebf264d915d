"""Sound and vibration as a kind of input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wheeltapper.schemas.audio_chunk import split_source
from wheeltapper.schemas.bundle import BundleManifest
from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.schemas.topics import AUDIO
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds.audio.evidence import BandEvidence
from wheeltapper.stream.kinds.audio.health import dead_microphone
from wheeltapper.stream.kinds.audio.intake import AudioIntake
from wheeltapper.stream.kinds.audio.layout import ClipLayout, clip_layout
from wheeltapper.stream.kinds.audio.memory import ClipMemory
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.settings import Settings


class AudioKind:
    """See `stream.kinds.contract.InputKind`. A state is kept of each microphone of a machine, named machine::microphone."""

    name = "audio"
    topic = AUDIO
    asks_labels = False
    """A question carries rows."""

    def stride(self, manifest: BundleManifest, settings: Settings) -> tuple[str, int | None]:
        """Samples."""
        hop_s = settings.audio.hop_s
        return "audio.hop_s", None if hop_s is None else max(1, round(hop_s / manifest.sampling_interval_s))

    def layout(self, pattern: str, rules: Sequence[RuleSpec]) -> ClipLayout:
        """See `clip_layout`."""
        return clip_layout(pattern, rules)

    def intake(self, routes: Routes, settings: Settings) -> AudioIntake:
        """Reads messages as the [audio] settings say."""
        return AudioIntake(routes, settings.audio)

    def memory(self, layout: ClipLayout) -> ClipMemory:
        """A microphone without samples."""
        return ClipMemory(layout)

    def evidence(self, rule: RuleSpec) -> BandEvidence:
        """Shares of frequency bands, patches, and where the clip lies."""
        return BandEvidence(rule)

    def machine_of(self, name: str) -> str:
        """The machine without the microphone."""
        return split_source(name)[0]

    def ended(self, name: str, header: Mapping[str, Any], reason: ClearReason) -> Sequence[AlertEvent]:
        """The end of an open alert of a dead microphone."""
        health = header.get("health")
        opened = health.get("opened_at") if isinstance(health, dict) else None
        if not isinstance(opened, int):
            return ()
        last = header.get("last_time")
        return (dead_microphone(name, opened, last if isinstance(last, int) else opened, reason=reason),)
