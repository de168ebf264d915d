"""`wheeltapper alarm`: tell the workers what an alarm was."""

from __future__ import annotations

import argparse
import re
import sys
import uuid
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean

if TYPE_CHECKING:
    from wheeltapper.schemas.commands import AlarmCommand
    from wheeltapper.schemas.events import AlertEvent
    from wheeltapper.stream.settings import Settings

ACTIONS = {
    "accept": "this is the new normal: the open alert ends, the level moves above the scores of the last hours",
    "reset": "the level is as on the first day",
    "confirm": "the alarm was true",
    "reject": "the alarm was false",
    "maintenance": "from --start to --until: no alarms, and nothing is learned",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.add_argument("action", choices=tuple(ACTIONS), help="; ".join(f"{k}: {v}" for k, v in ACTIONS.items()))
    parser.add_argument(
        "target",
        metavar="ALERT | MACHINE",
        help="an alert's id or a unique beginning of it, or a machine's id or pattern (fnmatch)",
    )
    parser.add_argument("--rule", metavar="NAME", default="", help="which rule of the machine is meant (default: all)")
    parser.add_argument(
        "--start",
        metavar="WHEN",
        help="maintenance: its start in event time, ISO 8601 (UTC without an offset) (default: now)",
    )
    parser.add_argument(
        "--until", metavar="WHEN", help="maintenance: its end, ISO 8601, or how long: 90m, 2h, 3d after its start"
    )
    parser.add_argument("--who", metavar="NAME", help="who says so (default: the user's login name)")
    parser.add_argument("--comment", metavar="TEXT", default="", help="for others (default: none)")
    parser.add_argument("--json", action="store_true", help="print the message as a JSON object")
    add_kafka_arguments(parser)
    add_prefix_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no cluster there, no such topic or alert."""
    from wheeltapper.control_messages import now_us, person, send
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.schemas.commands import AlarmCommand

    now = now_us()
    span = _span(arguments, now)
    settings = settings_from(arguments)
    who = person(arguments.who)
    machine, rule, ident, said = _meant(settings, arguments)
    command = AlarmCommand(
        command_id=str(uuid.uuid4()),
        machine=machine,
        action=arguments.action,
        rule=rule,
        alert_id=ident,
        who=who,
        at=now,
        comment=arguments.comment,
        start=span[0],
        until=span[1],
    )
    send(settings, (machine, command))
    if arguments.json:
        print(command.model_dump_json())
    else:
        print(_text(command, said))
    return 0


def _span(arguments: argparse.Namespace, now: int) -> tuple[int | None, int | None]:
    if arguments.action != "maintenance":
        for option in ("start", "until"):
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option} goes with maintenance, not with {arguments.action}")
        return None, None
    if arguments.until is None:
        raise InputError("alarm maintenance: --until is missing; say when it ends, such as --until 2h")
    start = now if arguments.start is None else _moment("--start", arguments.start)
    long = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", arguments.until)
    if long:
        until = start + int(float(long[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[long[2]] * 1_000_000)
    else:
        until = _moment("--until", arguments.until)
    if until <= start:
        raise InputError(f"--until {arguments.until}: expected a moment after the start")
    return start, until


def _moment(option: str, text: str) -> int:
    from wheeltapper.schemas.clock import micros_from_iso

    try:
        return micros_from_iso(text)
    except ValueError as error:
        raise InputError(
            f"{option} {text}: expected ISO 8601 like 2026-01-31T08:00 or 2026-01-31T08:00+01:00"
        ) from error


def _meant(settings: Settings, arguments: argparse.Namespace) -> tuple[str, str, str, AlertEvent | None]:
    """Machine or pattern, rule, alert id, and the alert where one is meant."""
    target, rule = arguments.target, arguments.rule
    if arguments.action in ("maintenance", "reset") or any(character in target for character in "*?["):
        return target, rule, "", None
    from wheeltapper.follow.alerts import SHORTEST_ID

    alerts = _alerts(settings)
    found = [ident for ident in alerts if len(target) >= SHORTEST_ID and ident.startswith(target)]
    if len(found) > 1:
        raise InputError(f"alarm {arguments.action}: {len(found)} alerts begin with '{target}'; give more of the id")
    if found:
        alert = alerts[found[0]]
        return alert.machine, alert.rule, alert.alert_id, alert
    mine = [alert for alert in alerts.values() if alert.machine == target and rule in ("", alert.rule)]
    if not mine:
        raise InputError(
            f"alarm {arguments.action}: no alert and no machine with alerts is called '{target}'"
            f"{f' under rule {rule}' if rule else ''}; 'wheeltapper alerts' shows them"
            + did_you_mean(target, {alert.machine for alert in alerts.values()})
        )
    open_ones = [alert for alert in mine if alert.event != "cleared"]
    # Of several rules' alerts none is named: the command is for all of them.
    chosen = open_ones[-1] if len(open_ones) == 1 else None
    if chosen is None and not open_ones and arguments.action in ("confirm", "reject"):
        chosen = max(mine, key=lambda alert: alert.opened_at)
    return (target, rule, "", None) if chosen is None else (target, chosen.rule, chosen.alert_id, chosen)


def _alerts(settings: Settings) -> dict[str, AlertEvent]:
    """The last event of each alert that a bundle raised, by id."""
    from wheeltapper.follow.alerts import AlertReader

    alerts: dict[str, AlertEvent] = {}
    with AlertReader(settings, tell=_tell) as reader:
        for one in reader.read_to_end():
            if one.message is not None and one.message.bundle:
                alerts[one.message.alert_id] = one.message
    return alerts


def _text(command: AlarmCommand, alert: AlertEvent | None) -> str:
    from wheeltapper.alert_view import printable
    from wheeltapper.schemas.clock import iso_from_micros

    machine = printable(command.machine)
    rule = f", rule {printable(command.rule)}" if command.rule else ", all rules"
    if command.action == "maintenance":
        assert command.start is not None
        assert command.until is not None
        span = f"from {iso_from_micros(command.start)} to {iso_from_micros(command.until)}"
        return f"maintenance of '{machine}' {span}: no alarms, nothing is learned"
    if alert is None:
        which = "no single alert is meant"
    else:
        state = "ended" if alert.event == "cleared" else "open"
        which = f"alert {alert.alert_id}, opened {iso_from_micros(alert.opened_at)}, {state}"
    return f"{command.action}: machine '{machine}'{rule}; {which}"


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
