"""`wheeltapper topics create|list`: the topics of `wheeltapper.schemas.topics` on a cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import duration

if TYPE_CHECKING:
    from wheeltapper.kafka_admin import TopicState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import DEFAULT_PARTITIONS, add_kafka_arguments, add_prefix_argument
    from wheeltapper.schemas.topics import TOPICS

    fixed = ", ".join(f"'{name}' has {spec.partitions}" for name, spec in TOPICS.items() if spec.partitions is not None)
    parser.add_argument(
        "action",
        choices=("create", "list"),
        help="create: create missing topics and report existing ones; list: show all topics with their settings",
    )
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument(
        "--partitions",
        metavar="N",
        type=int,
        help="partitions of a new topic, which is also the maximum number of workers that share the machines (default: as many as the sensors "
        f"topic has, {DEFAULT_PARTITIONS} where it is new; fixed: {fixed})",
    )
    parser.add_argument(
        "--replication",
        metavar="N",
        type=int,
        help="copies of each partition, at most one a broker (default: the cluster's)",
    )
    parser.add_argument(
        "--min-in-sync",
        metavar="N",
        type=int,
        help="min.insync.replicas of a new topic: copies that must have a record before it counts as written (default: more than half of "
        "3 or more copies, else 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: no cluster there, a refusal of it, or topics that do not fit together."""
    from wheeltapper.kafka_admin import check_partitions, connect, create_topics, describe_topics, settings_from

    for option in ("partitions", "replication", "min-in-sync"):
        value = getattr(arguments, option.replace("-", "_"))
        if value is not None and not 1 <= value <= 100_000:
            raise InputError(f"--{option} {value}: expected a whole number of 1 or more")
    settings = settings_from(arguments)
    admin = connect(settings)
    if arguments.action == "list":
        _print_table(describe_topics(admin, settings))
        return 0
    if arguments.replication is not None and (arguments.min_in_sync or 0) > arguments.replication:
        raise InputError(
            f"--min-in-sync {arguments.min_in_sync}: there are only {arguments.replication} copies; nothing could be written"
        )
    states = create_topics(
        admin,
        settings,
        partitions=arguments.partitions,
        replication=arguments.replication,
        in_sync=arguments.min_in_sync,
    )
    for state in states:
        print(f"{state.name}: {'created' if state.created else 'exists'}, {_count(state.partitions, 'partition')}")
    for state in states:
        for difference in _differences(state, arguments.partitions):
            print(f"wheeltapper: {state.name} {difference}; not changed", file=sys.stderr)
    check_partitions(states)
    return 0


def _differences(state: TopicState, partitions: int | None) -> list[str]:
    asked = state.spec.partitions or partitions
    found = []
    if asked is not None and state.partitions is not None and state.partitions != asked:
        found.append(f"has {_count(state.partitions, 'partition')}, {asked} asked for")
    return found + state.config_differences()


def _print_table(states: Sequence[TopicState]) -> None:
    header = ("topic", "partitions", "copies", "cleanup", "retention", "largest message", "carries")
    rows = [header]
    for state in states:
        if state.partitions is None:
            rows.append((state.name, "missing", "", "", "", "", state.spec.carries))
            continue
        cleanup = state.config.get("cleanup.policy", "?")
        rows.append(
            (
                state.name,
                str(state.partitions),
                str(state.replication),
                cleanup,
                "newest of a key" if cleanup == "compact" else _retention(state.config.get("retention.ms")),
                _size(state.config.get("max.message.bytes")),
                state.spec.carries,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _count(count: int | None, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _retention(milliseconds: str | None) -> str:
    if milliseconds is None:
        return "?"
    value = int(milliseconds)
    if value < 0:
        return "for ever"
    return duration(value / 1_000)


def _size(size: str | None) -> str:
    if size is None:
        return "?"
    value = int(size)
    return f"{value / 2**20:.3g} MiB" if value >= 2**20 else f"{value / 2**10:.3g} KiB"
