"""`wheeltapper dead-letters tail|replay`: look at messages that could not be used, and send them again."""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import DeadLetterReason
from wheeltapper.schemas.text import did_you_mean

if TYPE_CHECKING:
    from rich.text import Text

    from wheeltapper.dead_letters import DeadLetter
    from wheeltapper.follow.follower import TopicRecord
    from wheeltapper.stream.settings import Settings

EPILOG = """
examples:
  wheeltapper dead-letters tail --brokers 127.0.0.1:9092                       the newest, one line each
  wheeltapper dead-letters tail --since 2h --reason no-route --json            with key, headers and value, for programs
  wheeltapper dead-letters replay --reason no-route --since 1d --dry-run       what would be sent
  wheeltapper dead-letters replay --reason no-route --since 1d                 after a route was added

replay sends the originals, byte for byte (key, value, headers), to the topic and partition that they came from, in their order;
dead letters stay where they are. Rows older than the newest that a worker has of their machine are late and are not scored: what is sent
again in time are messages of machines that had nothing else, as after a missing route or a wrong mapping. Dead letters that carry
no more than a part of their original cannot be sent again; they are counted.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "action",
        choices=("tail", "replay"),
        metavar="tail|replay",
        help="tail: show the newest, and with --follow those to come; replay: send originals again",
    )
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--reason", metavar="NAME", help="only those of this reason, e.g. no-route (default: all)")
    parser.add_argument("--topic", metavar="NAME", help="only those from this topic, by its full name (default: all)")
    parser.add_argument(
        "--key", metavar="PATTERN", help="only those whose key is this text or fits this pattern (default: all)"
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="all since: ISO 8601, or 90s, 15m, 2h, 7d ago (default: tail: --limit; replay: all)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="the newest N (default: tail: 20; replay: all)")
    parser.add_argument("--follow", action="store_true", help="tail: wait for further ones until Ctrl-C")
    parser.add_argument(
        "--to", metavar="TOPIC", help="replay: send to this topic, by key (default: where each came from)"
    )
    parser.add_argument("--dry-run", action="store_true", help="replay: say what would be sent, and send nothing")
    parser.add_argument(
        "--all",
        action="store_true",
        help="replay: all of them; needed where no --reason, --topic, --key, --since chooses",
    )
    parser.add_argument(
        "--json", action="store_true", help="tail: print one JSON object each (default: one readable line)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no cluster there, no such topic."""
    from wheeltapper.kafka_admin import settings_from

    _check(arguments)
    settings = settings_from(arguments)
    if arguments.action == "tail":
        with suppress(KeyboardInterrupt):
            _tail(settings, arguments)
        return 0
    return _replay(settings, arguments)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected a whole number of 1 or more")
    known = [str(reason) for reason in DeadLetterReason]
    if arguments.reason is not None and arguments.reason not in known:
        raise InputError(
            f"--reason {arguments.reason}: expected one of {', '.join(known)}{did_you_mean(arguments.reason, known)}"
        )
    chosen = any((arguments.reason, arguments.topic, arguments.key, arguments.since, arguments.limit))
    if arguments.action == "replay":
        for option in ("follow", "json"):
            if getattr(arguments, option):
                raise InputError(f"--{option} goes with tail, not with replay")
        if not chosen and not arguments.all:
            raise InputError(
                "dead-letters replay: choose which by --reason, --topic, --key, --since or --limit, or say --all"
            )
    else:
        for option in ("to", "dry_run", "all"):
            if getattr(arguments, option):
                raise InputError(f"--{option.replace('_', '-')} goes with replay, not with tail")


def _since(arguments: argparse.Namespace) -> int | None:
    from wheeltapper.commands.alerts import parse_since

    return None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))


def _is_wanted(letter: DeadLetter, arguments: argparse.Namespace) -> bool:
    from wheeltapper.schemas.machine_names import matches

    return (
        arguments.reason in (None, letter.reason)
        and arguments.topic in (None, letter.topic)
        and (arguments.key is None or matches(arguments.key, (letter.key or b"").decode(errors="replace")))
    )


# -- tail -------------------------------------------------------------------------------------------------------------


def _tail(settings: Settings, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from wheeltapper.dead_letters import dead_letter
    from wheeltapper.follow.tail import last_and_next
    from wheeltapper.schemas.topics import DEAD_LETTERS

    since_ms, limit = _since(arguments), arguments.limit
    if limit is None and since_ms is None:
        limit = 20

    def wanted(record: TopicRecord) -> int:
        return int(_is_wanted(dead_letter(record), arguments))

    console = Console(soft_wrap=True, highlight=False)
    parts = last_and_next(
        settings, DEAD_LETTERS, wanted, count=limit or 1, since_ms=since_ms, follow=arguments.follow, tell=_tell
    )
    for number, records in enumerate(parts):
        shown = records[-limit:] if number == 0 and limit is not None else records
        for record in shown:
            letter = dead_letter(record)
            if arguments.json:
                print(_json(letter), flush=True)
            else:
                console.print(_line(letter), soft_wrap=True)
        if number == 0 and not shown:
            _tell("no dead letter fits" if _is_choosy(arguments) else "topic dead-letters is empty")


def _is_choosy(arguments: argparse.Namespace) -> bool:
    return any((arguments.reason, arguments.topic, arguments.key, arguments.since))


def _line(letter: DeadLetter) -> Text:
    from rich.text import Text

    from wheeltapper.alert_view import printable
    from wheeltapper.schemas.clock import iso_from_micros

    line = Text(no_wrap=True, overflow="ignore")
    line.append(iso_from_micros(letter.record.published_ms * 1000), style="dim")
    line.append(f"  {printable(letter.reason or 'no reason')}", style="bold yellow")
    line.append(f"  {printable(letter.topic)} [{letter.partition}] offset {letter.offset}", style="cyan")
    line.append(f"  key {_shown(letter.key)}")
    size = f"{len(letter.value or b'')} bytes"
    if letter.original_size is not None:
        size += f" of {letter.original_size}"
    line.append(f"  {size}", style="dim")
    line.append(f"  {printable(letter.detail)}")
    return line


def _shown(data: bytes | None) -> str:
    """Bytes for a person: text where they are text, else what Python would write."""
    if data is None:
        return "none"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data[:60])
    return text if text.isprintable() and text else repr(text)


def _json(letter: DeadLetter) -> str:
    import json

    def entry(data: bytes | None) -> dict[str, str | None]:
        """{'text': ..} where it is text, {'base64': ..} where it is none: both give the bytes back."""
        if data is None:
            return {"text": None}
        try:
            return {"text": data.decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode()}

    return json.dumps(
        {
            "published_ms": letter.record.published_ms,
            "reason": letter.reason,
            "detail": letter.detail,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "original_size": letter.original_size,
            "key": entry(letter.key),
            "headers": [{"name": name, **entry(value)} for name, value in letter.headers],
            "value": entry(letter.value),
        },
        ensure_ascii=False,
    )


# -- replay -----------------------------------------------------------------------------------------------------------


def _replay(settings: Settings, arguments: argparse.Namespace) -> int:
    from wheeltapper.dead_letters import BAD_HEADER, dead_letter
    from wheeltapper.follow.follower import read_records
    from wheeltapper.schemas.topics import DEAD_LETTERS

    letters = [dead_letter(record) for record in read_records(settings, DEAD_LETTERS, since_ms=_since(arguments))]
    # As they came in: by the clock, and within a partition by offset.
    letters.sort(key=lambda letter: (letter.record.published_ms, letter.topic, letter.partition, letter.offset))
    chosen = [letter for letter in letters if _is_wanted(letter, arguments)]
    if arguments.limit is not None:
        chosen = chosen[-arguments.limit :]
    whole = [letter for letter in chosen if letter.is_whole]
    sent = [letter for letter in whole if arguments.to or letter.topic]
    cut, nowhere = len(chosen) - len(whole), len(whole) - len(sent)
    if arguments.to is not None or sent:
        _check_topics(settings, [arguments.to] if arguments.to else sorted({letter.topic for letter in sent}))
    if not arguments.dry_run and sent:
        send_again(settings, sent, arguments.to)
    targets = Counter(arguments.to or letter.topic for letter in sent)
    listed = ", ".join(f"{count} to {topic}" for topic, count in sorted(targets.items()))
    verb = "would be sent" if arguments.dry_run else "sent"
    print(f"{len(sent)} of {len(letters)} dead letters {verb} again{f': {listed}' if listed else ''}")
    if cut:
        print(f"{cut} left out: they carry no more than a part of their original")
    renamed = sum(letter.reason == BAD_HEADER for letter in sent)
    if renamed:
        print(
            f"{renamed} of these had headers whose names are no UTF-8: they have the names that their dead letters have"
        )
    if nowhere:
        print(f"{nowhere} left out: no header says which topic they came from; --to TOPIC names one")
    return 0


def _check_topics(settings: Settings, topics: Iterable[str]) -> None:
    from wheeltapper.kafka_admin import connect

    known = connect(settings).list_topics(timeout=10.0).topics
    for topic in topics:
        if topic not in known:
            hint = did_you_mean(topic, known)
            raise InputError(
                f"topic {topic} does not exist at {settings.kafka.brokers}{hint or '; name another with --to'}"
            )


def send_again(settings: Settings, letters: Iterable[DeadLetter], to: str | None) -> None:
    """Send originals as they were, in the order given; all have arrived when this returns.

    Args:
        to: topic for all of them, by key; None: each to where it came from.

    Raises:
        InputError: one was not delivered.
    """
    from wheeltapper.kafka_clients import producer
    from wheeltapper.schemas.topics import SENSORS_MAX_BYTES

    failures: list[str] = []
    client = producer(settings, **{"message.max.bytes": max(SENSORS_MAX_BYTES, 64 * 2**20)})

    def delivered(error: object, record: object) -> None:
        if error is not None:
            failures.append(str(error))

    for letter in letters:
        place = {} if to or letter.partition < 0 else {"partition": letter.partition}
        while True:
            try:
                client.produce(
                    to or letter.topic,
                    letter.value,
                    key=letter.key,
                    headers=list(letter.headers),
                    on_delivery=delivered,
                    **place,
                )
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
        if failures:
            break
    left = client.flush(30.0)
    if failures or left:
        client.purge()
        reason = failures[0] if failures else "no answer from the brokers in 30 s"
        raise InputError(
            f"not all dead letters were sent again: {reason}; check the brokers and the user's right to WRITE, and start again"
        )


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
