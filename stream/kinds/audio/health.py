"""A microphone's health: clipping, offset and silence are counted, a dead microphone is an alert.

Judged in blocks of a quarter of a second, counted in samples since the clock (re)started, so that the grouping of samples into
chunks changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.schemas.clock import MAX_MICROS
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason
from wheeltapper.schemas.limits import MAX_AUDIO_CHANNELS
from wheeltapper.stream.core.alert_life import alert_id, severity_of
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.saved import listed, moment, optional, whole
from wheeltapper.stream.outgoing import short

RULE = "dead-microphone"
BLOCKS_A_SECOND = 4
FULL_SCALE = 0.999
FEWEST_CLIPPED = 4
"""Samples of a block at one and the same extreme, which is full scale or beyond: a sound seldom meets its own peak twice."""
LEAST_OFFSET = 0.01
"""A mean counts as an offset where it is so large, and larger than what moves around it."""


@dataclass(slots=True)
class MicrophoneHealth:
    """What is remembered of one microphone.

    Attributes:
        position: number of the sample with which the next block starts.
        dead: samples in a row that were no sound; live: samples in a row that were, while an alert is open.
        dead_since: event time (us) of the first of the dead ones.
        opened_at: event time (us) of the open alert's opening; None where none is open.
        silent: the channels that give nothing.
    """

    position: int = 0
    dead: int = 0
    live: int = 0
    dead_since: int = 0
    opened_at: int | None = None
    silent: list[int] = field(default_factory=list)

    def restart(self) -> None:
        """Samples are counted anew; an open alert stays open until there is sound."""
        self.position = self.live = 0
        if self.opened_at is None:
            self.dead = 0

    def see(self, block: np.ndarray, dead_below: float, counters: Counters) -> bool:
        """Look at a block's [C, n] samples, and move on behind it; True where a channel gives nothing."""
        low, high = block.min(axis=1), block.max(axis=1)
        wide = block.astype(np.float64)
        mean, spread = wide.mean(axis=1), wide.std(axis=1)
        silent = (low == high) | (spread < dead_below)
        if silent.any():
            count(counters.sound, "silent")
        loudest = np.maximum(-low, high)
        if (loudest >= FULL_SCALE).any():
            at_extreme = np.maximum((block == low[:, None]).sum(axis=1), (block == high[:, None]).sum(axis=1))
            if ((loudest >= FULL_SCALE) & (at_extreme >= FEWEST_CLIPPED) & ~silent).any():
                count(counters.sound, "clipped")
        if ((np.abs(mean) > LEAST_OFFSET) & (np.abs(mean) > spread)).any():
            count(counters.sound, "offset")
        self.position += block.shape[1]
        self.silent = np.flatnonzero(silent).tolist()
        return bool(silent.any())

    def judge(self, is_dead: bool, samples: int, rate: int, dead_after_s: float, start: int, end: int) -> str | None:
        """One block's part in the life of the alert: 'opened', 'cleared' or None.

        Args:
            start, end: event times (us) of the block.
        """
        if is_dead:
            self.live = 0
            if self.dead == 0:
                self.dead_since = start
            self.dead += samples
            if self.opened_at is None and self.dead >= dead_after_s * rate:
                self.opened_at = self.dead_since
                return "opened"
            return None
        if self.opened_at is None:
            self.dead = 0
            return None
        self.live += samples
        if self.live < rate:  # a second of sound: a crackle does not end it
            return None
        self.dead = self.live = 0
        return "cleared"

    def dump(self) -> dict[str, Any]:
        """In JSON types."""
        return asdict(self)

    @staticmethod
    def load(saved: Mapping[str, Any]) -> MicrophoneHealth:
        """
        Raises:
            LookupError, TypeError, ValueError: it cannot be read.
        """
        return MicrophoneHealth(
            whole(saved["position"]),
            whole(saved["dead"]),
            whole(saved["live"]),
            moment(saved["dead_since"]),
            optional(moment, saved["opened_at"]),
            listed(lambda channel: whole(channel, 0, MAX_AUDIO_CHANNELS - 1), saved["silent"], MAX_AUDIO_CHANNELS),
        )


def dead_microphone(
    source: str,
    opened_at: int,
    time: int,
    *,
    score: float = 0.0,
    channels: Sequence[str] = (),
    reason: ClearReason | None = None,
) -> AlertEvent:
    """The AlertEvent of a microphone that gives nothing; with a reason, its end.

    Args:
        opened_at: event time (us) of the first sample that was no sound.
        score: how long it has been dead, over how long it may be.
        channels: that give nothing.
    """
    return AlertEvent(
        alert_id=alert_id(source, RULE, "", opened_at),
        machine=source,
        event="opened" if reason is None else "cleared",
        opened_at=opened_at,
        time=min(max(time, opened_at), MAX_MICROS),
        severity=severity_of(1.0),
        score=short(score),
        peak_score=max(short(score), 1.0),
        threshold=1.0,
        rule=RULE,
        detector=RULE,
        bundle="",
        quality=0.0,
        channels=tuple(ChannelShare(channel=name, share=short(1.0 / len(channels)), actual=None) for name in channels),
        reason=reason,
    )
