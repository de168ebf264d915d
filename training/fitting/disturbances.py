"""Labelled windows for machines without labels: normal windows, half of them with artificial disturbances.

Each disturbance reaches the window's last row, so that the label, which is that row's, is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL

# Sizes are in standard deviations of a channel: from what is just visible to what is plain.
SMALLEST, LARGEST = 1.5, 8.0

Disturbance = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def disturbed_pool(
    windows: np.ndarray, moving: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """[m, W, C] normal windows, z-scores, to the same with every other one disturbed, and [m] labels.

    Args:
        moving: [C] bool, channels that vary; the others stay as they are.
    """
    windows = windows.astype(np.float32, copy=True)
    labels = np.full(len(windows), NORMAL, dtype=np.int8)
    channels = np.flatnonzero(moving)
    for place, index in enumerate(range(1, len(windows), 2)):
        chosen = some_channels(channels, random)
        disturb = DISTURBANCES[place % len(DISTURBANCES)]
        windows[index][:, chosen] = disturb(windows[index][:, chosen], random)
        labels[index] = ANOMALOUS
    return windows, labels


def _size(random: np.random.Generator, channels: int) -> np.ndarray:
    """[c], either sign."""
    size = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST)))
    return np.asarray(size * random.choice([-1.0, 1.0], channels))


def _start(random: np.random.Generator, window: int) -> int:
    """Row from which a lasting disturbance is on."""
    return int(random.integers(window // 4, window - 1))


def spike(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[W, c]: one to three last rows jump."""
    part[-int(random.integers(1, 4)) :] += 1.5 * _size(random, part.shape[1])
    return part


def level_shift(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    part[_start(random, len(part)) :] += _size(random, part.shape[1])
    return part


def drift(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    start = _start(random, len(part)) // 2
    part[start:] += np.linspace(0, 1, len(part) - start)[:, None] * _size(random, part.shape[1])
    return part


def stuck(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Held at one value, which is not the usual one: a channel may well stand still there."""
    start = _start(random, len(part))
    part[start:] = part[start] + 0.7 * _size(random, part.shape[1])
    return part


def noise(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    start = _start(random, len(part))
    part[start:] += np.abs(_size(random, part.shape[1])) * random.standard_normal(part[start:].shape)
    return part


def broken_correlation(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Values of other rows and channels of the window: each plausible alone; and a step, as some windows hardly move."""
    mixed = part[::-1, random.permutation(part.shape[1])]
    start = _start(random, len(part))
    part[start:] = -mixed[start:] + 0.5 * _size(random, part.shape[1])
    return part


def frequency(part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A swing that was not there: of four to sixteen rows, or as slow as the window allows."""
    start = _start(random, len(part))
    rows = np.arange(len(part) - start)[:, None]
    period = random.uniform(4, max(4.0, min(16.0, len(part) - start)))
    part[start:] += _size(random, part.shape[1]) * np.sin(2 * np.pi * rows / period + random.uniform(0, 2 * np.pi))
    return part


def disturbed_copies(
    windows: np.ndarray, moving: np.ndarray, random: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every window once with each kind of fault.

    Args:
        windows: [m, W, C] z-scores.
        moving: [C] bool, channels that vary; at least one.

    Returns:
        kind -> (windows [m, W, C], channels [m, C] bool: those that are disturbed).
    """
    channels = np.flatnonzero(moving)
    found = {}
    for kind, disturb in KINDS.items():
        copies = windows.astype(np.float32, copy=True)
        blamed = np.zeros((len(windows), windows.shape[2]), np.bool_)
        for copy, mask in zip(copies, blamed, strict=True):
            chosen = some_channels(channels, random)
            copy[:, chosen] = disturb(copy[:, chosen], random)
            mask[chosen] = True
        found[kind] = copies, blamed
    return found


def some_channels(channels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some of the channels: a fault shows in few channels more often than in many."""
    count = 1 + int(min(random.geometric(0.25), max(len(channels) // 2, 1)) - 1)
    return random.choice(channels, size=min(count, len(channels)), replace=False)


DISTURBANCES: tuple[Disturbance, ...] = (spike, level_shift, drift, stuck, noise, broken_correlation)
"""What networks are trained with; in the order that trained bundles were made with."""

KINDS: Mapping[str, Disturbance] = MappingProxyType(
    {
        "spike": spike,
        "level": level_shift,
        "drift": drift,
        "frequency": frequency,
        "stuck": stuck,
        "correlation": broken_correlation,
    }
)
"""Kinds of faults that the gate of adaptation asks for."""
