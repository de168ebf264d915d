"""Which channels a score of rows comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wheeltapper.schemas.events import ChannelShare, ClipPointer, InputSpan, Patch
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds.contract import input_span, is_named


class ChannelEvidence:
    """One rule's channels; see `stream.kinds.contract.Evidence`."""

    def __init__(self, rule: RuleSpec) -> None:
        self._names = rule.manifest.channel_names
        self._units = tuple(channel.unit for channel in rule.manifest.channels)
        self._lag = rule.manifest.lag
        self._rule = rule

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

    def explained(self, shares: Sequence[ChannelShare], judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """The same with the worst rows of those channels that are worth naming."""
        rows = judged.due.rows
        named = [share for share in shares if is_named(share, shares)]
        if rows is None or not named:
            return tuple(shares)
        times, values = rows.window(position)
        scored = judged.scored
        expected = None if scored.expected is None else scored.expected[judged.start + position]
        columns = [self._names.index(share.channel) for share in named]
        worst = self._rule.worst_rows.find(times, values, columns, self._lag, expected)
        told = dict(zip((share.channel for share in named), worst, strict=True))
        return tuple(
            share if told.get(share.channel) is None else share.model_copy(update={"worst": told[share.channel]})
            for share in shares
        )

    def input(self, judged: Judged, position: int) -> InputSpan | None:
        """The messages that the window's rows came in."""
        rows = judged.due.rows
        span = None if rows is None else rows.offset_span(position)
        return None if span is None else input_span(judged, span)

    def patches(self, judged: Judged, position: int) -> tuple[Patch, ...]:
        """None."""
        return ()

    def clip(self, judged: Judged, position: int) -> ClipPointer | None:
        """None."""
        return None


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None
