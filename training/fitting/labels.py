"""Labelled windows: labels of operators, as training reads them.

answered = join(requests, labels)                         of both topics, or wheeltapper.training.fitting.label_files.read_answers(path)
labelled, left_out = labelled_windows(answered, series.channels)
train_detector(name, series, TrainOptions(extra_data=ExtraData(labelled=labelled)))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.schemas.machine_names import matches
from wheeltapper.schemas.text import first_names
from wheeltapper.training.fitting.calibration import contiguous_runs

NORMAL, ANOMALOUS = 0, 1

# Windows of one alert overlap: a few say what many would, and no alert outweighs the others.
MOST_WINDOWS_OF_AN_ALERT = 16

_CODES = {"normal": NORMAL, "anomalous": ANOMALOUS}


@dataclass(frozen=True)
class LabelledWindows:
    """
    Attributes:
        windows: [n, W, C] float32, raw units, NaN where a sensor gave nothing; channels in the series' order.
        labels: [n] uint8, `NORMAL` or `ANOMALOUS`, of each window's last row.
        times: [n] int64, event time of that row, microseconds UTC.
    """

    windows: np.ndarray
    labels: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Answer:
    """A question and what a person said to it."""

    request: LabelRequest
    label: Label


@dataclass(frozen=True, slots=True)
class JudgedSpan:
    """Rows under an alert that a person judged.

    Attributes:
        first, last: event times (us), both in it; `last` is None where the alert is still open.
        label: `NORMAL`: the alert was false; `ANOMALOUS`: it was right.
    """

    first: int
    last: int | None
    label: int


def alert_labels(labels: Iterable[Label]) -> list[Label]:
    """Of labels, those that judge alerts: the last one of each alert, by the alerts' opening."""
    last = {label.alert_id: label for label in labels if label.alert_id}
    return sorted(last.values(), key=lambda label: (label.time, label.alert_id))


def judged_spans(labels: Iterable[Label]) -> list[JudgedSpan]:
    """The spans of alerts that were called false or right; 'unsure' says neither."""
    return [
        JudgedSpan(label.time, label.until, _CODES[label.label])
        for label in alert_labels(labels)
        if label.label in _CODES
    ]


def windows_of_spans(
    spans: Iterable[JudgedSpan], times: np.ndarray, values: np.ndarray, *, window: int, interval_s: float
) -> LabelledWindows | None:
    """Windows of judged alerts; None where no row lies under one.

    Taken are those that end in the first `window` rows of an alert: what it opened for, and not the quiet time before it clears.

    Args:
        times: [n] int64 event time (us), rising. values: [n, C] float32, raw units.
        window: W, rows. interval_s: seconds between rows; no window spans a gap.
    """
    after_gap = np.zeros(len(times), dtype=np.int64)  # rows of the same stretch up to this one, itself among them
    for run in contiguous_runs(times, interval_s):
        after_gap[run] = np.arange(1, run.stop - run.start + 1)
    ends: dict[int, int] = {}
    for span in spans:
        first = int(np.searchsorted(times, span.first))
        last = len(times) if span.last is None else int(np.searchsorted(times, span.last, side="right"))
        rows = np.arange(first, min(last, first + window))
        rows = rows[after_gap[rows] >= window]
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_WINDOWS_OF_AN_ALERT)).round().astype(int))
        for row in rows[chosen].tolist():
            # Of two rules' alerts over the same rows one may have been false: that there was a fault counts.
            ends[row] = max(ends.get(row, NORMAL), span.label)
    if not ends:
        return None
    rows = np.array(sorted(ends))
    return LabelledWindows(
        windows=np.stack([values[row - window + 1 : row + 1] for row in rows]),
        labels=np.array([ends[row] for row in rows.tolist()], dtype=np.uint8),
        times=times[rows],
    )


def together(*parts: LabelledWindows | None) -> LabelledWindows | None:
    """All windows, by time; None where there are none. They have one shape."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    times = np.concatenate([part.times for part in known])
    order = np.argsort(times, kind="stable")
    return LabelledWindows(
        windows=np.concatenate([part.windows for part in known])[order],
        labels=np.concatenate([part.labels for part in known])[order],
        times=times[order],
    )


def join(requests: Iterable[LabelRequest], labels: Iterable[Label]) -> list[Answer]:
    """Questions with their answers, in the order of event time; a question may come twice, its last label counts.

    Labels of questions that are not there (any more) are left out, as are questions without a label.
    """
    last = {label.request_id: label for label in labels}
    asked = {request.request_id: request for request in requests if request.request_id in last}
    answers = [Answer(request, last[request.request_id]) for request in asked.values()]
    return sorted(answers, key=lambda answer: (answer.request.time, answer.request.request_id))


def labelled_windows(
    answers: Sequence[Answer], channels: Sequence[str], *, window: int | None = None, machines: str = "*"
) -> tuple[LabelledWindows, list[str]]:
    """The judged windows as training takes them: raw values, one length, channels in the given order.

    A window ends with its judged row. Longer ones are cut to their last rows.

    Args:
        channels: C names of the series that is trained on; what a question has besides is not used.
        window: W, rows; None is the length that most of the windows have.
        machines: pattern (fnmatch) of the machines whose labels are wanted.

    Returns:
        the windows, by time, and one line for each reason that answers were left out for.

    Raises:
        InputError: an answer without one of the channels, or nothing that can be used.
    """
    own = [answer for answer in answers if matches(machines, answer.request.machine)]
    decided = sorted((answer for answer in own if answer.label.label in _CODES), key=lambda one: one.request.time)
    tables = [_table(answer.request, channels) for answer in decided]
    length = window or _usual_length(tables)
    kept = [index for index, table in enumerate(tables) if len(table) >= length]
    left_out = [
        f"{count} {'label was' if count == 1 else 'labels were'} left out: {why}"
        for count, why in (
            (len(answers) - len(own), f"of machines other than '{machines}'"),
            (len(own) - len(decided), "unsure"),
            (len(tables) - len(kept), f"windows of fewer than {length} rows"),
        )
        if count
    ]
    if not kept:
        reasons = "; ".join(left_out) or "there are none"
        raise InputError(f"no label can be learned from ({reasons}); answer some with 'wheeltapper label'")
    labelled = LabelledWindows(
        windows=np.stack([tables[index][-length:] for index in kept]),
        labels=np.array([_CODES[decided[index].label.label] for index in kept], dtype=np.uint8),
        times=np.array([decided[index].request.time for index in kept], dtype=np.int64),
    )
    return labelled, left_out


def _table(request: LabelRequest, channels: Sequence[str]) -> np.ndarray:
    """[w, C] float32 of a question's window up to the judged row, columns in the order of `channels`."""
    columns = {name: column for column, name in enumerate(request.channels)}
    missing = [name for name in channels if name not in columns]
    if missing:
        raise InputError(
            f"the labelled window of machine '{request.machine}' at {iso_from_micros(request.time)} lacks {len(missing)} of "
            f"the series' {len(channels)} channels, first '{missing[0]}'; it has {first_names(request.channels)}: "
            "name the machines whose labels fit with --labels-machine"
        )
    rows = request.values[: request.ts.index(request.time) + 1]
    values = np.array(rows, dtype=np.float64)  # None becomes NaN
    table: np.ndarray = values[:, [columns[name] for name in channels]].astype(np.float32)
    return table


def _usual_length(tables: Sequence[np.ndarray]) -> int:
    """The length that most of the windows have; the larger of two that are as frequent; 0 without windows."""
    lengths = Counter(map(len, tables))
    return max(lengths, key=lambda length: (lengths[length], length), default=0)
