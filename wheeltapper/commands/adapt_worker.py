"""`wheeltapper adapt-worker`: adapt the bundles of machines that have changed, and take them into service."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import load_structlog
from wheeltapper.schemas.errors import InputError

if TYPE_CHECKING:
    from wheeltapper.stream.settings import Settings
    from wheeltapper.training.adaptation.service.serving import Serving

EPILOG = """
examples:
  wheeltapper adapt-worker --config worker.toml --bundle 'pump-*=bundles/pumps' --out adapted
  wheeltapper adapt-worker --brokers 127.0.0.1:9092 --bundle bundles/pump-1 --out s3://models/adapted --work adapt-work

It follows the topics drift and alarm-commands, collects a machine's rows since its change, climbs the ladder (operating level,
input scaling, refit or fine-tune) until a child bundle passes the gate, and deploys that by the topic models: in shadow, then in
service, and back where it does worse. Workers with control.enabled follow that topic. Every step is on the topic adaptations;
'wheeltapper adaptations list' shows them. One adapt-worker of a group works at a time, further ones wait to go on for it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument(
        "--group", help="consumer group of the workers (default: kafka.group); ours is GROUP-adaptation"
    )
    parser.add_argument(
        "--bundle",
        metavar="[MACHINE-PATTERN=]BUNDLE",
        nargs="+",
        action="extend",
        default=[],
        help="the bundles that the workers were started with, given as to them; beside those of [routes] in --config (default: those on the topic models alone)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR|s3://..",
        required=True,
        help="where child bundles and reports go; workers must be able to read it",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="where jobs work (default: DIR/.jobs of --out, or .adapt-jobs where that is remote)",
    )
    parser.add_argument(
        "--once", action="store_true", help="end when what lies in the topics has been handled (default: go on)"
    )
    parser.add_argument(
        "--until-idle",
        type=float,
        metavar="SECONDS",
        help="end when nothing came and no job ran for so long (default: never)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bundle, setting, broker address or right is wrong."""
    load_structlog()
    import signal
    import threading

    from wheeltapper.adaptation.seat import SeatLostError
    from wheeltapper.adaptation.worker import AdaptWorker
    from wheeltapper.kafka_admin import connect, create_topics
    from wheeltapper.stream.logs import configure_logs
    from wheeltapper.stream.settings import load_settings
    from wheeltapper.training.adaptation.service.job import Store

    if arguments.until_idle is not None and not arguments.until_idle > 0:
        raise InputError(f"--until-idle {arguments.until_idle:g}: expected seconds above 0")
    settings = load_settings(
        arguments.config,
        kafka={"brokers": arguments.brokers, "group": arguments.group},
        topics={"prefix": arguments.prefix},
    )
    configure_logs(settings.worker)
    _check(settings)
    given = given_bundles(arguments.bundle, settings)
    store = Store(arguments.out, arguments.work)
    create_topics(connect(settings), settings)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    worker = AdaptWorker(settings, given, store, stopping.is_set)
    try:
        worker.run(once=arguments.once, until_idle_s=arguments.until_idle)
    except SeatLostError as error:
        print(f"wheeltapper: {error}; it ends, and may be started again", file=sys.stderr)
        return 1
    return 0


def _check(settings: Settings) -> None:
    """
    Raises:
        InputError: settings with which children could not be judged or deployed.
    """
    from wheeltapper.schemas.bundle.signature import read_private_key

    if not settings.scoring.publish_scores:
        raise InputError(
            "scoring.publish_scores is false: a child bundle is judged by the scores that workers publish; set it to true"
        )
    if settings.bundles.signing_key is not None:
        password = settings.bundles.signing_key_password
        read_private_key(settings.bundles.signing_key, None if password is None else password.get_secret_value())
    elif settings.bundles.trusted_keys:
        raise InputError(
            "bundles.trusted_keys is set and bundles.signing_key is not: workers would refuse the children; give the adaptation worker "
            "a key of its own, and its public key to the workers"
        )
    if not settings.control.enabled:
        raise InputError("control.enabled is false: workers would not follow the topic models; set it to true")


def given_bundles(words: list[str], settings: Settings) -> list[Serving]:
    """`--bundle` as the workers understand it: the rules' names are the same.

    Raises:
        InputError: a bundle that is refused.
    """
    from wheeltapper.stream.routes import load_routes
    from wheeltapper.training.adaptation.service.serving import Serving

    if not words and not settings.routes:
        return []
    return [
        Serving(
            route=route.pattern,
            rule=rule.name,
            bundle=rule.manifest.bundle_id,
            uri=str(Path(rule.bundle.location).resolve()),
            sha256=rule.bundle.manifest_sha256,
        )
        for route in load_routes(words, settings).routes
        for rule in route.rules
    ]
