"""What is told of a drift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from wheeltapper.stream.core.judging import Judged


@dataclass(frozen=True, slots=True)
class MovedChannel:
    """A channel that moved.

    Attributes:
        index: of the channel. statistic: the one that moved most; before, after: its value, raw units.
        effect: of the move, in standard deviations of the channel's normal rows.
    """

    index: int
    statistic: str
    before: float
    after: float
    effect: float


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A drift that starts or ends.

    Attributes:
        bundle: id of the bundle that found it. since: event time (us) of the change, as estimated.
        tests: that agree. channels: that moved, the largest effect first.
        score_before, score_after: median calibrated scores.
        first_offset: input offset of the first window since the change. alert_open: the rule has an alert open.
    """

    event: Literal["started", "ended"]
    bundle: str
    since: int
    tests: tuple[str, ...]
    channels: tuple[MovedChannel, ...]
    score_before: float
    score_after: float
    first_offset: int
    alert_open: bool


class DriftReport(Protocol):
    """Turns a finding into outputs."""

    def __call__(self, judged: Judged, position: int, finding: DriftFinding) -> Iterable[Any]:
        """
        Args:
            position: of the window with which it was noticed, among the judged ones.
        """
        ...
