"""[assembly]: rows from messages that carry readings one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from wheeltapper.stream.paths import alternatives, parse_path, tag_pattern
from wheeltapper.stream.settings.connection import Section

if TYPE_CHECKING:
    from wheeltapper.stream.core.readings import AssemblyRules


class TagTarget(Section):
    """What a tag is."""

    machine: str | None = Field(default=None, min_length=1, description="none: the message says it (input.machine)")
    channel: str | None = Field(default=None, min_length=1, description="none: named as the tag")


class AssemblySettings(Section):
    """Rows from messages that carry readings one by one, as gateways send them: docs/gateways.md has each form. Event time."""

    value: str = Field(
        default="",
        description="path of the value of a reading, with [*] for each item of a list and * for each field of an object, as in "
        "values[*].v or Messages[*].Payload.*.Value. '': messages hold whole rows, and this section is without effect. Paths here, and "
        "input.machine and input.time, begin at the message; their wildcards are those of this one; a | b: the first that is there",
    )
    tag: str | tuple[str, ...] = Field(
        default="tag",
        description="path of the reading's tag; '*': the names of the fields that * in assembly.value stands for, with dots between "
        "them; 'key': the record's key. A list of these: their texts with dots between them",
    )
    tags: dict[str, str | TagTarget] = Field(
        default_factory=dict,
        description='tag -> channel, or tag -> {machine = "pump-1", channel = "flow"}. Without tags and patterns each tag is a '
        "channel of its own name",
    )
    patterns: tuple[str, ...] = Field(
        default=(),
        description="for tags that are not in assembly.tags: 'Chan1.{machine}.{channel}', where * stands for anything; the first that "
        "fits counts",
    )
    quality: str = Field(
        default="",
        description="path of the reading's quality; '': all are good. A reading that is not good counts as missing, one without a "
        "quality as good",
    )
    quality_codes: Literal["auto", "opc-da", "opc-ua"] = Field(
        default="auto",
        description="what numbers mean. opc-da: 192 and above are good; opc-ua: 0 is. auto: opc-ua where assembly.quality has "
        "'status' in it. true, false and words (Good, Bad..) are always understood",
    )
    uncertain: Literal["missing", "good"] = Field(
        default="missing", description="what a reading of uncertain quality counts as"
    )
    unknown_tags: Literal["dead-letter", "ignore"] = Field(
        default="dead-letter",
        description="what becomes of a message with tags that are not in the map, or of no channel or machine that a bundle serves; its "
        "other readings are taken either way. ignore: counted as wheeltapper_readings_total{event=unknown-tag}",
    )
    grace_s: float | None = Field(
        default=None,
        ge=0,
        le=1e7,
        description="a row comes out when every channel has a reading at or after its time, or once a reading is newer than it by this; "
        "none: one interval of the bundle",
    )
    hold_s: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="a value counts for so long after its time, then as missing; none: 60 intervals of the bundle. Where tags are "
        "sent on change, the longest time between two changes",
    )
    phase_s: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="rows lie so far behind whole multiples of the bundle's interval; half an interval where readings come at about "
        "whole multiples, some before, some after",
    )

    @field_validator("value")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if value:
            parse_path(value)
        return value

    @field_validator("tag", "quality")
    @classmethod
    def _are_paths(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for path in (value,) if isinstance(value, str) else value:
            if path:
                alternatives(path)
        return value

    @field_validator("patterns")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            tag_pattern(pattern)
        return value

    @property
    def enabled(self) -> bool:
        """True where messages carry readings."""
        return bool(self.value)

    @property
    def rules(self) -> AssemblyRules:
        """What the core needs of it."""
        from wheeltapper.stream.core.readings import AssemblyRules  # with numpy, which clients do not need

        return AssemblyRules(
            grace_us=None if self.grace_s is None else round(self.grace_s * 1e6),
            hold_us=None if self.hold_s is None else max(1, round(self.hold_s * 1e6)),
            phase_us=round(self.phase_s * 1e6),
        )
