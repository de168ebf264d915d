"""Messages of the input topic to rows of machines; what cannot be read becomes a dead letter.

One-row JSON is the busiest case and has a path of its own: rows are only collected while the batch is read, and become
one array a machine at its end. Everything else, and whatever looks odd, goes the careful way through `wheeltapper.schemas.codec`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.codec import MAX_PARSED_BYTES, decode_sensor_block, sniff_encoding
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH, shown
from wheeltapper.schemas.codec.json_text import parse_json
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterReason as Reason
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.text import first_names
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.core.row_memory import RowBlock
from wheeltapper.stream.dead_letters import dead_letter
from wheeltapper.stream.kinds.contract import MOST_KNOWN, Decoded, MachineBlock, ManyMachines, Route, Routes
from wheeltapper.stream.kinds.sensors.field_mapping import (
    LEAST_MICROS,
    FieldMapping,
    micros_of,
    near_of,
    text_of,
    to_float32,
)
from wheeltapper.stream.kinds.sensors.parsing import MessageParser, content_type_of
from wheeltapper.stream.kinds.sensors.registry import SchemaRegistry
from wheeltapper.stream.left_out import IgnoredFields
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.settings import InputSettings

_OF_PATHS = '.[*|"'
"""What a path of more than one field's name has."""

# Caches that senders can fill with made-up names are emptied at this size.
MAX_CACHED = 10_000


class _RowReader:
    """Reads the values of one-row JSON for one route.

    Attributes:
        pick: the channels' values in the route's order.
        pack: them as float64 bytes; takes numbers only, where numpy would convert "1.5" without a word.
        width: fields that a message has where no channel is unknown.
        names: of the channels' fields.
        order: the channels' names as objects of an earlier message, if messages have them in the route's order: the
            parser gives the same objects again, and comparing those costs next to nothing.
    """

    __slots__ = ("names", "order", "pack", "pick", "width")

    def __init__(self, sources: list[str], fields_beside: int) -> None:
        self.pick: Callable[[Any], Any] = itemgetter(*sources) if len(sources) > 1 else lambda v: (v[sources[0]],)
        self.pack = struct.Struct(f"<{len(sources)}d").pack
        self.width = len(sources) + fields_beside
        self.order = sources
        self.names = sources


class _Collector:
    """One machine's rows while a batch is read: single rows as packed float64, then arrays."""

    __slots__ = ("blocks", "indices", "reader", "route", "rows", "times")

    def __init__(self, route: Route, reader: _RowReader) -> None:
        self.route = route
        self.reader = reader
        self.rows: list[bytes] = []
        self.times: list[int] = []
        self.indices: list[int] = []
        self.blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
        """(offsets [n], times [n], values [n, C]); None where the batch has single rows alone."""


class Decoder:
    """Reads batches as the input settings say. Keeps only caches between batches."""

    def __init__(self, routes: Routes, settings: InputSettings, registry: SchemaRegistry) -> None:
        self._routes = routes
        self._parser = MessageParser(registry, settings.max_message_bytes)
        self._settings = settings
        self._ignored = IgnoredFields({settings.machine, settings.time})
        self._mapping = FieldMapping(settings, self._ignored)
        self._source_of = {channel: source for source, channel in settings.rename.items()}
        self._readers: dict[str, _RowReader] = {}
        self._served: dict[str, tuple[Route, _RowReader]] = {}
        self._fields: dict[str, frozenset[str]] = {}
        self._orders: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        top_level = (settings.machine, settings.time, settings.values)
        self._rows_are_plain = (
            not any(character in name for name in top_level for character in _OF_PATHS)
            and settings.machine != "key"
            and settings.time != "record"
        )
        self._times = settings.times
        self._missing_values = np.array(settings.missing_values)
        # Flat messages carry machine and time among the channels.
        self._fields_beside = 0 if settings.values else 2

    def decode(self, batch: PartitionBatch, most_values: float = math.inf) -> Decoded:
        """Read one partition's batch, until its blocks hold so many values; rows of one message each are no larger than those."""
        decoded = Decoded(messages=len(batch))
        collectors: dict[str, _Collector] = {}
        settings = self._settings
        machine_field, time_field, values_field = settings.machine, settings.time, settings.values
        largest = min(settings.max_message_bytes, MAX_PARSED_BYTES) if self._rows_are_plain else -1
        exact_width = settings.unknown_channels == "dead-letter"
        raw_micros, time_style, is_local = settings.time_unit == "auto", self._times, settings.time_zone is not None
        loads = orjson.loads
        for index, value in enumerate(batch.values):
            try:
                if len(value) > largest:  # type: ignore[arg-type]
                    raise LookupError
                message = loads(value)  # type: ignore[arg-type]
                ts = message[time_field]
                if not (raw_micros and type(ts) is int and LEAST_MICROS <= ts <= MAX_MICROS):
                    ts = micros_of(ts, time_style, near_of(batch.timestamps_ms[index]) if is_local else None)
                values = message[values_field] if values_field else message
                machine = message[machine_field]
                collector = collectors.get(machine) or self._collect(collectors, machine)
                reader = collector.reader
                names = [*values]
                if names == reader.order:
                    reader.order = names
                    row = reader.pack(*values.values())
                elif exact_width and len(names) != reader.width:
                    raise LookupError
                else:
                    if len(names) > reader.width:
                        self._ignored.see(machine, names, reader.names)
                    row = reader.pack(*reader.pick(values))
                collector.rows.append(row)
                collector.times.append(ts)
                collector.indices.append(index)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError, struct.error, DecodeError):
                # Not one-row JSON as it should be: read it again, slowly, for a block or an exact reason.
                try:
                    self._decode_carefully(batch, index, collectors, decoded)
                except DecodeError as error:
                    decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
                if decoded.size >= most_values:
                    decoded.messages = index + 1
                    break
        together: dict[int, list[tuple[str, _Collector]]] = {}
        """By route: machines of which there are single rows alone."""
        for machine, collector in collectors.items():
            if collector.blocks is None:
                together.setdefault(id(collector.route), []).append((machine, collector))
                continue
            self._arrange(collector, batch, decoded)
            if collector.blocks:
                columns = collector.blocks[0]
                if len(collector.blocks) > 1:
                    offsets, times, values = zip(*collector.blocks, strict=True)
                    columns = (np.concatenate(offsets), np.concatenate(times), np.concatenate(values))
                decoded.blocks.append(MachineBlock(machine, collector.route, RowBlock(*columns)))
        for found in together.values():
            self._arrange_together(found, batch, decoded)
        return decoded

    def _collect(self, collectors: dict[str, _Collector], machine: Any) -> _Collector:
        """The machine's collector, new in this batch."""
        served = self._served.get(machine) if type(machine) is str else None
        if served is None:
            served = self._serve(machine)
        collector = collectors[machine] = _Collector(*served)
        return collector

    def _serve(self, machine: Any) -> tuple[Route, _RowReader]:
        """The machine's route, and what reads its rows.

        Raises:
            DecodeError: it is no machine, or none that has a route.
        """
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
            reader = self._readers[route.pattern] = _RowReader(sources, self._fields_beside)
        if len(self._served) >= MOST_KNOWN:
            self._served.clear()
        self._served[machine] = route, reader
        return route, reader

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

    def _decode_carefully(
        self, batch: PartitionBatch, index: int, collectors: dict[str, _Collector], decoded: Decoded
    ) -> None:
        value, key, headers = self._parser.checked(batch.values[index]), batch.keys[index], batch.headers[index]
        named, fields = self._parser.registered(value, headers)
        content_type = content_type_of(headers)
        if not named and sniff_encoding(value, content_type) != "json":
            blocks = [decode_sensor_block(value, content_type, machine=text_of(key))]
        else:
            message = fields if named else parse_json(value)
            blocks = self._mapping.blocks(message, key, batch.timestamps_ms[index], self._fields_of)
        found = []
        for block in blocks:
            collector = collectors.get(block.machine) or self._collect(collectors, block.machine)
            found.append((collector, block, self._in_order(block, collector.route)))
        for collector, block, values in found:  # a message is taken as a whole, or refused
            if collector.blocks is None:
                collector.blocks = []
            self._arrange(collector, batch, decoded)  # rows that came before it
            offsets = np.full(len(block), batch.offsets[index], dtype=np.int64)
            collector.blocks.append((offsets, block.ts, self._measured(values)))
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

    def _arrange(self, collector: _Collector, batch: PartitionBatch, decoded: Decoded) -> None:
        """Collected single rows become a block."""
        if not collector.rows or collector.blocks is None:
            return
        offsets, times, values, _ = self._columns([collector], batch, decoded)
        if len(offsets):
            collector.blocks.append((offsets, times, values))
        collector.rows, collector.times, collector.indices = [], [], []

    def _arrange_together(
        self, found: Sequence[tuple[str, _Collector]], batch: PartitionBatch, decoded: Decoded
    ) -> None:
        """Single rows of machines of one route become one block."""
        collectors = [collector for _, collector in found if collector.rows]
        if not collectors:
            return
        offsets, times, values, fits = self._columns(collectors, batch, decoded)
        edges = np.cumsum([0, *(len(collector.rows) for collector in collectors)])
        machines = [machine for machine, collector in found if collector.rows]
        if fits is not None:
            edges = np.concatenate(([0], np.cumsum(fits)))[edges]
            left = np.diff(edges) > 0
            machines = [machine for machine, is_left in zip(machines, left.tolist(), strict=True) if is_left]
            edges = np.concatenate(([0], edges[1:][left]))
        if machines:
            decoded.together.append(
                ManyMachines(machines, collectors[0].route, edges, RowBlock(offsets, times, values))
            )

    def _columns(
        self, collectors: Sequence[_Collector], batch: PartitionBatch, decoded: Decoded
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Offsets [n], times [n] and values [n, C] of collectors of one route; rows that 32 bits cannot hold become dead letters.

        Returns:
            also which of the rows could be held; None: all.
        """
        channels = collectors[0].route.layout.channels
        wide = np.frombuffer(
            b"".join([row for collector in collectors for row in collector.rows]), dtype="<f8"
        ).reshape(-1, len(channels))
        with np.errstate(over="ignore"):
            values = wide.astype(np.float32)
        times = np.array([time for collector in collectors for time in collector.times], dtype=np.int64)
        indices = [index for collector in collectors for index in collector.indices]
        fits: np.ndarray | None = None
        if not np.isfinite(values).all():
            fits = np.atleast_1d(np.isfinite(values).all(axis=1))
            for position in np.flatnonzero(~fits).tolist():
                index = indices[position]
                try:
                    to_float32(wide[position : position + 1], channels)
                except DecodeError as error:
                    decoded.dead_letters.append(Emission(batch.offsets[index], dead_letter(batch, index, error)))
            values, times = values[fits], times[fits]
            indices = [index for index, fit in zip(indices, fits.tolist(), strict=True) if fit]
        offsets = np.array([batch.offsets[index] for index in indices], dtype=np.int64)
        return offsets, times, self._measured(values), fits


def _shown(names: list[str]) -> str:
    return first_names([shown(name) for name in names])
