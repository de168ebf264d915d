"""SoundSeries: one entity's clips, the same shape for every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Domain = Literal["source", "target", ""]
"""DCASE's domains; '' where the data set has none, or hides it."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One recording.

    Attributes:
        name: file name without folder, e.g. 'section_00_source_train_normal_0001.wav'.
        samples: [n, channels] float32; integers scaled to [-1, 1), an accelerometer's in its own unit.
        machine: type or id of the machine, as the data set has it.
        group: what it was recorded together with: clips of one group lie beside each other in time. Splits that are honest
            keep a group together.
        order: place in time among its group; the data set's own numbering.
        domain: see `Domain`.
        anomalous: None where nobody says.
        attributes: the operating point: numbers or texts.
        disturbed: (start s, end s, low Hz, high Hz) of what was put into it, where the clip was made so; for judging patches.
    """

    name: str
    samples: np.ndarray
    machine: str
    group: str = ""
    order: int = 0
    domain: Domain = ""
    anomalous: bool | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    disturbed: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class SoundSeries:
    """One entity: its train clips (normal), its test clips, and what is known of them.

    Attributes:
        dataset, entity: e.g. 'mimii', 'fan_id_00'.
        sample_rate: Hz, of every clip.
        channels: C distinct names, ('sound',) of a microphone; `units` as long, '' where unknown.
        train: normal clips, in the order of time as far as it is known.
        test: clips with labels, in the same order.
    """

    dataset: str
    entity: str
    sample_rate: int
    channels: tuple[str, ...]
    units: tuple[str, ...]
    train: Sequence[Clip]
    test: Sequence[Clip] = ()

    @property
    def seconds(self) -> float:
        """Length of all train clips together."""
        return sum(len(clip.samples) for clip in self.train) / self.sample_rate


def windows_of_clips(clips: Sequence[Clip], window: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut clips into windows as a graph takes them.

    A clip shorter than a window is repeated from its start until it is full; the last window ends with the clip, so that nothing is
    left out.

    Returns:
        windows: [n, C * window] float32, channels one after another; and owner: [n] index of each window's clip.
    """
    parts: list[np.ndarray] = []
    owners: list[int] = []
    for index, clip in enumerate(clips):
        samples = clip.samples
        if len(samples) < window:
            samples = np.tile(samples, (-(-window // len(samples)), 1))[:window]
        starts = list(range(0, len(samples) - window + 1, hop))
        if starts[-1] + window < len(samples):
            starts.append(len(samples) - window)
        for start in starts:
            parts.append(samples[start : start + window].T.ravel())
            owners.append(index)
    if not parts:
        return np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
    return np.stack(parts).astype(np.float32), np.array(owners, dtype=np.int64)
