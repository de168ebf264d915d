"""Messages that carry readings one by one to readings of machines' channels; what cannot be read becomes a dead letter."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np
import structlog

from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH, shown
from wheeltapper.schemas.errors import DecodeError, InputError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.readings import ReadingError, parse_number
from wheeltapper.schemas.text import first_names
from wheeltapper.stream.core.counters import count
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.core.readings import MOST_INTERVALS, AssemblyRules, ReadingBlock
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import Decoded, MachineBlock, Route, Routes
from wheeltapper.stream.kinds.sensors.field_mapping import RECORD_TIME, micros_of, near_of
from wheeltapper.stream.kinds.sensors.parsing import MessageParser
from wheeltapper.stream.kinds.sensors.quality import QualityCheck
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.kinds.sensors.tags import TagMap
from wheeltapper.stream.paths import MISSING, Found, Places
from wheeltapper.stream.records import PartitionBatch, key_text
from wheeltapper.stream.settings import AssemblySettings, Settings

log = structlog.get_logger(__name__)

MOST_READINGS = 1_000_000
"""Readings of a message: more would take too much memory at a time."""

MOST_LINES = 20
"""Tags that are left out and named in the log; more are counted."""

_LARGEST = float(np.finfo(np.float32).max)

# The reading beside a match of the value's path, in a message with this key and time (ms).
_Getter = Callable[[Found, "bytes | None", int], Any]


class _Readings:
    """One machine's readings while a batch is read."""

    __slots__ = ("columns", "offsets", "route", "stamps", "times", "values")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.columns: list[int] = []
        self.values: list[float] = []
        self.stamps: list[int] = []

    def block(self, rules: AssemblyRules) -> ReadingBlock:
        return ReadingBlock(
            np.array(self.offsets, dtype=np.int64),
            np.array(self.times, dtype=np.int64),
            np.array(self.columns, dtype=np.int64),
            np.array(self.values, dtype=np.float64).astype(np.float32),
            np.array(self.stamps, dtype=np.int64),
            rules,
        )


class _OpenBatch:
    """What is known while a batch is read.

    Attributes:
        machines: readings, by machine.
        targets: where readings go, by tag and the machine that the message says.
    """

    __slots__ = ("machines", "targets")

    def __init__(self) -> None:
        self.machines: dict[str, _Readings] = {}
        self.targets: dict[tuple[Any, Any], tuple[_Readings, int]] = {}


class _UnknownError(DecodeError):
    """A reading of a tag, machine or channel that no bundle serves; assembly.unknown_tags says what becomes of it."""


class ReadingIntake:
    """Reads batches as the [assembly] and [input] settings say. Keeps only caches between batches."""

    def __init__(self, routes: Routes, settings: Settings, registry: SchemaRegistry) -> None:
        """
        Raises:
            InputError: settings that do not fit each other, or the bundles' intervals.
        """
        chosen = settings.assembly
        self._routes = routes
        self._input = settings.input
        self._settings = chosen
        self._rules = chosen.rules
        self._parser = MessageParser(registry, settings.input.max_message_bytes)
        self._tags = TagMap(chosen)
        self._ignores_unknown = chosen.unknown_tags == "ignore"
        self._places = Places(chosen.value)
        self._tag = self._tag_getter(chosen.tag)
        self._machine = self._getter(settings.input.machine, "input.machine", {"key": lambda _, key, __: key_text(key)})
        self._time = self._getter(settings.input.time, "input.time", {"record": lambda _, __, ms: ms})
        self._time_style = RECORD_TIME if settings.input.time == "record" else settings.input.times
        self._number_style = settings.input.numbers
        self._quality = self._getter(chosen.quality, "assembly.quality", {}) if chosen.quality else None
        self._quality_check = QualityCheck(chosen)
        self._columns: dict[str, dict[str, int]] = {}
        self._left_out: set[Any] = set()
        """Tags that the log has told of."""
        self._check_intervals(chosen)
        self._check_tags()

    # -- settings ---------------------------------------------------------------------------------------------------------

    def _getter(self, path: str, setting: str, special: dict[str, _Getter]) -> _Getter:
        if path in special:
            return special[path]
        try:
            side = self._places.beside(path)
        except ValueError as error:
            raise InputError(f"setting {setting}: {error}") from error
        return lambda found, _, __: side.of(found)

    def _tag_getter(self, tag: str | tuple[str, ...]) -> _Getter:
        special: dict[str, _Getter] = {
            "*": lambda found, _, __: ".".join(found.names),
            "key": lambda _, key, __: key_text(key),
        }
        if "*" in ((tag,) if isinstance(tag, str) else tag) and not self._places.has_names:
            raise InputError(
                f"setting assembly.tag: '*' is the name of the field that * in assembly.value stands for, but that is "
                f"'{self._settings.value}': write a * where the tags' names are, as in Payload.*.Value"
            )
        if isinstance(tag, str):
            return self._getter(tag, "assembly.tag", special)
        parts = [self._getter(part, "assembly.tag", special) for part in tag]

        def joined(found: Found, key: bytes | None, ms: int) -> Any:
            texts = [part(found, key, ms) for part in parts]
            # Of a part that is no text, null or a number: the reading has no tag.
            other = [text for text in texts if not isinstance(text, str)]
            return other[0] if other else ".".join(texts)

        return joined

    def _check_intervals(self, chosen: AssemblySettings) -> None:
        for route in self._routes.of_kind("sensors"):
            interval_s = route.layout.interval_us / 1e6
            for name in ("hold_s", "grace_s"):
                length = getattr(chosen, name)
                if length is not None and length > MOST_INTERVALS * interval_s:
                    raise InputError(
                        f"setting assembly.{name}: {length:g} s are more than {MOST_INTERVALS:,} intervals of {interval_s:g} s of "
                        f"the bundle for machines '{route.pattern}'; at most {MOST_INTERVALS * interval_s:g}"
                    )

    def _check_tags(self) -> None:
        """A tag of the map must lead to a channel of its machine's bundle."""
        for tag, place in self._tags.exact.items():
            route = None if place.machine is None else self._routes.of(place.machine)
            if route is None or place.channel in self._columns_of(route):
                continue
            near = get_close_matches(place.channel, route.layout.channels, n=1)
            raise InputError(
                f"setting assembly.tags: tag '{tag}' is channel '{place.channel}' of machine '{place.machine}', whose bundle has "
                f"{first_names(list(route.layout.channels))}"
                + (f"; did you mean '{near[0]}'?" if near else "; correct it")
            )

    # -- messages ---------------------------------------------------------------------------------------------------------

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """Read messages until they hold so many readings or all have been read, one at least."""
        decoded = Decoded()
        open_batch = _OpenBatch()
        for index in range(len(batch)):
            if decoded.size >= most_values:
                break
            decoded.messages = index + 1
            try:
                self._read(batch, index, open_batch, decoded)
            except DecodeError as error:
                decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
        decoded.blocks += [
            MachineBlock(machine, readings.route, readings.block(self._rules))
            for machine, readings in open_batch.machines.items()
            if readings.offsets
        ]
        return decoded

    def _read(self, batch: PartitionBatch, index: int, open_batch: _OpenBatch, decoded: Decoded) -> None:
        """One message's readings; those that can be read are taken where others cannot.

        Raises:
            DecodeError: what is wrong with the first reading that cannot be read, or with the message.
        """
        message = self._parser.parse(batch.values[index], batch.headers[index])
        key, ms, offset = batch.keys[index], batch.timestamps_ms[index], batch.offsets[index]
        readings, failed = 0, 0
        first: DecodeError | None = None
        for found in self._places.find(message):
            readings += 1
            if readings > MOST_READINGS:
                raise DecodeError(Reason.TOO_LARGE, f"more than {MOST_READINGS:,} readings, at most so many are read")
            try:
                self._take(found, key, ms, offset, open_batch, decoded)
            except DecodeError as error:
                failed += 1
                first = first or error
        if first is not None:
            rest = (
                ""
                if failed == readings
                else f" ({failed} of {readings} readings cannot be read, the others were taken)"
            )
            raise DecodeError(first.reason, first.detail + rest)
        if not readings and not self._places.is_empty(message):
            raise DecodeError(
                Reason.NOT_DECODABLE,
                f"the message has no reading at '{self._places.text}' (assembly.value), it begins {shown(message)}",
            )

    def _take(
        self, found: Found, key: bytes | None, ms: int, offset: int, open_batch: _OpenBatch, decoded: Decoded
    ) -> None:
        """One reading.

        Raises:
            DecodeError.
        """
        tag = self._tag(found, key, ms)
        machine = self._machine(found, key, ms)
        try:
            target = open_batch.targets.get((tag, machine))
        except TypeError:  # a list or an object
            target = None
        if target is None:
            try:
                target = self._target(tag, machine, open_batch.machines)
            except _UnknownError as error:
                if not self._ignores_unknown:
                    raise DecodeError(error.reason, f"{error.detail} (assembly.unknown_tags)") from None
                count(decoded.readings, "unknown-tag")
                self._tell_left_out(tag, error.detail)
                return
            open_batch.targets[tag, machine] = target
        readings, column = target
        time = self._time(found, key, ms)
        if time is MISSING or (time == ms and ms < 0):
            raise DecodeError(Reason.BAD_TIME, f"the reading of tag {shown(tag)} has no time (input.time)")
        micros = micros_of(time, self._time_style, near_of(ms))
        value = self._value(found, key, ms, tag, decoded)
        readings.offsets.append(offset)
        readings.times.append(micros)
        readings.columns.append(column)
        readings.values.append(value)
        readings.stamps.append(ms)
        decoded.size += 1

    def _target(self, tag: Any, machine: Any, machines: dict[str, _Readings]) -> tuple[_Readings, int]:
        """Where readings of a tag go: their machine's, and the column of their channel.

        Args:
            machine: that of the message, where the tag has none of its own.

        Raises:
            DecodeError: no tag, or no machine; _UnknownError: no bundle knows it.
        """
        if type(tag) is int:
            tag = str(tag)
        if not isinstance(tag, str) or not tag:
            raise DecodeError(
                Reason.UNKNOWN_CHANNEL, f"a reading's tag is {_shown(tag)}, expected a text (assembly.tag)"
            )
        place = self._tags.of(tag)
        if place is None:
            detail = f"tag {shown(tag)} is not in assembly.tags or assembly.patterns"
            raise _UnknownError(Reason.UNKNOWN_CHANNEL, detail)
        named = _machine_name(tag, machine if place.machine is None else place.machine)
        readings = machines.get(named)
        if readings is None:
            route = self._routes.of(named)
            if route is None:
                patterns = [known.pattern for known in self._routes.of_kind("sensors")]
                detail = f"no bundle serves machine {shown(named)} of tag {shown(tag)}; patterns are {patterns}"
                raise _UnknownError(Reason.NO_ROUTE, detail)
            readings = machines[named] = _Readings(route)
        column = self._columns_of(readings.route).get(place.channel)
        if column is None:
            detail = (
                f"channel {shown(place.channel)} of tag {shown(tag)} is none of the bundle for machine {shown(named)}"
            )
            raise _UnknownError(Reason.UNKNOWN_CHANNEL, detail)
        return readings, column

    def _value(self, found: Found, key: bytes | None, ms: int, tag: str, decoded: Decoded) -> float:
        """The reading's value; NaN where it is missing, or not good."""
        if self._quality is not None:
            quality = self._quality(found, key, ms)
            if quality is not MISSING and not self._quality_check.is_good(quality):
                count(decoded.readings, "bad-quality")
                return float("nan")
        try:
            value = parse_number(found.value, self._number_style)
        except ReadingError as error:
            hint = " (input.quoted_numbers, input.missing_words)" if isinstance(found.value, str) else ""
            raise DecodeError(Reason.NOT_A_NUMBER, f"tag {shown(tag)}: {error}{hint}") from None
        if (value - value == 0 and abs(value) > _LARGEST) or value in (float("inf"), float("-inf")):
            raise DecodeError(
                Reason.NOT_FINITE, f"tag {shown(tag)} holds {shown(found.value)}, expected a finite 32-bit number"
            )
        return value

    def _tell_left_out(self, tag: Any, detail: str) -> None:
        if len(self._left_out) < MOST_LINES and tag not in self._left_out:
            self._left_out.add(tag)
            more = "" if len(self._left_out) < MOST_LINES else "; further tags are only counted (unknown-tag)"
            log.info("readings of a tag are left out", tag=tag, reason=detail + more)

    def _columns_of(self, route: Route) -> dict[str, int]:
        """The column of each name under which a channel of the route may come."""
        columns = self._columns.get(route.pattern)
        if columns is None:
            channels = route.layout.channels
            columns = {channel: column for column, channel in enumerate(channels)}
            renamed = {source: columns[channel] for source, channel in self._input.rename.items() if channel in columns}
            columns = self._columns[route.pattern] = {**columns, **renamed}
        return columns


def _machine_name(tag: str, machine: Any) -> str:
    """The machine's name where it can be one.

    Raises:
        DecodeError.
    """
    if type(machine) is int:
        machine = str(machine)
    if not isinstance(machine, str) or not machine or machine[0] == "\0":
        raise DecodeError(
            Reason.NO_MACHINE,
            f"machine of tag {shown(tag)} is {_shown(machine)}, expected a text (input.machine), or a machine for the tag "
            "(assembly.tags)",
        )
    if len(machine) > MAX_NAME_LENGTH:
        raise DecodeError(
            Reason.TOO_LARGE, f"machine has {len(machine)} characters, at most {MAX_NAME_LENGTH} are read"
        )
    return machine


def _shown(found: Any) -> str:
    return "missing" if found is MISSING else shown(found)
