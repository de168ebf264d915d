"""Options of the commands that talk to Kafka; apart from what talks to it, which `--help` does not need."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_PARTITIONS = 8
"""Of a topic that `wheeltapper topics create` makes."""


def add_kafka_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that talks to Kafka."""
    parser.add_argument(
        "--brokers",
        metavar="HOST:PORT",
        help="Kafka's bootstrap servers, several separated by commas (default: kafka.brokers of --config or of "
        "WHEELTAPPER_KAFKA__BROKERS, else 127.0.0.1:9092)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="TOML file of settings; [kafka] has TLS and SASL, [topics] the names (default: none)",
    )


def add_prefix_argument(parser: argparse.ArgumentParser) -> None:
    """`--prefix`, for commands that deal in topics."""
    parser.add_argument(
        "--prefix",
        metavar="TEXT",
        help="what topic names begin with (default: topics.prefix of --config, else 'wheeltapper.')",
    )
