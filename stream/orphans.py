"""Alerts whose rule, or whose machine, is not served any more: of machines at work, and what is left over of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from wheeltapper.schemas.events import AlertEvent, ClearReason
from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.alert_life import AlertState
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.stream.deployment import shadow_slot
from wheeltapper.stream.judges.messages import ended_alert
from wheeltapper.stream.judges.silence import end_of_silence
from wheeltapper.stream.machine import Machine, ServedRule
from wheeltapper.stream.state import SavedRule, Snapshot


def by_place(saved: Mapping[str, SavedRule], runtimes: Mapping[str, RuleRuntime]) -> dict[str, SavedRule]:
    """Saved rules by the places of today's.

    Layout WTS1 knew a rule by its bundle's id alone: it is the rule that this bundle serves, else the one whose name the id
    starts with (ids start with the detector's name, and so do rules' names).
    """
    places: dict[str, SavedRule] = {}
    for name, rule in saved.items():
        if name in runtimes or name != rule.bundle:
            places[name] = rule
            continue
        same = [place for place, runtime in runtimes.items() if runtime.rule.manifest.bundle_id == rule.bundle]
        akin = sorted((place for place in runtimes if rule.bundle.startswith(f"{place}-")), key=len, reverse=True)
        free = [place for place in (*same, *akin) if place not in places]
        places[free[0] if free else name] = rule
    return places


def ends_of(
    rules: Mapping[str, SavedRule], machine: str, last_time: int | None, reason: ClearReason
) -> list[AlertEvent]:
    """The ends of these rules' open alerts; shadows have none that anybody heard of."""
    ended = []
    for place, rule in rules.items():
        alert = rule.alert()
        if alert.opened_at is not None and not place.startswith(shadow_slot("")):
            detector = rule.detector or place
            ended.append(
                ended_alert(machine, place, detector, rule.bundle, alert, last_time or alert.opened_at, reason)
            )
    return ended


def ends_of_machine(snapshot: Snapshot) -> list[AlertEvent]:
    """The ends of all alerts of a machine that no bundle serves."""
    last = snapshot.memory.get("last_time")
    reason = ClearReason.MACHINE_RETIRED
    events = ends_of(snapshot.rules, snapshot.machine, last if isinstance(last, int) else None, reason)
    if snapshot.silent_since is not None:
        events.append(end_of_silence(snapshot.machine, snapshot.silent_since, snapshot.silent_since, reason))
    return events


def ends_of_rules(machine: Machine, rules: Mapping[str, ServedRule], reason: ClearReason) -> list[AlertEvent]:
    """The ends of these rules' open alerts; shadows have none that anybody heard of."""
    ended = []
    for place, served in rules.items():
        state: AlertState = served.memory.slots[ALERT]
        rule = served.runtime.rule
        if state.opened_at is not None and place != shadow_slot(rule.name):
            time = machine.memory.last_time or state.opened_at
            manifest = rule.manifest
            ended.append(
                ended_alert(machine.name, rule.name, manifest.detector, manifest.bundle_id, state, time, reason)
            )
    return ended
