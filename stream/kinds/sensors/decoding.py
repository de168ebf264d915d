"""Messages of the input topic to rows of machines; what cannot be read becomes a dead letter.

One-row JSON is the busiest case and has a path of its own: a parser for the fields that its sender writes (`shapes`), or orjson
where there is none; rows are only packed while the batch is read, and become arrays at its end. Everything else, and whatever
looks odd, goes the careful way through `wheeltapper.schemas.codec`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import orjson
from msgspec.structs import astuple

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec import MAX_PARSED_BYTES, decode_sensor_block, sniff_encoding
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH, shown
from wheeltapper.schemas.codec.json_text import parse_json
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.text import first_names
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import MOST_KNOWN, Decoded, Route, Routes
from wheeltapper.stream.kinds.sensors.field_mapping import (
    LEAST_MICROS,
    FieldMapping,
    micros_of,
    near_of,
)
from wheeltapper.stream.kinds.sensors.gathering import BatchRows, RowReader
from wheeltapper.stream.kinds.sensors.parsing import MessageParser, content_type_of
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.kinds.sensors.shapes import MOST_SHAPES, NO_FIT, Shape, Shapes
from wheeltapper.stream.left_out import IgnoredFields
from wheeltapper.stream.records import PartitionBatch, key_text
from wheeltapper.stream.settings import InputSettings

_OF_PATHS = '.[*|"'
"""What a path of more than one field's name has."""

# Caches that senders can fill with made-up names are emptied at this size.
MAX_CACHED = 10_000

_RUN = 64
"""Messages that are read at once where they are alike; more would not stay in the processor's cache."""
_LONGEST_PAUSE = 64
"""Runs that are read message by message, after one that had to be."""
_ODD = (
    *NO_FIT, LookupError, TypeError, AttributeError, OverflowError, struct.error, DecodeError,
)  # fmt: skip
"""What comes of messages that are not one-row JSON as it should be."""


class Decoder:
    """Reads batches as the input settings say. Keeps only caches between batches."""

    def __init__(self, routes: Routes, settings: InputSettings, registry: SchemaRegistry) -> None:
        self._routes = routes
        self._parser = MessageParser(registry, settings.max_message_bytes)
        self._settings = settings
        self._ignored = IgnoredFields({settings.machine, settings.time})
        self._mapping = FieldMapping(settings, self._ignored)
        self._source_of = {channel: source for source, channel in settings.rename.items()}
        self._readers: dict[str, RowReader] = {}
        self._reader_of: dict[str, RowReader] = {}
        self._fields: dict[str, frozenset[str]] = {}
        self._orders: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        top_level = (settings.machine, settings.time, settings.values)
        self._rows_are_plain = (
            not any(character in name for name in top_level for character in _OF_PATHS)
            and settings.machine != "key"
            and settings.time != "record"
        )
        self._shapes = Shapes(*top_level)
        self._exact_width = settings.unknown_channels == "dead-letter"
        self._times = settings.times
        self._raw_micros, self._is_local = settings.time_unit == "auto", settings.time_zone is not None
        self._pause, self._next_pause = 0, 1
        self._missing_values = np.array(settings.missing_values)
        # Flat messages carry machine and time among the channels.
        self._fields_beside = 0 if settings.values else 2

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """Read one partition's batch, until its blocks hold so many values; rows of one message each are no larger than those."""
        decoded = Decoded(messages=len(batch))
        machines = BatchRows()
        number_of, readers, takers = machines.number_of, machines.readers, machines.takers
        add_number, add_time, add_position = machines.numbers.append, machines.times.append, machines.positions.append
        settings, shapes = self._settings, self._shapes
        machine_field, time_field, values_field = settings.machine, settings.time, settings.values
        largest = min(settings.max_message_bytes, MAX_PARSED_BYTES) if self._rows_are_plain else -1
        raw_micros, time_style, is_local = self._raw_micros, self._times, self._is_local
        shapes.begin()
        shape_of, keys, loads = shapes.of_sender.get, batch.keys, orjson.loads
        for index in self._left_over(batch, largest, machines):
            value = batch.values[index]
            try:
                if len(value) > largest:  # type: ignore[arg-type]
                    raise LookupError
                shape = shape_of(keys[index], shapes.usual)
                message: Any = None
                if shape is not None:
                    try:
                        row = shape.decode(value)  # type: ignore[arg-type]
                        ts, machine = row.time, row.machine
                    except NO_FIT:
                        shape = None
                if shape is None:
                    message = loads(value)  # type: ignore[arg-type]
                    ts, machine = message[time_field], message[machine_field]
                if not (raw_micros and type(ts) is int and LEAST_MICROS <= ts <= MAX_MICROS):
                    ts = micros_of(ts, time_style, near_of(batch.timestamps_ms[index]) if is_local else None)
                number = number_of.get(machine)
                if number is None:
                    number = self._number(machines, machine)
                reader = readers[number]
                if shape is not None:
                    if reader.shape is not shape:
                        self._fit(reader, shape, machine)
                    values = astuple(row if shape.is_flat else row.values)
                    if reader.pick_of_shape is not None:
                        values = reader.pick_of_shape(values)
                else:
                    values = self._picked(message[values_field] if values_field else message, reader, machine)
                    shapes.learn(keys[index], message)
                try:
                    packed = reader.pack(*values)
                except struct.error:
                    packed = reader.pack_with_null(values)
                takers[number](packed)
                add_number(number)
                add_time(ts)
                add_position(index)
            except _ODD:
                # Not one-row JSON as it should be: read it again, slowly, for a block or an exact reason.
                try:
                    self._decode_carefully(batch, index, machines, decoded)
                except DecodeError as error:
                    decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
                if decoded.size >= most_values:
                    decoded.messages = index + 1
                    break
        machines.end(batch, self._measured, decoded)
        return decoded

    def _left_over(self, batch: PartitionBatch, largest: int, machines: BatchRows) -> Iterator[int]:
        """Reads what can be read in runs; yields the positions of all other messages, in order."""
        total = len(batch)
        for start in range(0, total, _RUN):
            stop = min(start + _RUN, total)
            if self._pause:
                self._pause -= 1
            elif self._read_run(batch, start, stop, largest, machines):
                self._next_pause = 1
                continue
            else:
                self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, _LONGEST_PAUSE)
            yield from range(start, stop)

    def _read_run(self, batch: PartitionBatch, start: int, stop: int, largest: int, machines: BatchRows) -> bool:
        """Reads consecutive messages of one shape and one route without a look at each; all of them, or none and gives False."""
        shapes, texts = self._shapes, batch.values[start:stop]
        shape = shapes.usual
        try:
            if shapes.of_sender:
                found = {*map(shapes.of_sender.get, batch.keys[start:stop], repeat(shape))}
                shape = found.pop()
                if found:
                    return False
            if shape is None or max(map(len, texts)) > largest:  # type: ignore[arg-type]
                return False
            decode, first = shape.decode, shape.decode(texts[0])  # type: ignore[arg-type]
            reader = self._reader_of.get(first.machine) or self._find_reader(first.machine)
            if reader.shape is not shape:
                self._fit(reader, shape, first.machine)
            pack, pick, is_flat = reader.pack, reader.pick_of_shape, shape.is_flat
            names, times, packed = [], [], []
            for text in texts:
                row = decode(text)  # type: ignore[arg-type]
                names.append(row.machine)
                times.append(row.time)
                values = astuple(row if is_flat else row.values)
                if pick is not None:
                    values = pick(values)
                try:
                    packed.append(pack(*values))
                except struct.error:
                    packed.append(reader.pack_with_null(values))
            if (
                not self._raw_micros
                or {*map(type, times)} != {int}
                or min(times) < LEAST_MICROS
                or max(times) > MAX_MICROS
            ):
                near = [near_of(stamp) if self._is_local else None for stamp in batch.timestamps_ms[start:stop]]
                times = [*map(micros_of, times, repeat(self._times), near)]
            number_of = machines.number_of
            for name in {*names}.difference(number_of):
                self._number(machines, name)
            numbers = [*map(number_of.__getitem__, names)]
            if any(machines.readers[number] is not reader for number in {*numbers}):
                return False
        except _ODD:
            return False
        machines.rows[reader] += packed
        machines.numbers += numbers
        machines.times += times
        machines.positions += range(start, stop)
        return True

    def _fit(self, reader: RowReader, shape: Shape, machine: str) -> None:
        """From now on the reader takes rows of this shape.

        Raises:
            LookupError: rows of this shape do not have the route's channels.
        """
        if shape not in reader.picks:
            if self._exact_width and len(shape.names) != reader.width:
                raise LookupError
            if len(reader.picks) >= MOST_SHAPES:
                reader.picks.clear()
            reader.picks[shape] = shape.picker(reader.names)
            if len(shape.names) > reader.width:
                self._ignored.see(machine, shape.names, reader.names)
        reader.shape, reader.pick_of_shape = shape, reader.picks[shape]

    def _picked(self, values: Any, reader: RowReader, machine: str) -> Any:
        """The channels' values in the route's order.

        Raises:
            LookupError, TypeError, AttributeError: it has not the route's channels, or is no object.
        """
        names = [*values]
        if names == reader.order:
            reader.order = names
            return values.values()
        if self._exact_width and len(names) != reader.width:
            raise LookupError
        if len(names) > reader.width:
            self._ignored.see(machine, names, reader.names)
        return reader.pick(values)

    def _number(self, machines: BatchRows, machine: Any) -> int:
        """The number of a machine, which may be new in this batch.

        Raises:
            DecodeError: there is no such machine.
        """
        number = machines.number_of.get(machine)
        if number is None:
            reader = self._reader_of.get(machine)
            if reader is None:
                reader = self._find_reader(machine)
            number = machines.number_of[machine] = len(machines.readers)
            machines.readers.append(reader)
            machines.takers.append(machines.rows.setdefault(reader, []).append)
        return number

    def _find_reader(self, machine: Any) -> RowReader:
        if not isinstance(machine, str) or not machine:
            raise DecodeError(Reason.NO_MACHINE, f"machine is {shown(machine)}, expected a text that is not empty")
        if len(machine) > MAX_NAME_LENGTH:
            raise DecodeError(
                Reason.TOO_LARGE, f"machine has {len(machine)} characters, at most {MAX_NAME_LENGTH} are read"
            )
        if machine[0] == "\0":  # what state.PROGRESS starts with
            raise DecodeError(Reason.NO_MACHINE, f"machine is {shown(machine)}, expected no zero byte at its start")
        route = self._route_of(machine)
        reader = self._readers.get(route.pattern)
        if reader is None:
            sources = [self._source_of.get(channel, channel) for channel in route.layout.channels]
            reader = self._readers[route.pattern] = RowReader(route, sources, self._fields_beside)
        if len(self._reader_of) >= MOST_KNOWN:
            self._reader_of.clear()
        self._reader_of[machine] = reader
        return reader

    def _route_of(self, machine: str) -> Route:
        route = self._routes.of(machine)
        if route is None:
            known = self._routes.listed("sensors")
            raise DecodeError(Reason.NO_ROUTE, f"no bundle serves machine {shown(machine)}; routes are {known}")
        return route

    def _fields_of(self, machine: str) -> frozenset[str]:
        """Names under which a message may carry the channels of the machine's bundle."""
        route = self._route_of(machine)
        fields = self._fields.get(route.pattern)
        if fields is None:
            renamed = {name for name, channel in self._settings.rename.items() if channel in route.layout.channels}
            fields = self._fields[route.pattern] = frozenset(route.layout.channels) | renamed
        return fields

    def _decode_carefully(self, batch: PartitionBatch, index: int, machines: BatchRows, decoded: Decoded) -> None:
        value, key, headers = self._parser.checked(batch.values[index]), batch.keys[index], batch.headers[index]
        named, fields = self._parser.registered(value, headers)
        content_type = content_type_of(headers)
        if not named and sniff_encoding(value, content_type) != "json":
            blocks = [decode_sensor_block(value, content_type, machine=key_text(key))]
        else:
            message = fields if named else parse_json(value)
            blocks = self._mapping.blocks(message, key, batch.timestamps_ms[index], self._fields_of)
        found = []
        for block in blocks:
            number = self._number(machines, block.machine)
            found.append((number, block, self._in_order(block, machines.readers[number].route)))
        for number, block, values in found:  # a message is taken as a whole, or refused
            machines.blocks.setdefault(number, []).append((index, block.ts, self._measured(values)))
            decoded.size += values.size

    def _in_order(self, block: SensorBlock, route: Route) -> np.ndarray:
        """The block's values in the route's channel order, [n, C] float32, NaN for absent channels."""
        if block.channels == route.layout.channels and not self._settings.rename:
            return block.values
        order = self._orders.get((route.pattern, block.channels))
        if order is None:
            order = self._find_order(block, route)
            if len(self._orders) > MAX_CACHED:
                self._orders.clear()
            self._orders[route.pattern, block.channels] = order
        values = block.values
        if (order < 0).any():
            values = np.concatenate([values, np.full((len(block), 1), np.nan, dtype=np.float32)], axis=1)
        return np.ascontiguousarray(values[:, order])

    def _measured(self, values: np.ndarray) -> np.ndarray:
        """[n, C] with NaN for the numbers that stand for a missing value (input.missing_values)."""
        if not len(self._missing_values):
            return values
        return np.where(np.isin(values, self._missing_values.astype(values.dtype)), np.float32(np.nan), values)

    def _find_order(self, block: SensorBlock, route: Route) -> np.ndarray:
        """[C] the block's column of each channel of the route, -1 where it has none."""
        rename = self._settings.rename
        names = [rename.get(name, name) for name in block.channels]
        # Of several fields for one channel that counts which `rename` names last, as for one-row JSON.
        rank = {name: position for position, name in enumerate(rename)}
        columns = sorted(range(len(names)), key=lambda column: rank.get(block.channels[column], -1))
        column_of = {names[column]: column for column in columns}
        unknown = [name for name in names if name not in route.layout.channels]
        missing = [name for name in route.layout.channels if name not in column_of]
        sent = f"machine {shown(block.machine)} sent {len(names)} channels where its bundle has {len(route.layout.channels)}"
        if unknown and self._settings.unknown_channels == "dead-letter":
            raise DecodeError(Reason.UNKNOWN_CHANNEL, f"{sent}; unknown: {_shown(unknown)} (input.unknown_channels)")
        if len(column_of) < len(names) and self._settings.unknown_channels == "dead-letter":
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DecodeError(Reason.WRONG_WIDTH, f"{sent}; several fields are {_shown(twice)} (input.rename)")
        if unknown:
            self._ignored.see(block.machine, unknown, ())
        if missing and self._settings.missing_channels == "dead-letter":
            raise DecodeError(Reason.MISSING_CHANNEL, f"{sent}; missing: {_shown(missing)} (input.missing_channels)")
        if len(missing) == len(route.layout.channels):
            raise DecodeError(Reason.MISSING_CHANNEL, f"{sent}; none of them is the bundle's")
        return np.array([column_of.get(name, -1) for name in route.layout.channels])


def _shown(names: list[str]) -> str:
    return first_names([shown(name) for name in names])
