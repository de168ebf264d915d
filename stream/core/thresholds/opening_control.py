"""A controller on how often alarms open: an alarm raises the level, time in which none is open lets it sink.

The level stands still while an alarm is open, so a fault that lasts is never learned; what a machine says more often than asked
becomes what it has to exceed.

The standing rule: earlier alarms must not hide a fault that lasts. Beneath a raised level an alarm at the machine's own level is
followed in silence; once it has stood for some hours, that level is in force, so that the alert opens, or stays open.

The lift of the level is kept as the event time that it takes to sink to nothing: whole microseconds, from which time is
subtracted. However windows are grouped, the sum is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wheeltapper.stream.core.durations import Durations
from wheeltapper.stream.core.policies import AlarmRules
from wheeltapper.stream.core.saved import LONGEST_US, level, moment, optional, span, text, whole
from wheeltapper.stream.core.thresholds.contract import Calibrated, OperatorAction

# Steps of the level in what one alarm adds.
FINENESS = 64
# Nobody could raise an alarm in a gap: for longer than that, or ten intervals, it lets no level sink.
MOST_SINK_S = 3_600.0
# A level that far from the machine's own is worth a word in an alert.
WORTH_SAYING = 1.1


@dataclass(slots=True)
class ControlState:
    """What is known of one machine.

    Attributes:
        of: the bundle that it was learned under.
        opening: event time (us) in which the level sinks by what an alarm adds, under the asked rate that `lift` was kept for.
        lift: event time (us) in which the level sinks back to the machine's own; below 0: it has sunk beneath it.
        accepted: by what the machine's own level was moved: an operator's `accept`.
        seen: event time (us) of the last window; None before the first.
        frozen: lift with which the open alert was raised; None where none is open.
        shadow, shadow_quiet: how long (us) the alarm at the machine's own level stands, and has been quiet; 0: it does not.
        alarms: opened since the lift was last at 0.
    """

    of: str
    opening: int
    lift: int = 0
    accepted: float = 1.0
    seen: int | None = None
    frozen: int | None = None
    shadow: int = 0
    shadow_quiet: int = 0
    alarms: int = 0


class OpeningControl:
    """A `Threshold` that keeps the number of openings."""

    def __init__(
        self,
        policy: AlarmRules,
        basis: Calibrated,
        *,
        openings_per_day: float,
        lowest: float,
        highest: float,
        level_of: Callable[[float], float],
        stand_s: float | None = None,
    ) -> None:
        """
        Args:
            openings_per_day: that many keep the level where it is.
            lowest, highest: bounds of the lift, in alarms: below 0, above 0.
            level_of: lift in alarms -> level.
            stand_s: how long an alarm at the machine's own level stands before that level is in force; None: for ever.
        """
        self._of = basis.identity
        self._durations = Durations(policy, 86_400.0 / basis.windows_per_day)
        self._clear_ratio = policy.clear_ratio
        self._opening = max(FINENESS, round(86_400e6 / openings_per_day))
        self._unit = self._opening // FINENESS
        self._bottom, self._top = round(lowest * self._opening), round(highest * self._opening)
        self._stand_s = stand_s
        self._stand = None if stand_s is None else round(stand_s * 1e6)
        self._most = max(round(MOST_SINK_S * 1e6), self._durations.most)
        # Levels move in steps, and a lift within a step counts as its upper end: from 0 the level does not sink at once.
        first, last = -(-self._bottom // self._unit), -(-self._top // self._unit)
        self._levels = [level_of(step * self._unit / self._opening) for step in range(first, last + 1)]
        self._table = np.array(self._levels)
        self._zero = -first

    def new(self) -> ControlState:
        return ControlState(self._of, self._opening)

    def adopt(self, memory: ControlState) -> ControlState:
        """See `Threshold.adopt`: another bundle's scores say nothing here; under another asked rate the level stays."""
        if memory.of != self._of:
            again = self.new()
            again.seen, again.frozen = memory.seen, None if memory.frozen is None else 0
            return again
        if memory.opening != self._opening:
            memory.lift = round(memory.lift / memory.opening * self._opening)
            memory.frozen = None if memory.frozen is None else round(memory.frozen / memory.opening * self._opening)
            memory.opening = self._opening
        memory.lift = min(max(memory.lift, self._bottom), self._top)
        return memory

    def level(self, memory: ControlState) -> float:
        lift = memory.lift if memory.frozen is None else memory.frozen
        level = self._levels[self._step(lift)] * memory.accepted
        return min(level, self._own(memory)) if self._stands(memory) else level

    def advance(self, memory: ControlState, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
        """See `Threshold.advance`."""
        if not len(scores):
            return np.empty(0)
        memory.frozen = None
        before = times.item(0) if memory.seen is None else memory.seen
        return self._follow(memory, scores, times, before)

    def pass_quiet(
        self,
        memories: Sequence[ControlState],
        counts: Sequence[int],
        firsts: Sequence[int],
        lasts: Sequence[int],
        peaks: Sequence[float],
    ) -> list[float | None]:
        """See `Threshold.pass_quiet`: where no gap between windows is too long to count, the ends of the batch say all."""
        table, zero, unit, bottom, most = self._levels, self._zero, self._unit, self._bottom, self._most
        levels: list[float | None] = []
        for memory, first, last, peak in zip(memories, firsts, lasts, peaks, strict=True):
            before, lift = memory.seen, memory.lift
            if before is None:
                before = first
            if memory.shadow or before > first or last - before > most:
                levels.append(None)
                continue
            sunk = lift + before - last
            if sunk < bottom:
                sunk = bottom
            lowest = zero - (-sunk // unit)
            own = table[lowest if lowest < zero else zero] * memory.accepted
            if peak >= own or (first != last and lowest != zero - (-max(lift + before - first, bottom) // unit)):
                levels.append(None)
                continue
            memory.frozen, memory.lift, memory.seen = None, sunk, last
            levels.append(table[lowest] * memory.accepted)
        return levels

    def hold(self, memory: ControlState, score: float, time: int) -> float:
        """See `Threshold.hold`."""
        before = time if memory.seen is None else memory.seen
        if memory.frozen is None:
            memory.lift = max(memory.lift - min(max(time - before, 0), self._most), self._bottom)
        memory.seen = time
        own = self._own(memory)
        if self._stand is not None and (memory.shadow or score >= own):
            memory.shadow = self._durations.grown(memory.shadow, before, time)
            if score >= self._clear_ratio * own:
                memory.shadow_quiet = 0
            else:
                memory.shadow_quiet = self._durations.grown(memory.shadow_quiet, before, time)
                if memory.shadow_quiet >= self._durations.clear:
                    memory.shadow = memory.shadow_quiet = 0
        return self.level(memory)

    def opened(self, memory: ControlState, time: int, again: bool = False) -> None:
        """See `Threshold.opened`."""
        memory.frozen = min(memory.lift, 0) if self._stands(memory) else memory.lift
        if not again:
            memory.alarms = memory.alarms + 1 if memory.lift > 0 else 1
            memory.lift = min(memory.lift + self._opening, self._top)

    def cleared(self, memory: ControlState, time: int) -> None:
        """See `Threshold.cleared`."""
        memory.frozen, memory.seen = None, time

    def command(self, memory: ControlState, action: OperatorAction, recent: float) -> ControlState:
        """See `Threshold.command`: a confirmed alarm does not count; a rejected one has counted already."""
        if action == "confirm":
            memory.lift = max(memory.lift - self._opening, self._bottom)
            memory.alarms = max(memory.alarms - 1, 0)
        if action in ("confirm", "reject"):
            return memory
        again = self.new()
        again.seen, again.frozen = memory.seen, None if memory.frozen is None else 0
        if action == "accept":
            again.accepted = max(1.0, recent / self._levels[self._zero])
        return again

    def reason(self, memory: ControlState) -> str:
        """See `Threshold.reason`."""
        parts = [] if memory.accepted == 1 else [f"accepted as normal: own level x {memory.accepted:.2g}"]
        lift = memory.lift if memory.frozen is None else memory.frozen
        factor = self._levels[self._step(lift)] / self._levels[self._zero]
        alarms = memory.alarms - (memory.frozen is not None)  # the open one has not moved the level that raised it
        if self._stands(memory):
            parts.append(f"own level, as the score has stood above it for {(self._stand_s or 0) / 3_600:g} h")
        elif factor >= WORTH_SAYING and alarms > 0:
            parts.append(f"level x {factor:.2g} after {alarms} alarm{'s' if alarms > 1 else ''}")
        elif factor <= 1 / WORTH_SAYING:
            parts.append(f"level x {factor:.2g} after quiet days")
        return ", ".join(parts)

    def dump(self, memory: ControlState) -> Any:
        return asdict(memory)

    def load(self, saved: Any) -> ControlState:
        return ControlState(
            of=text(saved["of"]),
            opening=whole(saved["opening"], 1, LONGEST_US),
            lift=whole(saved.get("lift", 0), -LONGEST_US, LONGEST_US),
            accepted=level(saved.get("accepted", 1.0)),
            seen=optional(moment, saved.get("seen")),
            frozen=optional(lambda lift: whole(lift, -LONGEST_US, LONGEST_US), saved.get("frozen")),
            shadow=span(saved.get("shadow", 0)),
            shadow_quiet=span(saved.get("shadow_quiet", 0)),
            alarms=whole(saved.get("alarms", 0)),
        )

    def _follow(self, memory: ControlState, scores: np.ndarray, times: np.ndarray, before: int) -> np.ndarray:
        """`advance` where something is loud, followed in silence, or far apart in time."""
        levels, start = np.empty(len(scores)), 0
        if memory.shadow == 0:
            # Up to the first window that reaches the machine's own level, or a lower one in force, only time counts.
            passed = np.minimum(np.maximum(np.diff(times, prepend=before), 0), self._most)
            lifts = np.maximum(memory.lift - np.cumsum(passed), self._bottom)
            steps = self._steps(lifts)
            loud = scores >= self._table[np.minimum(steps, self._zero)] * memory.accepted
            start = int(loud.argmax()) if loud.any() else len(scores)
            levels[:start] = self._table[steps[:start]] * memory.accepted
            if start:
                memory.lift, memory.seen = int(lifts[start - 1]), int(times[start - 1])
        for position in range(start, len(scores)):
            score = scores.item(position)
            levels[position] = level = self.hold(memory, score, times.item(position))
            if score >= level:
                return levels[: position + 1]
        return levels

    def _stands(self, memory: ControlState) -> bool:
        return self._stand is not None and memory.shadow >= self._stand

    def _own(self, memory: ControlState) -> float:
        """The level at the machine's own, or lower where it has sunk beneath that: the standing alarm's."""
        return self._levels[min(self._step(memory.lift), self._zero)] * memory.accepted

    def _step(self, lift: int) -> int:
        return self._zero - (-lift // self._unit)

    def _steps(self, lifts: np.ndarray) -> np.ndarray:
        steps: np.ndarray = self._zero - (-lifts // self._unit)
        return steps
