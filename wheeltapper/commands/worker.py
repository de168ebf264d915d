"""`wheeltapper worker`: score machines from Kafka, raise alerts and localizations."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from wheeltapper.command_line import load_kafka_client, load_structlog

EPILOG = """
examples:
  wheeltapper worker --brokers 127.0.0.1:9092 --bundle bundles/machine-1-2
  wheeltapper worker --config worker.toml --bundle 'pump-*=bundles/pumps' 'fan-*=bundles/fans' --runner direct

Several bundles under one pattern score the same machines; each is a rule with alerts of its own.
Settings come from --config or from variables WHEELTAPPER_SECTION__KEY; docs/settings.md lists them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--brokers",
        metavar="HOST:PORT,..",
        help="Kafka brokers (default: kafka.brokers of the settings, 127.0.0.1:9092)",
    )
    parser.add_argument(
        "--bundle",
        metavar="[MACHINE-PATTERN=]BUNDLE",
        nargs="+",
        action="extend",
        default=[],
        help="bundle folder or .zip, and the machines it serves (default: all); beside those of [routes] in --config",
    )
    parser.add_argument(
        "--bundle-sha256",
        metavar="SHA256",
        nargs="+",
        action="extend",
        help="sha256 of the manifests of the bundles that may be loaded; 'wheeltapper bundle inspect' says it (default: any)",
    )
    parser.add_argument(
        "--runner",
        choices=("faust", "direct"),
        default="faust",
        help="faust: agents; direct: confluent-kafka loop, transactions (default: faust)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (default: none)")
    parser.add_argument("--group", help="consumer group (default: kafka.group of the settings, 'wheeltapper')")
    parser.add_argument("--prefix", help="topic prefix (default: topics.prefix of the settings, 'wheeltapper.')")
    parser.add_argument(
        "--http-port",
        type=int,
        metavar="PORT",
        help="serve /healthz, /readyz, /metrics on this port (default: worker.http_port; 0: off)",
    )
    parser.add_argument(
        "--until-idle",
        type=float,
        metavar="SECONDS",
        help="end after the input was read to its end and no row came for so long (default: never)",
    )
    parser.add_argument(
        "--from",
        dest="start_from",
        metavar="WHERE",
        help="read the input again, or leave some out: earliest, latest, a time of the records (2026-03-01T06:00:00Z), or "
        "PARTITION:OFFSET[,..]; once, at this start, and only while no other worker of the group runs (default: where the group "
        "is)",
    )


def run(arguments: argparse.Namespace) -> int:
    load_structlog()
    load_kafka_client()
    from wheeltapper.kafka_admin import ensure_topics, renew_topics
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.stream.logs import configure_logs  # first: it says how structlog is loaded
    from wheeltapper.stream.settings import load_settings
    from wheeltapper.stream.worker import run_worker

    if arguments.until_idle is not None and not arguments.until_idle > 0:
        raise InputError(f"--until-idle {arguments.until_idle:g}: expected seconds above 0")
    settings = load_settings(
        arguments.config,
        kafka={"brokers": arguments.brokers, "group": arguments.group},
        topics={"prefix": arguments.prefix},
        worker={"http_port": arguments.http_port},
        bundles={"sha256": arguments.bundle_sha256},
    )
    configure_logs(settings.worker)
    run_worker(
        arguments.bundle,
        settings,
        runner=arguments.runner,
        ensure_topics=partial(ensure_topics, settings),
        renew_topics=partial(renew_topics, settings),
        until_idle_s=arguments.until_idle,
        start_from=arguments.start_from,
    )
    return 0
