"""`wheeltapper broker`: the embedded Kafka-compatible broker in the foreground."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from types import FrameType

from wheeltapper.schemas.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:9092", help="address to listen on; port 0: any free port"
    )
    parser.add_argument(
        "--advertise",
        metavar="HOST:PORT",
        help="address that the broker gives to clients (default: --listen, or 127.0.0.1 where that is 0.0.0.0)",
    )
    parser.add_argument(
        "--log", metavar="FILE", type=Path, help="append the broker's output to FILE (default: discarded)"
    )
    parser.epilog = "All messages are kept in memory until the broker ends. Its limits are listed in docs/deploy.md."


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad address, a port in use, no broker for this platform, or the broker ended by itself."""
    from wheeltapper.deploy.broker import ALTERNATIVES, EmbeddedBroker

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with EmbeddedBroker(arguments.listen, advertise=arguments.advertise, log_file=arguments.log) as broker:
            print(f"broker ready on {broker.client_address} (in memory; Ctrl-C ends it)", flush=True)
            while (code := broker.wait(3600.0)) is None:
                pass
            see = f", see {arguments.log}" if arguments.log else ""
            raise InputError(
                f"the embedded broker ended by itself (exit code {code}){see}; start it again, or {ALTERNATIVES}"
            )
    except KeyboardInterrupt:
        return 0
