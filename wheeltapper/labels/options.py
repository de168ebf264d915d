"""`--labels` and its like: windows that a person judged, for the detectors that learn from them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wheeltapper.training.fitting.labels import Answer, LabelledWindows


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that trains."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="learn from these answers too, for detectors that do: a file that 'wheeltapper label --export' wrote; may be "
        "given several times",
    )
    parser.add_argument(
        "--labels-from",
        metavar="HOST:PORT",
        help="the same, straight from the topics label-requests and labels; TLS, passwords and topic names come from "
        "variables like WHEELTAPPER_KAFKA__SASL_USERNAME (default: none)",
    )
    parser.add_argument(
        "--labels-machine", metavar="PATTERN", default="*", help="only labels of these machines, e.g. 'pump-*'"
    )


def asks_for_labels(arguments: argparse.Namespace) -> bool:
    """Whether any were named."""
    return bool(arguments.labels or arguments.labels_from)


def read_labels(arguments: argparse.Namespace, channels: tuple[str, ...], window: int | None) -> LabelledWindows | None:
    """The judged windows of all sources, None where none was named; says how many there are and what was left out.

    Args:
        channels: of the series that is trained on.
        window: rows; None is the length that most of them have.

    Raises:
        InputError: a source that cannot be read, windows without one of the channels, or nothing to learn from.
    """
    if not asks_for_labels(arguments):
        return None
    from wheeltapper.training.fitting.labels import ANOMALOUS, labelled_windows

    labelled, left_out = labelled_windows(
        _answers(arguments), channels, window=window, machines=arguments.labels_machine
    )
    anomalous = int((labelled.labels == ANOMALOUS).sum())
    print(
        f"labels       {len(labelled)} windows of {labelled.windows.shape[1]} rows: {len(labelled) - anomalous} normal, "
        f"{anomalous} anomalous"
    )
    for line in left_out:
        print(f"know that    {line}")
    return labelled


def _answers(arguments: argparse.Namespace) -> list[Answer]:
    """Of all sources together, each question once: its last label counts, and the topics are newest.

    A question that only a file still holds may have its label in the topic.
    """
    from wheeltapper.training.fitting.label_files import read_answers
    from wheeltapper.training.fitting.labels import join

    answers = [answer for path in arguments.labels for answer in read_answers(path)]
    requests, labels = [answer.request for answer in answers], [answer.label for answer in answers]
    if arguments.labels_from:
        from wheeltapper.labels.topics import read_questions
        from wheeltapper.stream.settings import load_settings

        settings = load_settings(None, kafka={"brokers": arguments.labels_from})
        questions = read_questions(settings, machines=arguments.labels_machine)
        for problem in questions.problems:
            print(f"wheeltapper: {problem}", file=sys.stderr)
        requests += questions.requests
        labels += questions.labels.values()
    return join(requests, labels)
