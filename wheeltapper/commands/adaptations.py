"""`wheeltapper adaptations`: show how bundles were adapted, and what became of them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import matches

if TYPE_CHECKING:
    from wheeltapper.adaptation.view import Adaptation

EPILOG = """
examples:
  wheeltapper adaptations list --brokers 127.0.0.1:9092 --machine 'pump-*'
  wheeltapper adaptations show 5f0c2a17 --open
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="a line for each, the newest last")
    listing.add_argument("--machine", metavar="PATTERN", default="*", help="only these machines (default: all)")
    listing.add_argument("--limit", metavar="N", type=int, help="the newest N (default: all)")
    showing = actions.add_parser("show", help="one with its time line, its evidence and its report")
    showing.add_argument("id", metavar="ID", help="its id, or a beginning of it that no other has")
    showing.add_argument(
        "--open", action="store_true", help="open its report in the browser (default: print where it is)"
    )
    for action in (listing, showing):
        add_kafka_arguments(action)
        add_prefix_argument(action)
        action.add_argument("--json", action="store_true", help="print the messages, one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no cluster there, no such topic or adaptation."""
    from rich.console import Console

    from wheeltapper.adaptation.view import adaptations, detail, line
    from wheeltapper.follow.messages import read_messages
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.schemas.adaptation import AdaptationEvent

    limit = getattr(arguments, "limit", None)
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: expected a whole number of 1 or more")
    found = adaptations(read_messages(settings_from(arguments), AdaptationEvent, on_problem=_tell))
    console = Console(soft_wrap=True, highlight=False)
    if arguments.action == "list":
        shown = [one for one in found if matches(arguments.machine, one.events[0].machine)]
        for one in shown[-limit:] if limit else shown:
            if arguments.json:
                print(one.last.model_dump_json())
            else:
                console.print(line(one), soft_wrap=True)
        return 0
    one = _named(found, arguments.id)
    if arguments.json:
        for event in one.events:
            print(event.model_dump_json())
    else:
        Console(highlight=False).print(detail(one))
    if arguments.open:
        _open(one)
    return 0


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr)


def _named(found: list[Adaptation], ident: str) -> Adaptation:
    matching = [one for one in found if one.ident.startswith(ident)]
    if len(matching) != 1 or not ident:
        count = len(matching) or "no"
        raise InputError(
            f"'{ident}': {count} adaptations begin so, expected one; 'wheeltapper adaptations list' shows them"
        )
    return matching[0]


def _open(one: Adaptation) -> None:
    import webbrowser

    report = one.found("report")
    if not report:
        raise InputError(f"adaptation {one.ident} has no report: its job has not ended, or failed")
    if report.startswith("s3://"):
        raise InputError(f"the report is at {report}: a browser cannot open it there; copy it first")
    webbrowser.open(report if "://" in report else f"file://{report}")
