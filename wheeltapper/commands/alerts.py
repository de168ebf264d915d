"""`wheeltapper alerts`: show alerts from Kafka."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from wheeltapper.follow.alerts import AlertReader
    from wheeltapper.follow.messages import Received
    from wheeltapper.schemas.events import AlertEvent

_AGO_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_admin import add_kafka_arguments, add_prefix_argument

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

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected a whole number of 1 or more")
    since_ms = None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))
    try:
        with AlertReader(settings_from(arguments), since_ms=since_ms, tell=_tell) as reader:
            _print_all(_received(reader, follow=arguments.follow), as_json=arguments.json, limit=arguments.limit)
    except KeyboardInterrupt:
        pass
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


def _received(reader: AlertReader, *, follow: bool) -> Iterator[Received[AlertEvent]]:
    yield from reader.read_to_end()
    if follow:
        yield from (one for one in reader.follow() if one is not None)


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
