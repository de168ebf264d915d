"""Scores and alerts as the messages that other programs read."""

from __future__ import annotations

from collections.abc import Callable

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Localization
from wheeltapper.schemas.topics import LOCALIZATIONS
from wheeltapper.stream.core.alert_life import AlertState, EventKind, alert_id, severity_of
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.kinds.contract import Evidence, is_named
from wheeltapper.stream.outgoing import JSON_HEADERS, alert_output, short
from wheeltapper.stream.records import Output


class AlertMessages:
    """Builds one rule's messages."""

    def __init__(
        self,
        rule: RuleSpec,
        evidence: Evidence,
        top: int,
        placed: Callable[[AlertEvent], AlertEvent] = lambda alert: alert,
    ) -> None:
        """
        Args:
            top: channels, and patches of sound, named in an alert; localizations name all.
            placed: adds to an alert where its machine stands.
        """
        self._rule = rule
        self._evidence = evidence
        self._placed = placed
        self.top = top

    def alert(
        self, judged: Judged, position: int, state: AlertState, event: EventKind, level: float
    ) -> tuple[Output, ...]:
        """The AlertEvent of window `position`, and beside 'opened' and 'updated' its Localization."""
        manifest, machine = self._rule.manifest, judged.machine
        assert state.opened_at is not None
        ident = alert_id(machine, self._rule.name, state.bundle, state.opened_at)
        time = int(judged.due.times[position])
        shares, patches = self.shares(judged, position), self._evidence.patches(judged, position)
        if event != "cleared":
            shares = self._evidence.explained(shares, judged, position)
        alert = AlertEvent(
            alert_id=ident,
            machine=machine,
            event=event,
            opened_at=state.opened_at,
            time=time,
            severity=severity_of(state.peak_score),
            score=short(float(judged.score[position])),
            peak_score=short(state.peak_score),
            threshold=short(level),
            rule=self._rule.name,
            detector=manifest.detector,
            bundle=manifest.bundle_id,
            quality=short(float(judged.due.quality[position])),
            channels=tuple(share for share in shares if is_named(share, shares))[: self.top],
            reason=ClearReason.RECOVERED if event == "cleared" else None,
            level_reason=judged.level_reason,
            patches=patches[: self.top],
            input=self._evidence.input(judged, position),
        )
        opened = alert_output(self._placed(alert))
        if event == "cleared":
            return (opened,)
        localization = Localization(
            alert_id=ident,
            machine=machine,
            time=time,
            rule=self._rule.name,
            detector=manifest.detector,
            bundle=manifest.bundle_id,
            channels=shares,
            patches=patches,
            clip=self._evidence.clip(judged, position),
        )
        value = localization.model_dump_json().encode()
        return opened, Output(LOCALIZATIONS, record_key(machine), value, JSON_HEADERS)

    def shares(self, judged: Judged, position: int) -> tuple[ChannelShare, ...]:
        """Every channel's part in window `position`, strongest first."""
        return self._evidence.shares(judged, position)


def ended_alert(
    machine: str, rule: str, detector: str, bundle: str, state: AlertState, time: int, reason: ClearReason
) -> AlertEvent:
    """The 'cleared' of an open alert that ends without a scored window: score, threshold and quality are 0."""
    assert state.opened_at is not None
    return AlertEvent(
        alert_id=alert_id(machine, rule, state.bundle, state.opened_at),
        machine=machine,
        event="cleared",
        opened_at=state.opened_at,
        time=max(time, state.opened_at),
        severity=severity_of(state.peak_score),
        score=0.0,
        peak_score=short(state.peak_score),
        threshold=0.0,
        rule=rule,
        detector=detector,
        bundle=bundle,
        quality=0.0,
        channels=(),
        reason=reason,
    )
