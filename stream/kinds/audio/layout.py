"""What sound of a machine looks like to its rules, and the attributes that a graph takes."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from wheeltapper.schemas.bundle import AttributeSpec, AudioManifest
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.rule import RuleSpec

NEEDED = ("soundfile", "soxr")


@dataclass(frozen=True, slots=True)
class ClipLayout:
    """
    Attributes:
        rate: samples a second of the bundles.
        channels: their names, in order.
        window: samples of the longest window.
        interval_us: time between samples, at least 1.
    """

    rate: int
    channels: tuple[str, ...]
    window: int
    interval_us: int


def audio_manifest(rule: RuleSpec) -> AudioManifest:
    """The rule's manifest, which is of sound."""
    return cast(AudioManifest, rule.manifest)


def clip_layout(pattern: str, rules: Sequence[RuleSpec]) -> ClipLayout:
    """The layout of microphones that these rules serve side by side.

    Raises:
        InputError: the rules' bundles differ in rate or channels, or what reads sound is not installed.
    """
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"{rules[0].bundle.location}: bundles of sound need {name}, which is not installed: "
                "pip install 'wheeltapper[audio]'"
            )
    first = audio_manifest(rules[0])
    for rule in rules[1:]:
        other = audio_manifest(rule)
        if (other.sample_rate, other.channel_names) != (first.sample_rate, first.channel_names):
            raise InputError(
                f"bundles {rules[0].bundle.location} ({_described(first)}) and {rule.bundle.location} ({_described(other)}) "
                f"both serve machines '{pattern}'; give each its own pattern, or train them on the same rate and channels"
            )
    return ClipLayout(
        first.sample_rate,
        first.channel_names,
        max(rule.manifest.window for rule in rules),
        max(1, round(1e6 / first.sample_rate)),
    )


def _described(manifest: AudioManifest) -> str:
    return f"{manifest.sample_rate} Hz, channels {', '.join(manifest.channel_names)}"


def attribute_columns(specs: Sequence[AttributeSpec], attributes: Mapping[str, float | str]) -> np.ndarray:
    """[A] float32 as a graph takes them: NaN for a number that is missing, zeros for a category that is missing or unknown."""
    columns: list[float] = []
    for spec in specs:
        value = attributes.get(spec.name)
        if spec.categories:
            text = value if isinstance(value, str) or value is None else f"{value:g}"
            columns += [float(text == category) for category in spec.categories]
        else:
            columns.append(math.nan if value is None or isinstance(value, str) else value)
    with np.errstate(over="ignore"):
        found = np.array(columns, dtype=np.float64).astype(np.float32)
    found[np.isinf(found)] = np.nan  # beyond what the graph's numbers hold: unknown
    return found
