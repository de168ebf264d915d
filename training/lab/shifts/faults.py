"""Sparse faults that are written into a stream: six kinds, with their rows and channels known.

Sizes are in standard deviations of a channel over the train part. They are drawn apart from the disturbances that the gate of an
adaptation uses (`wheeltapper.training.fitting.disturbances`): a gate is not to be judged by its own examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("spike", "level", "drift", "frequency", "stuck", "correlation")
RECORDED = "recorded"
"""Kind of a fault that the data set has by itself."""

# From what is just visible to what is plain.
SMALLEST_SD, LARGEST_SD = 1.5, 8.0
MOST_ROWS = 180
LEAST_ROWS = 5
# Between two faults there are so many normal rows at least, so that one alarm is not counted for both.
CLEARANCE_ROWS = 30


@dataclass(frozen=True)
class Fault:
    """Rows [start, stop) of a stream that are faulty.

    Attributes:
        kind: one of `KINDS`, `RECORDED`, or the name of a lasting fault.
        channels: 0-based columns; empty where the source does not say.
    """

    start: int
    stop: int
    kind: str
    channels: tuple[int, ...] = ()


def place_faults(
    random: np.random.Generator, rows: int, count: int, moving: np.ndarray, blocked: Sequence[tuple[int, int]] = ()
) -> tuple[Fault, ...]:
    """Choose rows, kinds and channels of about `count` faults, spread over [0, rows) and in order.

    Args:
        moving: [C] bool, channels that vary; others are left alone.
        blocked: rows [start, stop) that take no fault; a fault that would touch them, or come near, is left out.
    """
    channels = np.flatnonzero(moving)
    if not count or not len(channels):
        return ()
    edges = np.linspace(0, rows, count + 1).astype(int)
    # Every kind as often as the others, before a change and after it.
    kinds = [str(kind) for _ in range(-(-count // len(KINDS))) for kind in random.permutation(list(KINDS))]
    found = []
    for kind, low, high in zip(kinds[:count], edges[:-1], edges[1:], strict=True):
        room = int(high - low) - CLEARANCE_ROWS
        longest = min(MOST_ROWS, room // 2)
        if longest < LEAST_ROWS:
            continue
        length = int(random.integers(1, 4)) if kind == "spike" else _length(random, longest)
        start = int(low + random.integers(0, room - length + 1))
        touched = any(
            start < stop + CLEARANCE_ROWS and start + length > begin - CLEARANCE_ROWS for begin, stop in blocked
        )
        # A fault shows in few channels more often than in many.
        wanted = min(int(random.geometric(0.3)), max(len(channels) // 2, 1))
        chosen = tuple(sorted(int(channel) for channel in random.choice(channels, wanted, replace=False)))
        if not touched:
            found.append(Fault(start, start + length, kind, chosen))
    return tuple(found)


def _length(random: np.random.Generator, longest: int) -> int:
    return round(float(np.exp(random.uniform(np.log(LEAST_ROWS), np.log(longest)))))


def write_fault(values: np.ndarray, fault: Fault, scale: np.ndarray, random: np.random.Generator) -> None:
    """Write a fault into [T, C] values in place; rows and channels that are not its own stay as they are.

    Args:
        scale: [C], standard deviation of each channel.
    """
    rows, columns = slice(fault.start, fault.stop), list(fault.channels)
    part = values[rows, columns].astype(np.float64)
    length = len(part)
    sizes = np.exp(random.uniform(np.log(SMALLEST_SD), np.log(LARGEST_SD))) * random.choice([-1.0, 1.0], len(columns))
    moved = sizes * scale[columns]
    if fault.kind in ("spike", "level"):
        part += moved
    elif fault.kind == "drift":
        part += np.linspace(1 / length, 1, length)[:, None] * moved
    elif fault.kind == "frequency":
        period = random.uniform(3, 12)
        part += np.sin(2 * np.pi * np.arange(length) / period + 0.5)[:, None] * moved
    elif fault.kind == "stuck":
        # At a value that it has had, which is not the usual one: many a channel stands still by itself.
        part[:] = part[0] + 0.5 * moved
    elif fault.kind == "correlation":
        # Values that the channel has had at other times, upside down: each is plausible alone.
        for place, column in enumerate(columns):
            lag = int(random.integers(1, max(len(values) - length, 2)))
            there = values[(np.arange(fault.start, fault.stop) + lag) % len(values), column].astype(np.float64)
            part[:, place] = 2 * np.nanmean(values[:, column]) - there + 0.5 * moved[place]
    else:
        raise ValueError(f"no kind of fault '{fault.kind}'")
    values[rows, columns] = part


def fault_labels(faults: Sequence[Fault], rows: int) -> np.ndarray:
    """[rows] uint8, 1 where a fault is."""
    labels = np.zeros(rows, dtype=np.uint8)
    for fault in faults:
        labels[fault.start : fault.stop] = 1
    return labels
