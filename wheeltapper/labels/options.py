"""`--labels` and its like: what persons said of windows, for the detectors that learn from them, and of alerts, for all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.machine_names import matches

if TYPE_CHECKING:
    from wheeltapper.schemas.events import Label
    from wheeltapper.training.datasets.series import SensorSeries
    from wheeltapper.training.fitting.labels import Answer, JudgedSpan, LabelledWindows


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that trains."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a file that 'wheeltapper label --export' wrote: rows under alerts that were right are left out of training, and "
        "detectors that learn from labels learn from its windows and alerts; may be given several times",
    )
    parser.add_argument(
        "--labels-from",
        metavar="HOST:PORT",
        help="the same, straight from the topics label-requests and labels; TLS, passwords and topic names come from "
        "variables like WHEELTAPPER_KAFKA__SASL_USERNAME (default: none)",
    )
    parser.add_argument(
        "--labels-machine",
        metavar="PATTERN",
        default="*",
        help="only labels of these machines, e.g. 'pump-*'; of alerts by default those of the entity",
    )


def asks_for_labels(arguments: argparse.Namespace) -> bool:
    """Whether any were named."""
    return bool(arguments.labels or arguments.labels_from)


@dataclass(frozen=True)
class OperatorLabels:
    """What persons said, of all sources together; of each window and alert the last label counts.

    Attributes:
        answers: windows that were asked about.
        alerts: labels of alerts.
    """

    answers: list[Answer]
    alerts: list[Label]


def read_sources(arguments: argparse.Namespace) -> OperatorLabels:
    """All files of --labels, then the topics of --labels-from, which are the newest.

    A question that only a file still holds may have its label in the topic.

    Raises:
        InputError: a source that cannot be read.
    """
    from wheeltapper.training.fitting.label_files import read_judged
    from wheeltapper.training.fitting.labels import alert_labels, join

    files = [read_judged(path) for path in arguments.labels]
    requests = [answer.request for file in files for answer in file.answers]
    labels = [answer.label for file in files for answer in file.answers]
    labels += [label for file in files for label in file.alerts]
    if arguments.labels_from:
        from wheeltapper.labels.topics import read_questions
        from wheeltapper.stream.settings import load_settings

        settings = load_settings(None, kafka={"brokers": arguments.labels_from})
        questions = read_questions(settings, machines=arguments.labels_machine)
        for problem in questions.problems:
            print(f"wheeltapper: {problem}", file=sys.stderr)
        requests += questions.requests
        labels += questions.labels.values()
    return OperatorLabels(join(requests, labels), alert_labels(labels))


def judged_of_series(labels: OperatorLabels, series: SensorSeries, machines: str) -> list[JudgedSpan]:
    """The judged alerts of a series' machine that lie in its train part; says how many there are, and what is left out.

    Args:
        machines: --labels-machine; by default, '*', those of the machine that the series is called after.
    """
    from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, judged_spans

    pattern = series.entity if machines == "*" else machines
    own = [label for label in labels.alerts if matches(pattern, label.machine)]
    spans = judged_spans(own)
    if series.made_up_clock or not len(series.train_ts):
        inside = []
    else:
        first, last = int(series.train_ts[0]), int(series.train_ts[-1])
        inside = [span for span in spans if span.first <= last and (span.last is None or span.last >= first)]
    right = sum(span.label == ANOMALOUS for span in inside)
    false = sum(span.label == NORMAL for span in inside)
    print(
        f"labels       {len(inside)} alerts: {right} right, whose rows are not learned from, {false} false, whose rows are"
    )
    for count, why in (
        (len(labels.alerts) - len(own), f"of machines other than '{pattern}'; --labels-machine names others"),
        (len(own) - len(spans), "unsure"),
        (
            len(spans) - len(inside),
            "the rows have no times of their own" if series.made_up_clock else "not in the rows that are trained on",
        ),
    ):
        if count:
            print(f"know that    {count} {'alert is' if count == 1 else 'alerts are'} left out: {why}")
    return inside


def windows_to_learn(
    labels: OperatorLabels,
    spans: Sequence[JudgedSpan],
    series: SensorSeries,
    *,
    machines: str,
    window: int | None,
    default_window: int,
) -> LabelledWindows | None:
    """The judged windows for a detector that learns from labels, those of judged alerts among them; says how many there are.

    Args:
        spans: of alerts, as `judged_of_series` chose them.
        series: that is trained on, before rows were left out of it.
        machines: --labels-machine.
        window: rows, where a person chose; None is the length that most answers have, else `default_window`.

    Raises:
        InputError: windows without one of the channels, or nothing to learn from.
    """
    from wheeltapper.training.fitting.labels import ANOMALOUS, labelled_windows, together, windows_of_spans

    answered: LabelledWindows | None = None
    left_out: list[str] = []
    if labels.answers or not spans:
        answered, left_out = labelled_windows(labels.answers, series.channels, window=window, machines=machines)
    length = answered.windows.shape[1] if answered is not None else window or default_window
    alerted = windows_of_spans(
        spans, series.train_ts, series.train, window=length, interval_s=series.sampling_interval_s
    )
    labelled = together(answered, alerted)
    if labelled is None:
        raise InputError(
            f"no label can be learned from: no {length} rows without a hole end under a judged alert; answer requests with "
            "'wheeltapper label', or choose rows that the alerts lie in"
        )
    anomalous = int((labelled.labels == ANOMALOUS).sum())
    print(
        f"labels       {len(labelled)} windows of {labelled.windows.shape[1]} rows: {len(labelled) - anomalous} normal, "
        f"{anomalous} anomalous"
    )
    for line in left_out:
        print(f"know that    {line}")
    return labelled
