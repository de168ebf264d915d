"""`wheeltapper backtest`: run the worker's pipeline over a test part, without Kafka."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

EPILOG = """
examples:
  wheeltapper backtest bundles/machine-1-2 --dataset smd --data smd --entity machine-1-2 --alerts alerts.jsonl

It produces the same alerts, with the same ids, as a worker that reads a replay of the same rows.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.training.datasets.registry import DATASETS, entity_help

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", metavar="BUNDLE", help="bundle folder or .zip")
    parser.add_argument("--dataset", choices=DATASETS, required=True, help="kind of data set")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set's own folder (default: $WHEELTAPPER_DATA/DATASET)"
    )
    parser.add_argument("--entity", metavar="E", help=f"{entity_help()} (default: the only one)")
    parser.add_argument("--machine", metavar="ID", help="machine id (default: the entity)")
    parser.add_argument("--limit", type=int, metavar="ROWS", help="only the first ROWS rows (default: all)")
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
    import sys
    from contextlib import ExitStack

    from wheeltapper.offline import open_pipeline, replay_block, run_offline
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.stream.logs import configure_logs
    from wheeltapper.stream.settings import load_settings
    from wheeltapper.training.datasets.registry import load_series

    settings = load_settings(arguments.config, scoring={"publish_scores": arguments.scores is not None})
    configure_logs(settings.worker)
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected at least 1 row")
    pipeline = open_pipeline([f"*={arguments.bundle}"], settings)
    series = load_series(arguments.dataset, arguments.data, arguments.entity, start=arguments.start)
    block = replay_block(series, arguments.machine, arguments.limit)
    started = time.monotonic()
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
        for output in run_offline(pipeline, block):
            if output.topic == "dead-letters":
                headers = {key: (value or b"").decode() for key, value in output.headers}
                raise InputError(
                    f"{series.dataset} {series.entity} does not fit {arguments.bundle}: {headers['wheeltapper-detail']}; "
                    "use a bundle that was trained on the same channels"
                )
            if output.topic in files:
                files[output.topic].write((output.value or b"") + b"\n")
                written[output.topic] += 1
    seconds = time.monotonic() - started
    counters = pipeline.counters
    opened = counters.alerts.get("opened", 0)
    print(
        f"{counters.rows} rows, {counters.windows} windows, {opened} alerts ({written['alerts']} events) in {seconds:.1f} s, "
        f"{counters.rows / max(seconds, 1e-9):,.0f} rows/s",
        file=sys.stderr,
    )
    return 0
