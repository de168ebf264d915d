"""Operators' words to one machine's rules."""

from __future__ import annotations

from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.events import ClearReason
from wheeltapper.schemas.machine_names import matches
from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.alert_life import AlertState, alert_id
from wheeltapper.stream.deployment import shadow_slot
from wheeltapper.stream.judges.messages import ended_alert
from wheeltapper.stream.machine import Machine, ServedRule
from wheeltapper.stream.outgoing import alert_output
from wheeltapper.stream.records import Output


def tell(machine: Machine, command: AlarmCommand) -> list[Output] | None:
    """What an operator says, to the rules that are meant; ends of alerts that end by it, None where nobody was meant."""
    time = machine.memory.last_time
    if time is None or not any(matches(command.machine, name) for name in (machine.name, machine.patterned)):
        return None
    meant = {
        place: served
        for place, served in machine.rules.items()
        if command.rule in ("", served.runtime.rule.name) and _is_meant(machine, served, command.alert_id)
    }
    if not meant:
        return None
    outputs = []
    for place, served in meant.items():
        rule = served.runtime.rule
        for ended in served.runtime.command(served.memory, command.action, time):
            if place != shadow_slot(rule.name):
                manifest = rule.manifest
                event = ended_alert(
                    machine.name,
                    rule.name,
                    manifest.detector,
                    manifest.bundle_id,
                    ended,
                    time,
                    ClearReason.ACCEPTED,
                )
                outputs.append(alert_output(machine.route.placed(event)))
    return outputs


def _is_meant(machine: Machine, served: ServedRule, ident: str) -> bool:
    """False where a command names an alert and the rule has others: its open one, and the last where that is remembered."""
    state: AlertState = served.memory.slots[ALERT]
    name = served.runtime.rule.name
    alerts = [] if state.last is None else [(state.last.bundle, state.last.opened_at)]
    if state.opened_at is not None:
        alerts.append((state.bundle, state.opened_at))
    known = [alert_id(machine.name, name, bundle, opened) for bundle, opened in alerts]
    return not ident or not known or ident in known
