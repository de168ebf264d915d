"""`wheeltapper label`: label the windows that workers are uncertain about."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from wheeltapper.command_line import RawFormatter
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label

if TYPE_CHECKING:
    from rich.console import Console

    from wheeltapper.labels.topics import LabelSender, Questions
    from wheeltapper.schemas.events import LabelRequest
    from wheeltapper.stream.settings import Settings

LABELS: tuple[str, ...] = get_args(Label.model_fields["label"].annotation)
ALERT_WORDS = {"false": "normal", "right": "anomalous", "unsure": "unsure"}
"""What may be said of an alert, and the label that says it of the alert's rows."""

EPILOG = """
examples:
  wheeltapper label --brokers 127.0.0.1:9092
  wheeltapper label --list --machine 'pump-*'
  wheeltapper label --answer anomalous --request 2273ff58 --comment 'valve half closed'
  wheeltapper label --alert 3f6a21d0 --answer false --comment 'new product'
  wheeltapper label --export labels.jsonl
  wheeltapper train rl-vae --dataset csv --data plant/ --entity pump-7 --out bundles/pump-7 --labels labels.jsonl

Without --list, --answer and --export it shows one window after the other and asks for a label: n (normal), a (anomalous) or
u (unsure), each followed by an optional comment; s skips the window, q quits. A labelled window is not shown again; --answer
can correct its label: the last one counts. Workers send requests where labels.enabled = true.

With --alert, --answer says whether an alert was false or right. Training with --labels leaves rows under alerts that were right out,
and learns from those under false ones as from others; detectors that learn from labels learn from both, and the adaptation worker
takes both. 'wheeltapper alarm confirm' and 'reject' tell running workers the same.
"""

PROMPT = "normal, anomalous or unsure? [n/a/u, s: skip, q: quit] "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--machine", metavar="PATTERN", default="*", help="only these machines, e.g. 'pump-*'")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="leave out requests published before: ISO 8601, or 90s, 15m, 2h, 7d ago (default: from the beginning)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="show or list at most N requests (default: all)")
    parser.add_argument("--who", metavar="NAME", help="name of the person who labels (default: the user's login name)")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--list", action="store_true", help="list the open requests, newest first")
    actions.add_argument(
        "--answer",
        choices=(*LABELS, *(word for word in ALERT_WORDS if word not in LABELS)),
        help="normal, anomalous or unsure: the label for the request named by --request; false, right or unsure: what the alert "
        "named by --alert was",
    )
    actions.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        help="write all labelled windows and alerts to FILE, one JSON object per line, for train --labels",
    )
    parser.add_argument("--request", metavar="ID", help="for --answer: a request's id, or a unique beginning of it")
    parser.add_argument(
        "--alert",
        metavar="ID",
        help="for --answer: an alert's id, or a unique beginning of it; or a machine: its open alert, else its last",
    )
    parser.add_argument("--comment", metavar="TEXT", default="", help="comment for --answer (default: none)")
    parser.add_argument(
        "--json", action="store_true", help="with --list and --answer: print the messages, one JSON object a line"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: options that do not go together, no cluster there, no such topic or request."""
    from wheeltapper.commands.alerts import parse_since
    from wheeltapper.kafka_admin import settings_from
    from wheeltapper.labels.topics import LabelSender, read_questions

    _check(arguments)
    since_ms = None if arguments.since is None else parse_since(arguments.since, int(time.time() * 1000))
    settings = settings_from(arguments)
    if arguments.alert is not None:
        _label_alert(settings, arguments)
        return 0
    questions = read_questions(settings, machines=arguments.machine, since_ms=since_ms)
    for problem in questions.problems:
        print(f"wheeltapper: {problem}", file=sys.stderr)
    if arguments.list:
        _list(questions, arguments)
    elif arguments.export is not None:
        _export(questions, arguments.export)
    elif arguments.answer is not None:
        request = questions.find(arguments.request)
        label = _label(request, arguments.answer, _who(arguments.who), arguments.comment)
        LabelSender(settings).send(label)
        _confirm(label, questions.labels.get(request.request_id), as_json=arguments.json)
    else:
        _ask(questions, LabelSender(settings), _who(arguments.who), arguments.limit)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected a whole number of 1 or more")
    if arguments.request is not None and arguments.alert is not None:
        raise InputError("--request names a window, --alert an alert; give one of the two")
    if (arguments.answer is None) != (arguments.request is None and arguments.alert is None):
        raise InputError(
            "--answer goes with --request ID or --alert ID; 'wheeltapper label --list' shows requests, 'wheeltapper alerts --json' "
            "alerts"
        )
    if arguments.alert is not None and arguments.answer not in ALERT_WORDS:
        raise InputError(f"--answer {arguments.answer}: of an alert expected one of {', '.join(ALERT_WORDS)}")
    if arguments.request is not None and arguments.answer not in LABELS:
        raise InputError(f"--answer {arguments.answer}: of a request expected one of {', '.join(LABELS)}")
    if arguments.comment and arguments.answer is None:
        raise InputError(
            "--comment goes with --answer; at the prompt, write the comment after the letter: 'a valve half closed'"
        )
    if arguments.json and not (arguments.list or arguments.answer):
        raise InputError("--json goes with --list or --answer")


def _who(name: str | None) -> str:
    import getpass

    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError) as error:
            raise InputError("this user has no login name; give a name with --who NAME") from error
    if not name.strip():
        raise InputError("--who is empty; expected a name")
    return name.strip()


def _label(request: LabelRequest, answer: str, who: str, comment: str) -> Label:
    return Label(
        request_id=request.request_id,
        machine=request.machine,
        time=request.time,
        label=answer,  # argparse and parse_reply give no other
        who=who,
        at=time.time_ns() // 1000,
        comment=comment.strip(),
    )


def _label_alert(settings: Settings, arguments: argparse.Namespace) -> None:
    """Say of one alert what it was."""
    from wheeltapper.alert_view import printable
    from wheeltapper.follow.alerts import find_alert
    from wheeltapper.follow.messages import read_messages
    from wheeltapper.labels.topics import LabelSender
    from wheeltapper.schemas.clock import iso_from_micros

    first, last = find_alert(settings, arguments.alert, machines=arguments.machine, tell=_tell)
    label = Label(
        request_id=first.alert_id,
        machine=first.machine,
        time=first.opened_at,
        label=ALERT_WORDS[arguments.answer],
        who=_who(arguments.who),
        at=time.time_ns() // 1000,
        comment=arguments.comment.strip(),
        alert_id=first.alert_id,
        until=last.time,
    )
    earlier = read_messages(settings, Label, keep=lambda key: key == first.machine.encode(), on_problem=_tell)
    before = [one for one in earlier if one.alert_id == label.alert_id]
    LabelSender(settings).send(label)
    if arguments.json:
        print(label.model_dump_json())
        return
    words = {said: word for word, said in ALERT_WORDS.items()}
    change = f" (was {words[before[-1].label]}, by {printable(before[-1].who)})" if before else ""
    span = f"{iso_from_micros(label.time)} to {iso_from_micros(last.time)}"
    state = "" if last.event == "cleared" else ", still open"
    print(f"alert {label.alert_id} of {printable(label.machine)}, {span}{state}: {arguments.answer}{change}")
    if last.event != "cleared":
        print("its rows up to here are meant; say it again once it has ended")


def _tell(text: str) -> None:
    print(f"wheeltapper: {text}", file=sys.stderr)


def _list(questions: Questions, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from wheeltapper.labels.view import render_line

    console = Console(soft_wrap=True, highlight=False)
    for request in questions.open[: arguments.limit]:
        if arguments.json:
            print(request.model_dump_json(), flush=True)
        else:
            console.print(render_line(request), soft_wrap=True)


def _export(questions: Questions, path: Path) -> None:
    from wheeltapper.training.fitting.label_files import write_answers
    from wheeltapper.training.fitting.labels import alert_labels, join

    answers = join(questions.requests, questions.labels.values())
    alerts = alert_labels(questions.labels.values())
    write_answers(path, answers, alerts)
    counts = ", ".join(f"{sum(one.label.label == label for one in answers)} {label}" for label in LABELS)
    judged = ", ".join(f"{sum(one.label == said for one in alerts)} {word}" for word, said in ALERT_WORDS.items())
    of_alerts = f" and of {len(alerts)} alerts ({judged})" if alerts else ""
    print(f"{len(answers)} labels ({counts}){of_alerts} written to {path}; {len(questions.open)} requests are open")


def _confirm(label: Label, before: Label | None, *, as_json: bool) -> None:
    from wheeltapper.alert_view import printable
    from wheeltapper.schemas.clock import iso_from_micros

    if as_json:
        print(label.model_dump_json())
        return
    change = "" if before is None else f" (was {before.label}, by {printable(before.who)})"
    print(f"{printable(label.machine)} at {iso_from_micros(label.time)}: {label.label}{change}")


class Reply(NamedTuple):
    """What was typed: one of `LABELS`, 'skip' or 'quit', and the comment behind it."""

    word: str
    comment: str


def parse_reply(text: str) -> Reply | None:
    """'n', 'A valve half closed', 'unsure', 's', 'quit'; None for anything else."""
    first, _, comment = text.strip().partition(" ")
    first = first.lower()
    for word in (*LABELS, "skip", "quit"):
        if first and first in (word, word[0]):
            return Reply(word, comment.strip())
    return None


def _ask(questions: Questions, sender: LabelSender, who: str, limit: int | None) -> None:
    from rich.console import Console

    from wheeltapper.labels.view import BLOCKS, PLAIN_BLOCKS, render_question

    console = Console(highlight=False)
    blocks = BLOCKS if console.encoding.lower().startswith("utf") else PLAIN_BLOCKS
    waiting = questions.open[:limit]
    answered = 0
    try:
        for number, request in enumerate(waiting, start=1):
            console.print(f"\n{number} of {len(waiting)}", style="dim")
            console.print(render_question(request, blocks=blocks), soft_wrap=True)
            reply = _reply(console)
            if reply.word == "quit":
                break
            if reply.word != "skip":
                sender.send(_label(request, reply.word, who, reply.comment))
                answered += 1
    except (EOFError, KeyboardInterrupt):
        print()  # what was answered has arrived; the prompt's line ends here
    still = len(questions.open) - answered
    console.print(f"{answered} answered, {still} open" if questions.open else "no request is open")


def _reply(console: Console) -> Reply:
    while True:
        reply = parse_reply(console.input(PROMPT, markup=False))
        if reply is not None:
            return reply
        console.print("expected n, a or u, followed by an optional comment; s to skip, q to quit", style="dim")
