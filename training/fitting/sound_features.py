"""Features of windows of clips for detectors that are fitted on them, and the attributes that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wheeltapper.schemas.bundle.attributes import attribute_row, category_text
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import Clip, windows_of_clips

# Groups of clips count as recordings where there are so many: below, a fit without one of them would miss too much of the machine.
LEAST_GROUPS = 6

LEAST_VALUES = 3

# [C * S] and its attributes [A] to features of any shape.
Features = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(eq=False)
class WindowFeatures:
    """Features of the windows of clips, computed once a clip: a cross-fit asks for the same clips six times.

    Attributes:
        features: of one window.
        window, hop: samples.
        specs: attributes that the features and the detector use.
    """

    features: Features
    window: int
    hop: int
    specs: tuple[AttributeSpec, ...] = ()
    _known: dict[int, tuple[Clip, np.ndarray]] = field(default_factory=dict)

    def of(self, clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features [n, ..], recording [n] int64, attributes [n, A] of all windows, in the order of the clips."""
        found = [self._of_clip(clip) for clip in clips]
        counts = [len(features) for features in found]
        rows = np.stack([attribute_row(clip.attributes, self.specs) for clip in clips])
        return (
            np.concatenate(found),
            np.repeat(recordings(clips), counts),
            np.repeat(rows, counts, axis=0).astype(np.float64),
        )

    def owners(self, clips: Sequence[Clip]) -> list[int]:
        """[n] index of each window's clip."""
        return [at for at, clip in enumerate(clips) for _ in range(len(self._of_clip(clip)))]

    @property
    def overlap(self) -> int:
        """With how many windows before it, and after it, a window shares samples."""
        return -(-self.window // self.hop) - 1

    def _of_clip(self, clip: Clip) -> np.ndarray:
        # The clip itself is kept, so that its id is not given to another.
        if id(clip) not in self._known:
            windows, _ = windows_of_clips([clip], self.window, self.hop)
            attributes = attribute_row(clip.attributes, self.specs)
            self._known[id(clip)] = clip, np.stack([self.features(window, attributes) for window in windows])
        return self._known[id(clip)][1]


def recordings(clips: Sequence[Clip]) -> np.ndarray:
    """[n] int64: which recording each clip is of: its group, or each its own where there are few groups."""
    groups = {group: number for number, group in enumerate(dict.fromkeys(clip.group for clip in clips))}
    if len(groups) >= LEAST_GROUPS:
        return np.array([groups[clip.group] for clip in clips], dtype=np.int64)
    return np.arange(len(clips), dtype=np.int64)


def varying_numbers(clips: Sequence[Clip], least: int = LEAST_VALUES) -> tuple[str, ...]:
    """Attributes that are numbers on every clip, with so many values or more: a line through them can be told from chance."""
    names = dict.fromkeys(name for clip in clips for name in clip.attributes)
    found = []
    for name in names:
        values = [clip.attributes.get(name) for clip in clips]
        if all(isinstance(value, (int, float)) for value in values) and len(set(values)) >= least:
            found.append(name)
    return tuple(found)


def named_attributes(clips: Sequence[Clip], names: Sequence[str], detector: str) -> tuple[AttributeSpec, ...]:
    """The attributes of these names: numbers where all values are, else categories.

    Raises:
        InputError: a name that no clip has.
    """
    specs = []
    for name in dict.fromkeys(names):
        values = [clip.attributes[name] for clip in clips if name in clip.attributes]
        if not values:
            there = sorted({key for clip in clips for key in clip.attributes})
            raise InputError(
                f"{detector}: no train clip has the attribute '{name}'; they have {', '.join(there) or 'none'}: name one of these, "
                "or leave the setting empty"
            )
        if all(not isinstance(value, str) for value in values):
            specs.append(AttributeSpec(name=name))
        else:
            texts = {text for value in values if (text := category_text(value)) is not None}
            specs.append(AttributeSpec(name=name, categories=tuple(sorted(texts))))
    return tuple(specs)
