"""Whether a bundle sees faults in each channel alone, beside what the old one saw in its own regime and sees today."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wheeltapper.training.adaptation.gate_skill import margin, share_below
from wheeltapper.training.adaptation.gate_terms import GatePolicy, GateScores

MOST_STILL = 0.6
"""A bundle whose score rises in no larger share of windows takes no notice of a fault."""


@dataclass(frozen=True)
class Direction:
    """Faults in one channel, up or down, of the smallest size that the old bundle sees in its own regime; AUROC each.

    Attributes:
        reaction: share of windows whose score by the new bundle rises with the fault; 0.5 where nothing changes.
        is_lost: the new bundle is shown to see them worse than the old one did.
        is_worse: it sees them worse than the old one does today.
    """

    size: float
    was: float
    today: float
    new: float
    reaction: float
    is_lost: bool
    is_worse: bool

    @property
    def loss(self) -> float:
        return self.was - self.new


@dataclass(frozen=True)
class Channel:
    """A channel in which the old bundle sees faults in its own regime."""

    name: str
    directions: tuple[Direction, ...]

    @property
    def is_cut_off(self) -> bool:
        """Faults hardly change the score: few windows prove that, while an AUROC of half takes many."""
        return all(each.reaction <= MOST_STILL for each in self.directions)

    @property
    def is_lost(self) -> bool:
        return self.is_cut_off or any(each.is_lost for each in self.directions)

    @property
    def is_blind(self) -> bool:
        """Seen in no direction, or in one worse than today. A channel that is cut off also looks better than one that floods."""
        return (
            self.is_cut_off
            or all(each.is_lost for each in self.directions)
            or any(each.is_lost and each.is_worse for each in self.directions)
        )

    @property
    def worst(self) -> Direction:
        return max(self.directions, key=lambda each: (each.is_lost, each.is_worse, each.loss))

    def to_json(self) -> dict[str, Any]:
        return {"channel": self.name, "directions": [asdict(each) for each in self.directions]}


def channels_of(old: GateScores, new: GateScores, policy: GatePolicy) -> list[Channel]:
    """Every channel in which the old bundle sees faults in its own regime."""
    asked: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    for channel, size in old.reference_probes.disturbed:
        asked[channel][size > 0].append(size)
    found = [
        Channel(
            name, tuple(each for sizes in up_and_down.values() if (each := _direction(old, new, policy, name, sizes)))
        )
        for name, up_and_down in asked.items()
    ]
    return [channel for channel in found if channel.directions]


def _direction(
    old: GateScores, new: GateScores, policy: GatePolicy, channel: str, sizes: list[float]
) -> Direction | None:
    """None where the old bundle sees none of the sizes."""
    reference, before, after = old.reference_probes, old.probes, new.probes
    for size in sorted(sizes, key=abs):
        was, today, now = (
            share_below(probes.normal, probes.disturbed[channel, size]) for probes in (reference, before, after)
        )
        if was.mean() >= policy.seen_auroc:
            loss = float(was.mean() - now.mean())
            error = math.hypot(margin(was, reference.blocks, policy.z), margin(now, after.blocks, policy.z))
            return Direction(
                size,
                float(was.mean()),
                float(today.mean()),
                float(now.mean()),
                float(np.mean(np.sign(after.disturbed[channel, size] - after.undisturbed) / 2 + 0.5)),
                is_lost=not loss - error <= policy.most_blinded,
                is_worse=bool(today.mean() - now.mean() > policy.max_loss),
            )
    return None
