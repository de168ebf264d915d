"""Which channels a score of rows comes from."""

from __future__ import annotations

import math

import numpy as np

from wheeltapper.schemas.events import ChannelShare, ClipPointer, Patch
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.rule import RuleSpec


class ChannelEvidence:
    """One rule's channels; see `stream.kinds.contract.Evidence`."""

    def __init__(self, rule: RuleSpec) -> None:
        self._names = rule.manifest.channel_names
        self._units = tuple(channel.unit for channel in rule.manifest.channels)

    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """Every channel's part in a window, strongest first; equal parts in channel order."""
        scored, index = judged.scored, judged.start + position
        # Infinite parts share alike: they stay so large that others vanish, and so small that their sum is finite.
        contribution = np.maximum(scored.contribution[index].astype(np.float64), 0.0)
        contribution = np.nan_to_num(contribution, nan=0.0, posinf=1e300)
        total = float(contribution.sum())
        share = contribution / total if total > 0 else contribution
        actual = judged.due.actual[position]
        expected = None if scored.expected is None else scored.expected[index].tolist()
        return tuple(
            ChannelShare(
                channel=self._names[column],
                unit=self._units[column],
                share=round(min(1.0, float(share[column])), 6),
                actual=_finite(float(actual[column])),
                expected=None if expected is None else _finite(expected[column]),
            )
            for column in np.argsort(-share, kind="stable").tolist()
        )

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        """None."""
        return ()

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        """None."""
        return None


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None
