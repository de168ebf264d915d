"""`wheeltapper alerts`: show alerts from Kafka."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import matches
from wheeltapper.schemas.text import did_you_mean, first_names

if TYPE_CHECKING:
    from wheeltapper.follow.alerts import AlertReader
    from wheeltapper.follow.messages import Received
    from wheeltapper.schemas.events import AlertEvent

_AGO_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the messages, one JSON object per line (default: one readable line per event)",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="wait for further alerts until Ctrl-C (default: stop at the end of the topic)",
    )
    parser.add_argument("--machine", metavar="PATTERN", default="*", help="only these machines, e.g. 'pump-*'")
    parser.add_argument("--rule", metavar="NAME", help="only alerts of this rule (default: all)")
    parser.add_argument(
        "--severity",
        metavar="N",
        type=int,
        help="only events of at least this severity, 0 to 100; 50 is the alarm level (default: all)",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="only alerts that are open now, each by its last event; with --follow then every event that comes",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="stop after N alert events (default: no limit)")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="leave out alerts published before: ISO 8601 (UTC without an offset), or 90s, 15m, 2h, 7d ago "
        "(default: from the beginning)",
    )
    parser.epilog = "Alerts that already exist are shown in the order of event time, later ones as they are published."


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no cluster there, no such topic."""
    from wheeltapper.follow.alerts import AlertReader
    from wheeltapper.kafka_admin import settings_from

    if arguments.severity is not None and not 0 <= arguments.severity <= 100:
        raise InputError(f"--severity {arguments.severity}: expected a whole number from 0 to 100")
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected a whole number of 1 or more")
    since_ms = None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))
    with suppress(KeyboardInterrupt), AlertReader(settings_from(arguments), since_ms=since_ms, tell=_tell) as reader:
        _print_all(_received(reader, arguments), as_json=arguments.json, limit=arguments.limit)
    return 0


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)


def parse_since(text: str, now_ms: int) -> int:
    """--since to milliseconds since 1970 UTC.

    Raises:
        InputError: neither a moment nor a time ago.
    """
    from wheeltapper.schemas.clock import micros_from_iso

    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if ago:
        return now_ms - int(float(ago[1]) * _AGO_UNITS_MS[ago[2]])
    try:
        return max(0, micros_from_iso(text) // 1000)
    except ValueError as error:
        raise InputError(
            f"--since {text}: expected ISO 8601 like 2026-01-31T08:00, or a time ago like 90s, 15m, 2h, 7d"
        ) from error


def _received(reader: AlertReader, arguments: argparse.Namespace) -> Iterator[Received[AlertEvent]]:
    """What the options choose: of what is there already, then of what comes."""
    there = reader.read_to_end()
    chosen = [one for one in (only_open(there) if arguments.open else there) if _is_wanted(one, arguments)]
    yield from chosen
    if arguments.follow:
        yield from (one for one in reader.follow() if one is not None and _is_wanted(one, arguments))
    elif not any(one.message for one in chosen) and _is_choosy(arguments):
        machines = sorted({one.message.machine for one in there if one.message is not None})
        hint = "" if arguments.machine in machines else did_you_mean(arguments.machine, machines)
        _tell(f"no {'open ' if arguments.open else ''}alert fits, of {first_names(machines) or 'no machine'}{hint}")


def only_open(events: Iterable[Received[AlertEvent]]) -> list[Received[AlertEvent]]:
    """The last event of each alert that has not been cleared, in their order; and what is no alert."""
    last: dict[str, Received[AlertEvent]] = {}
    unreadable: list[Received[AlertEvent]] = []
    for one in events:
        if one.message is None:
            unreadable.append(one)
        else:
            last.pop(one.message.alert_id, None)  # goes to the end
            last[one.message.alert_id] = one
    return unreadable + [one for one in last.values() if one.message is not None and one.message.event != "cleared"]


def _is_wanted(one: Received[AlertEvent], arguments: argparse.Namespace) -> bool:
    """What is no alert is wanted: it is told of."""
    alert = one.message
    return alert is None or (
        matches(arguments.machine, alert.machine)
        and arguments.rule in (None, alert.rule)
        and (arguments.severity is None or alert.severity >= arguments.severity)
    )


def _is_choosy(arguments: argparse.Namespace) -> bool:
    return bool(arguments.machine != "*" or arguments.rule or arguments.severity is not None or arguments.open)


def _print_all(received: Iterator[Received[AlertEvent]], *, as_json: bool, limit: int | None) -> None:
    from rich.console import Console

    from wheeltapper.alert_view import render

    console = Console(soft_wrap=True, highlight=False)
    printed = 0
    for one in received:
        if one.message is None:
            _tell(f"{one.record.where} is not an alert and is skipped ({one.problem})")
            continue
        if as_json:
            # As it came; only another encoding, or JSON over several lines, is written anew.
            plain = one.record.value[:1] == b"{" and b"\n" not in one.record.value
            sys.stdout.buffer.write((one.record.value if plain else one.message.model_dump_json().encode()) + b"\n")
            sys.stdout.buffer.flush()
        else:
            console.print(render(one.message), soft_wrap=True)
        printed += 1
        if limit is not None and printed >= limit:
            return
