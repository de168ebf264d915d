"""`wheeltapper scores tail`: show scores from Kafka."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from wheeltapper.command_line import RawFormatter
from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from wheeltapper.follow.follower import TopicRecord
    from wheeltapper.schemas.events import ScoreBlock

EPILOG = """
examples:
  wheeltapper scores tail --brokers 127.0.0.1:9092                       the newest scores of all machines
  wheeltapper scores tail --machine 'pump-*' --above 0.8 --since 2h      windows near the alarm level
  wheeltapper scores tail --machine pump-7 --follow --json               as they come, for programs

A line: event time, machine, rule, calibrated score (1.0 is the bundle's alarm level), raise level in force, quality (share of
measured values), and 'above' where the score reaches the level. Workers publish scores where scoring.publish_scores is true.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument(
        "action", choices=("tail",), metavar="tail", help="tail: the newest scores, and with --follow those to come"
    )
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--machine", metavar="PATTERN", default="*", help="only these machines, e.g. 'pump-*'")
    parser.add_argument("--rule", metavar="NAME", help="only this rule (default: all)")
    parser.add_argument("--above", type=float, metavar="X", help="only calibrated scores of X or more (default: all)")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="all that was published since: ISO 8601, or 90s, 15m, 2h, 7d ago (default: --limit)",
    )
    parser.add_argument("--limit", metavar="N", type=int, default=20, help="the newest N scores; not with --since")
    parser.add_argument("--follow", action="store_true", help="wait for further scores until Ctrl-C")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a score (default: one readable line)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no cluster there, no such topic."""
    from wheeltapper.commands.alerts import parse_since
    from wheeltapper.follow.tail import last_and_next
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.schemas.topics import SCORES

    if arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected a whole number of 1 or more")
    since_ms = None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))
    tail = _Tail(arguments)
    parts = last_and_next(
        settings_from(arguments),
        SCORES,
        tail.count,
        count=arguments.limit,
        since_ms=since_ms,
        follow=arguments.follow,
        tell=_tell,
    )
    with suppress(KeyboardInterrupt):
        tail.show(parts, None if since_ms is not None else arguments.limit)
    return 0


class _Tail:
    """Chooses scores, and prints them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._machines: set[str] = set()

    def count(self, record: TopicRecord) -> int:
        """Scores of a record that are wanted; a record that is none of this project's is told of and left out."""
        block = self._block(record)
        return 0 if block is None else sum(1 for _ in self._chosen(block))

    def show(self, parts: Iterator[list[TopicRecord]], limit: int | None) -> None:
        """
        Args:
            limit: of the first part, so many of its newest scores by event time; None: all.
        """
        from rich.console import Console

        console = Console(soft_wrap=True, highlight=False)
        for number, records in enumerate(parts):
            blocks = [block for block in map(self._block, records) if block is not None]
            chosen = [(block.time[index], block, index) for block in blocks for index in self._chosen(block)]
            if number == 0:
                chosen = sorted(chosen, key=lambda one: (one[0], one[1].machine, one[1].rule))
                chosen = chosen if limit is None else chosen[-limit:]
                if not chosen:
                    self._say_nothing_found()
            for _, block, index in chosen:
                if self._arguments.json:
                    print(_json(block, index), flush=True)
                else:
                    console.print(_line(block, index), soft_wrap=True)

    def _block(self, record: TopicRecord) -> ScoreBlock | None:
        from wheeltapper.follow.messages import received
        from wheeltapper.schemas.events import ScoreBlock

        one = received(ScoreBlock, record)
        if one.message is None:
            _tell(f"{record.where} is no ScoreBlock and is left out ({one.problem})")
        else:
            self._machines.add(one.message.machine)
        return one.message

    def _chosen(self, block: ScoreBlock) -> Iterator[int]:
        from wheeltapper.schemas.machine_names import matches

        wanted = self._arguments
        if not matches(wanted.machine, block.machine) or wanted.rule not in (None, block.rule):
            return
        for index, score in enumerate(block.score):
            if wanted.above is None or score >= wanted.above:
                yield index

    def _say_nothing_found(self) -> None:
        from wheeltapper.schemas.text import did_you_mean

        hint = (
            "" if self._arguments.machine in self._machines else did_you_mean(self._arguments.machine, self._machines)
        )
        _tell(
            f"no score of machine '{self._arguments.machine}' fits{hint}" if self._machines else "topic scores is empty"
        )


def _line(block: ScoreBlock, index: int) -> Text:
    from rich.text import Text

    from wheeltapper.alert_view import number, printable
    from wheeltapper.schemas.clock import iso_from_micros

    score, level = block.score[index], block.threshold[index]
    line = Text(no_wrap=True, overflow="ignore")
    line.append(iso_from_micros(block.time[index]), style="dim")
    line.append(f"  {printable(block.machine)}", style="bold")
    line.append(f"  {printable(block.rule)}", style="cyan")
    line.append(f"  score {number(score)}", style="bold red" if score >= level else "")
    line.append(f"  level {number(level)}  quality {block.quality[index]:.0%}".replace("%", " %"), style="dim")
    if score >= level:
        line.append("  above", style="bold red")
    if block.maintenance and block.maintenance[index]:
        line.append("  maintenance", style="yellow")
    return line


def _json(block: ScoreBlock, index: int) -> str:
    import json

    return json.dumps(
        {
            "machine": block.machine,
            "rule": block.rule,
            "bundle": block.bundle,
            "time": block.time[index],
            "raw": block.raw[index],
            "score": block.score[index],
            "threshold": block.threshold[index],
            "quality": block.quality[index],
            "maintenance": bool(block.maintenance and block.maintenance[index]),
        },
        ensure_ascii=False,
    )


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
