"""When the alerts of a machine's sensors and of its sound agree: one joint alert with the evidence of both.

A joint alert opens when an alert of rows and one of sound are open whose openings lie within a set time of each other. It speaks
again when the worse of both does, and ends with the first of both that ends. All of it is a function of the alerts in their order
on the topic; its id comes from the machine and the later of both openings, so that a repeated event keeps its id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from wheeltapper.schemas.audio_chunk import MICROPHONE_SEPARATOR, split_source
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Patch
from wheeltapper.stream.core.alert_life import SEVERITY_STEP, alert_id

RULE = "joint"
DETECTOR = "joint"

Side = Literal["rows", "sound"]

# Alerts of a machine that are kept in mind: more rules than a person reads of one machine.
MOST_OPEN = 64
PATCHES = 8


@dataclass(slots=True)
class _Open:
    """One open alert of a machine."""

    side: Side
    opened_at: int
    last: dict[str, Any]
    """Its newest event, in JSON types."""


@dataclass(slots=True)
class _Joint:
    """The open joint alert.

    Attributes:
        rows, sound: ids of the alerts that agree.
        severity, peak_score: as last published, and the worst of both so far.
    """

    rows: str
    sound: str
    opened_at: int
    severity: int
    peak_score: float


def side_of(alert: AlertEvent) -> Side | None:
    """Whether rows or sound raised an alert; None where neither did (silence, a dead microphone, a joint alert)."""
    if not alert.bundle:
        return None
    return "sound" if alert.patches or MICROPHONE_SEPARATOR in alert.machine else "rows"


class Agreement:
    """One machine's alerts.

    Attributes:
        machine: without a microphone.
    """

    def __init__(self, machine: str = "") -> None:
        self.machine = machine
        self._open: dict[str, _Open] = {}
        self._joint: _Joint | None = None

    def step(self, alert: AlertEvent, within_us: int) -> list[AlertEvent]:
        """What the next alert event of the machine leads to.

        Args:
            within_us: most that the openings may lie apart.
        """
        self.machine = split_source(alert.machine)[0]
        known = self._open.get(alert.alert_id)
        if alert.event == "cleared":
            if known is None:
                return []
            del self._open[alert.alert_id]
            return self._end(alert) if self._is_part(alert.alert_id) else []
        side = known.side if known is not None else side_of(alert)
        if side is None:
            return []
        self._open[alert.alert_id] = _Open(side, alert.opened_at, alert.model_dump(mode="json"))
        while len(self._open) > MOST_OPEN:
            self._open.pop(next(ident for ident in self._open if not self._is_part(ident)))
        if self._joint is None:
            return self._begin(alert, side, within_us)
        return self._go_on(alert) if self._is_part(alert.alert_id) else []

    def dump(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "machine": self.machine,
            "open": {ident: asdict(each) for ident, each in self._open.items()},
            "joint": None if self._joint is None else asdict(self._joint),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        opened = {ident: _Open(**each) for ident, each in saved["open"].items()}
        for each in opened.values():
            AlertEvent.model_validate(each.last)
        joint = None if saved["joint"] is None else _Joint(**saved["joint"])
        if joint is not None and not {joint.rows, joint.sound} <= opened.keys():
            raise ValueError("a joint alert whose parts are not open")
        self.machine, self._open, self._joint = saved["machine"], opened, joint

    def _is_part(self, ident: str) -> bool:
        return self._joint is not None and ident in (self._joint.rows, self._joint.sound)

    def _begin(self, alert: AlertEvent, side: Side, within_us: int) -> list[AlertEvent]:
        """A joint alert of this one and the open one of the other side that opened nearest to it."""
        others = [
            (abs(each.opened_at - alert.opened_at), ident) for ident, each in self._open.items() if each.side != side
        ]
        if not others or min(others)[0] > within_us:
            return []
        other = min(others)[1]
        rows, sound = (alert.alert_id, other) if side == "rows" else (other, alert.alert_id)
        both = [self._event(rows), self._event(sound)]
        self._joint = _Joint(
            rows,
            sound,
            max(each.opened_at for each in both),
            max(each.severity for each in both),
            max(each.peak_score for each in both),
        )
        return [self._told(alert, "opened")]

    def _go_on(self, alert: AlertEvent) -> list[AlertEvent]:
        joint = self._joint
        assert joint is not None
        joint.peak_score = max(joint.peak_score, alert.peak_score)
        if alert.severity < joint.severity + SEVERITY_STEP:
            return []
        joint.severity = alert.severity
        return [self._told(alert, "updated")]

    def _end(self, alert: AlertEvent) -> list[AlertEvent]:
        told = self._told(alert, "cleared", alert.reason or ClearReason.RECOVERED)
        self._joint = None
        return [told]

    def _told(
        self, cause: AlertEvent, event: Literal["opened", "updated", "cleared"], reason: ClearReason | None = None
    ) -> AlertEvent:
        joint = self._joint
        assert joint is not None
        channels: tuple[ChannelShare, ...] = ()
        patches: tuple[Patch, ...] = ()
        if event != "cleared":
            rows, sound = self._event(joint.rows), self._event(joint.sound)
            # Each side is half of the evidence.
            halves = [
                share.model_copy(update={"share": share.share / 2}) for share in (*rows.channels, *sound.channels)
            ]
            channels = tuple(sorted(halves, key=lambda share: -share.share))
            patches = sound.patches[:PATCHES]
        return AlertEvent(
            alert_id=alert_id(self.machine, RULE, "", joint.opened_at),
            machine=self.machine,
            event=event,
            opened_at=joint.opened_at,
            time=max(cause.time, joint.opened_at),
            severity=joint.severity,
            score=cause.score,
            peak_score=joint.peak_score,
            threshold=cause.threshold,
            rule=RULE,
            detector=DETECTOR,
            bundle="",
            quality=cause.quality,
            channels=channels,
            reason=reason,
            patches=patches,
        )

    def _event(self, ident: str) -> AlertEvent:
        return AlertEvent.model_validate(self._open[ident].last)
