"""`wheeltapper backtest`: run the worker's pipeline over a test part, or over recorded messages, without Kafka."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.command_line import load_structlog

if TYPE_CHECKING:
    from wheeltapper.stream.records import Output

EPILOG = """
examples:
  wheeltapper backtest bundles/machine-1-2 --dataset smd --data smd --entity machine-1-2 --alerts alerts.jsonl

  wheeltapper backtest bundles/fan-1-sound --dataset wav --data recordings/monday --alerts alerts.jsonl

  wheeltapper backtest bundles/pump --messages gateway.jsonl --config gateway.toml --alerts alerts.jsonl

It produces the same alerts, with the same ids, as a worker that reads a replay of the same rows, or of the same recordings.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.training.datasets.registry import EVERY_DATASET, entity_help

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", metavar="BUNDLE", help="bundle folder or .zip")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", choices=EVERY_DATASET, help="kind of data set")
    source.add_argument(
        "--messages",
        type=Path,
        metavar="FILE",
        help="messages as they come on the sensors topic, one JSON text per line; read as --config says ([input], [assembly])",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set's own folder (default: $WHEELTAPPER_DATA/DATASET)"
    )
    parser.add_argument("--entity", metavar="E", help=f"{entity_help()} (default: the only one)")
    parser.add_argument(
        "--machine", metavar="ID", help="machine id (default: the entity); of --messages the records' key"
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="ROWS",
        help="only the first ROWS rows, or samples of sound, or messages (default: all)",
    )
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of sound: the operating point, e.g. speed=1500; may be given several times",
    )
    parser.add_argument(
        "--start", metavar="TIME", help="event time of the first row: 'now' or ISO 8601 (default: the data's own)"
    )
    parser.add_argument(
        "--alerts",
        type=Path,
        metavar="FILE",
        required=True,
        help="file for alert events, one JSON object per line; '-': standard output",
    )
    parser.add_argument("--localizations", type=Path, metavar="FILE", help="file for localizations (default: none)")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="file for score blocks (default: none)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of the worker's settings (default: none)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: no such bundle or data, or a file that cannot be written."""
    load_structlog()
    import sys
    from contextlib import ExitStack

    from wheeltapper.loaded import load_told
    from wheeltapper.offline import open_pipeline, replay_block, run_messages_offline, run_offline
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.sound.backtest import recorded_chunks, run_offline_sound
    from wheeltapper.sound_report import check_kinds
    from wheeltapper.stream.logs import configure_logs
    from wheeltapper.stream.settings import load_settings

    # Rows of a data set are whole, however a plant's messages come.
    whole_rows = {"value": ""} if arguments.messages is None else {}
    settings = load_settings(
        arguments.config, scoring={"publish_scores": arguments.scores is not None}, assembly=whole_rows
    )
    configure_logs(settings.worker)
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected at least 1 row")
    bundle = open_bundle(arguments.bundle)
    sound = arguments.messages is None and check_kinds(bundle, arguments.dataset)
    pipeline = open_pipeline([f"*={arguments.bundle}"], settings)
    if sound:
        outputs = run_offline_sound(pipeline, recorded_chunks(arguments, bundle.manifest))
        what, advice = f"{arguments.dataset} {arguments.entity or arguments.data}", "recorded with the same channels"
    elif arguments.messages is not None:
        key = None if arguments.machine is None else arguments.machine.encode()
        outputs = run_messages_offline(pipeline, islice(_lines(arguments.messages), arguments.limit), key)
        what, advice = str(arguments.messages), ""
    else:
        series = load_told(arguments.dataset, arguments.data, arguments.entity, start=arguments.start)
        outputs = run_offline(pipeline, replay_block(series, arguments.machine, arguments.limit))
        what, advice = f"{series.dataset} {series.entity}", "trained on the same channels"
    started = time.monotonic()
    first_letter: Output | None = None
    written = {"alerts": 0, "localizations": 0, "scores": 0}
    with ExitStack() as stack:
        files = {}
        for name in written:
            path = getattr(arguments, name)
            if path is None:
                continue
            try:
                files[name] = sys.stdout.buffer if str(path) == "-" else stack.enter_context(path.open("wb"))
            except OSError as error:
                raise InputError(f"--{name} {path}: cannot be written ({error}); choose another file") from error
        for output in outputs:
            if output.topic == "dead-letters" and arguments.messages is not None:
                first_letter = first_letter or output
            elif output.topic == "dead-letters":
                headers = {key: (value or b"").decode() for key, value in output.headers}
                raise InputError(
                    f"{what} does not fit {arguments.bundle}: {headers['wheeltapper-detail']}; use a bundle that was {advice}"
                )
            if output.topic in files:
                files[output.topic].write((output.value or b"") + b"\n")
                written[output.topic] += 1
    seconds = time.monotonic() - started
    counters = pipeline.counters
    if first_letter is not None:
        headers = {key: (value or b"").decode() for key, value in first_letter.headers}
        print(
            f"{sum(counters.dead_letters.values())} messages of {what} cannot be read {counters.dead_letters}; the first is line "
            f"{int(headers['wheeltapper-offset']) + 1}: {headers['wheeltapper-detail']}",
            file=sys.stderr,
        )
    if counters.readings:
        print(f"readings noticed: {counters.readings}", file=sys.stderr)
    opened = counters.alerts.get("opened", 0)
    count, unit = (counters.sound_samples, "samples") if sound else (counters.rows, "rows")
    print(
        f"{count} {unit}, {counters.windows} windows, {opened} alerts ({written['alerts']} events) in {seconds:.1f} s, "
        f"{count / max(seconds, 1e-9):,.0f} {unit}/s",
        file=sys.stderr,
    )
    return 0


def _lines(path: Path) -> Iterator[bytes]:
    """The file's lines that are not blank.

    Raises:
        InputError: it cannot be read.
    """
    from wheeltapper.schemas.errors import InputError

    try:
        with path.open("rb") as file:
            yield from (line.rstrip(b"\r\n") for line in file if line.strip())
    except OSError as error:
        raise InputError(
            f"--messages {path}: cannot be read ({error}); give a file with one message per line"
        ) from error
