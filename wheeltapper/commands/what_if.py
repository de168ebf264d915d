"""`wheeltapper what-if`: the alarms that would have been under other settings."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wheeltapper.what_if.variants import Outcome

EPILOG = """
Scores come from the topic `scores`, or with --dataset from a bundle over recorded rows. Each --try is one set of changes to the
section [threshold] of the settings; docs/settings.md lists them.

examples:
  wheeltapper what-if --machine pump-7 --try method=fixed --try false_alarms_per_day=0.05
  wheeltapper what-if --machine 'pump-*' --since 30d --try clear_duration_s=3600 --plot pumps.png
  wheeltapper what-if --bundle bundles/pump-1 --dataset simulated --entity pump-1 --try method=spot
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument
    from wheeltapper.training.datasets.registry import DATASETS, entity_help

    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--machine", metavar="PATTERN", default="*", help="machine id or pattern (default: all)")
    parser.add_argument("--rule", metavar="R", help="only this rule (default: all)")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="scores published since: ISO 8601, or 12h, 30d ago (default: from the beginning)",
    )
    parser.add_argument(
        "--try",
        dest="tries",
        metavar="KEY=VALUE",
        nargs="+",
        action="append",
        default=[],
        help="settings of [threshold] to try beside those of --config; may be given several times",
    )
    parser.add_argument(
        "--bundle", metavar="BUNDLE", help="the bundle that scored: thresholds that learn start from its calibration"
    )
    parser.add_argument("--dataset", choices=DATASETS, help="score this data set's test part with --bundle instead")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set's own folder (default: $WHEELTAPPER_DATA/DATASET)"
    )
    parser.add_argument("--entity", metavar="E", help=f"{entity_help()} (default: the only one)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw scores, levels and alarms to FILE (.png)")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no such topic, no scores, or a bundle that did not give them."""
    from wheeltapper.commands.alerts import parse_since
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.schemas.bundle import open_bundle
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.stream.logs import configure_logs
    from wheeltapper.what_if import view
    from wheeltapper.what_if.scores import scores_from_series, scores_from_topic
    from wheeltapper.what_if.variants import outcome, read_variants

    settings = settings_from(arguments)
    configure_logs(settings.worker)
    variants = read_variants(settings, arguments.config, arguments.tries)
    bundle = None if arguments.bundle is None else open_bundle(arguments.bundle)
    if arguments.dataset is not None:
        if bundle is None:
            raise InputError("--dataset needs --bundle: the bundle that is to score it")
        from wheeltapper.loaded import load_told

        series = load_told(arguments.dataset, arguments.data, arguments.entity)
        pasts = [scores_from_series(bundle, series, settings)]
    else:
        since_ms = None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))
        pasts = scores_from_topic(
            settings, arguments.machine, arguments.rule, since_ms=since_ms, bundle=bundle, tell=_tell
        )
        if bundle is None and len({*(variant.policy.method for variant in variants)} - {"fixed"}):
            _tell("without --bundle thresholds that learn start from level 1.0 and know no calibration scores")
    outcomes = [outcome(past, variant) for past in pasts for variant in variants]
    if arguments.json:
        json.dump(view.as_json(outcomes), sys.stdout, indent=2)
        print()
    else:
        _print(outcomes)
    if arguments.plot is not None:
        view.draw(outcomes, arguments.plot)
        left_out = len(pasts) - view.SHOWN_MACHINES
        if left_out > 0:
            _tell(f"the plot shows {view.SHOWN_MACHINES} of {len(pasts)} machines and rules; --machine chooses others")
        _tell(f"plot: {arguments.plot}")
    return 0


def _print(outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console

    from wheeltapper.what_if import view

    console = Console()
    machines = {(one.past.machine, one.past.rule) for one in outcomes}
    days = sum(past.days for past in {id(one.past): one.past for one in outcomes}.values())
    console.print(
        f"{len(machines)} machine{'s' if len(machines) > 1 else ''} and rules, {days:.1f} machine days of scores"
    )
    console.print(view.summary(outcomes))
    if len(machines) == 1:
        for one in outcomes:
            if one.alarms:
                console.print(view.alarm_table(one))
    else:
        console.print("name one machine with --machine to see its alarms one by one")


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr, flush=True)
