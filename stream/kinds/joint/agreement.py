"""When the alerts of a machine's sensors and of its sound agree: one joint alert with the evidence of both.

A joint alert opens when an alert of rows and one of sound overlap in event time and opened within a set time of each other. It speaks
again when the worse of both does, and ends with the first of both that ends. An alert takes part in one joint alert at most.

Rows and sound come from two topics, and a worker that catches up may tell the whole life of one side's alert before the other's
begins: alerts that have ended are therefore kept in mind, and a joint alert may open and end at once. All of it is a function of the
alerts in their order on the topic; its id comes from the machine and the later of both openings, so that a repeated event keeps its id.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from wheeltapper.schemas.audio_chunk import MICROPHONE_SEPARATOR, split_source
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Patch
from wheeltapper.stream.core.alert_life import SEVERITY_STEP, alert_id
from wheeltapper.stream.core.saved import flag, moment, optional, score, text, whole

RULE = "joint"
DETECTOR = "joint"

Side = Literal["rows", "sound"]

# Alerts of a machine that are kept in mind, open ones and ended ones: more than a person reads of one machine.
MOST_KNOWN = 64
PATCHES = 8


@dataclass(slots=True)
class _Known:
    """One alert of a machine.

    Attributes:
        ended_at: event time (us) of its end; None: it is open.
        joined: it takes, or took, part in a joint alert.
        last: its newest event but the end, in JSON types.
    """

    side: Side
    opened_at: int
    last: dict[str, Any]
    ended_at: int | None = None
    joined: bool = False


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
        self._alerts: dict[str, _Known] = {}
        """By id, in the order in which they came."""
        self._joint: _Joint | None = None

    def step(self, alert: AlertEvent, within_us: int) -> list[AlertEvent]:
        """What the next alert event of the machine leads to.

        Args:
            within_us: most that the openings may lie apart.
        """
        self.machine = split_source(alert.machine)[0]
        known = self._alerts.get(alert.alert_id)
        if known is not None and known.ended_at is not None:
            return []  # said again
        if alert.event == "cleared":
            if known is None:
                return []
            known.ended_at = alert.time
            return self._end(alert) if self._is_part(alert.alert_id) else []
        side = known.side if known is not None else side_of(alert)
        if side is None:
            return []
        if known is None:
            self._alerts[alert.alert_id] = _Known(side, alert.opened_at, alert.model_dump(mode="json"))
            self._forget()
        else:
            known.last = alert.model_dump(mode="json")
        if self._is_part(alert.alert_id):
            return self._go_on(alert)
        return self._begin(alert, within_us) if self._joint is None else []

    def dump(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "machine": self.machine,
            "alerts": {ident: asdict(each) for ident, each in self._alerts.items()},
            "joint": None if self._joint is None else asdict(self._joint),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it cannot be read.
        """
        alerts = {text(ident): _known(each) for ident, each in saved["alerts"].items()}
        if len(alerts) > MOST_KNOWN:
            raise ValueError(f"{len(alerts)} alerts, at most {MOST_KNOWN} are kept")
        joint = None if saved["joint"] is None else _joint(saved["joint"])
        if joint is not None:
            parts = [alerts.get(joint.rows), alerts.get(joint.sound)]
            if [each and (each.side, each.ended_at, each.joined) for each in parts] != [
                ("rows", None, True),
                ("sound", None, True),
            ]:  # it would never end, and no other could open
                raise ValueError("a joint alert whose parts are not two open alerts, of rows and of sound")
        self.machine, self._alerts, self._joint = text(saved["machine"]), alerts, joint

    def _is_part(self, ident: str) -> bool:
        """Of the open joint alert."""
        return self._joint is not None and ident in (self._joint.rows, self._joint.sound)

    def _forget(self) -> None:
        """The oldest that have ended first, then the oldest."""
        while len(self._alerts) > MOST_KNOWN:
            free = [ident for ident in self._alerts if not self._is_part(ident)]
            self._alerts.pop(next((ident for ident in free if self._alerts[ident].ended_at is not None), free[0]))

    def _begin(self, alert: AlertEvent, within_us: int) -> list[AlertEvent]:
        """A joint alert of this one and that of the other side which opened nearest to it."""
        known = self._alerts[alert.alert_id]
        others = [
            (abs(each.opened_at - alert.opened_at), ident)
            for ident, each in self._alerts.items()
            if each.side != known.side
            and not each.joined
            and (each.ended_at is None or each.ended_at >= alert.opened_at)
        ]
        if known.joined or not others or min(others)[0] > within_us:
            return []
        other = min(others)[1]
        rows, sound = (alert.alert_id, other) if known.side == "rows" else (other, alert.alert_id)
        both = [self._event(rows), self._event(sound)]
        self._joint = _Joint(
            rows,
            sound,
            max(each.opened_at for each in both),
            max(each.severity for each in both),
            max(each.peak_score for each in both),
        )
        known.joined = self._alerts[other].joined = True
        events = [self._told(alert, "opened")]
        ended_at = self._alerts[other].ended_at
        if ended_at is not None:
            events += self._end(alert.model_copy(update={"time": max(ended_at, self._joint.opened_at)}))
        return events

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
            area=cause.area,
            asset=cause.asset,
        )

    def _event(self, ident: str) -> AlertEvent:
        return AlertEvent.model_validate(self._alerts[ident].last)


def _known(saved: dict[str, Any]) -> _Known:
    AlertEvent.model_validate(saved["last"])
    if saved["side"] not in ("rows", "sound"):
        raise ValueError(f"side is {saved['side']!r}, expected rows or sound")
    return _Known(
        saved["side"],
        moment(saved["opened_at"]),
        saved["last"],
        optional(moment, saved["ended_at"]),
        flag(saved["joined"]),
    )


def _joint(saved: dict[str, Any]) -> _Joint:
    return _Joint(
        text(saved["rows"]),
        text(saved["sound"]),
        moment(saved["opened_at"]),
        whole(saved["severity"], 0, 100),
        score(saved["peak_score"]),
    )
