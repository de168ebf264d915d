"""Which rows a machine takes in: late rows, restarted clocks, gaps, missing values. Each case is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import structlog

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.windows import Machine
from wheeltapper.stream.kinds.sensors.decoding import MachineRows
from wheeltapper.stream.settings import WindowSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptedRows:
    """Rows for the tail: offsets [n], times [n] int64, values [n, C] float32 without NaN, absent [n, C]: which imputed."""

    offsets: np.ndarray
    times: np.ndarray
    values: np.ndarray
    absent: np.ndarray | bool


def accept_rows(
    machine: Machine, rows: MachineRows, settings: WindowSettings, counters: Counters
) -> Iterator[AcceptedRows]:
    """Yield the rows to append, in order; in several parts where the tail is emptied in between.

    The outcome depends on the rows alone, not on how they were grouped into messages: what a decision needs of earlier
    rows is carried in `machine`.
    """
    times = rows.times
    steps = np.empty(len(times), dtype=np.int64)  # np.diff(prepend=..) takes three times as long
    steps[0] = 1 if machine.last_time is None else times[0] - machine.last_time
    np.subtract(times[1:], times[:-1], out=steps[1:])
    largest_step = settings.max_gap_intervals * machine.route.interval_us or np.iinfo(np.int64).max
    if steps.min() > 0 and steps.max() <= largest_step:
        machine.late_run = 0
        parts: list[tuple[bool, list[int] | slice]] = [(False, slice(None))]
    else:
        parts = _sort_out(machine, times.tolist(), largest_step, settings.clock_restart_rows, counters)
    for restart, picked in parts:
        if restart:
            machine.tail.clear()
        part_times = times[picked]
        if len(part_times):
            machine.last_time = int(part_times[-1])
            counters.newest_time = max(counters.newest_time, machine.last_time)
            counters.rows += len(part_times)
            values, absent = _impute(machine, rows.values[picked], counters)
            yield AcceptedRows(rows.offsets[picked], part_times, values, absent)


def _sort_out(
    machine: Machine, times: list[int], largest_step: int, restart_rows: int, counters: Counters
) -> list[tuple[bool, list[int] | slice]]:
    """Row by row: (whether the tail starts anew, rows to take) for each part."""
    taken: list[int] = []
    parts: list[tuple[bool, list[int] | slice]] = [(False, taken)]
    last = machine.last_time
    for index, time in enumerate(times):
        if last is not None and time <= last:
            machine.late_run += 1
            if not restart_rows or machine.late_run < restart_rows:
                counters.late_rows += 1
                continue
            log.warning("clock restarted", machine=machine.name, late_rows=machine.late_run, from_us=last, to_us=time)
            counters.clock_restarts += 1
            parts.append((True, taken := []))
        elif last is not None and time - last > largest_step:
            counters.gaps += 1
            parts.append((True, taken := []))
        machine.late_run = 0
        last = time
        taken.append(index)
    return parts


def _impute(machine: Machine, values: np.ndarray, counters: Counters) -> tuple[np.ndarray, np.ndarray | bool]:
    """Missing values carry the channel's last value forward; they count against the window's quality."""
    absent = np.isnan(values)
    if not absent.any():
        return values, False
    before = machine.tail.last_row()
    with_before = np.concatenate([(machine.route.fill if before is None else before)[None], values])
    rows = np.arange(len(with_before))[:, None]
    source = np.where(np.isnan(with_before), 0, rows)
    np.maximum.accumulate(source, axis=0, out=source)
    filled = np.take_along_axis(with_before, source, axis=0)[1:]
    counters.imputed_values += int(absent.sum())
    return filled, absent
