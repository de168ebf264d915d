"""Kinds of input, by the name that a bundle's manifest gives."""

from __future__ import annotations

from wheeltapper.stream.kinds.audio.kind import AudioKind
from wheeltapper.stream.kinds.contract import InputKind
from wheeltapper.stream.kinds.sensors.kind import SensorKind

KINDS: dict[str, InputKind] = {"sensors": SensorKind(), "audio": AudioKind()}
