"""What operators said of a machine: of windows that they were asked about, and of alerts. All of it judges a child.

Windows that were labelled anomalous, and rows under confirmed alerts, are not learned from. What was said of alerts stays on the
topic `alarm-commands` alone: labels of their windows are made here, from the rows that are there anyway.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import structlog

from wheeltapper.labels.topics import read_questions
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings
from wheeltapper.training.adaptation.service.alerts import KnownAlert
from wheeltapper.training.adaptation.service.presumed_normal import Span
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, LabelledWindows, join, labelled_windows

log = structlog.get_logger(__name__)

VERDICTS = {"confirm": ANOMALOUS, "reject": NORMAL}

# Windows of one alert overlap: a few say what many would, and no alert outweighs the others.
MOST_WINDOWS_OF_AN_ALERT = 16


@dataclass(frozen=True)
class Judged:
    """
    Attributes:
        windows: as the ladder takes them; None where nothing was labelled.
        anomalous: spans of event time of the windows that were labelled anomalous.
    """

    windows: LabelledWindows | None = None
    anomalous: tuple[Span, ...] = ()


def read_judged(settings: Settings, machine: str, bundle: Bundle) -> Judged:
    """What lies in the topics by now.

    Raises:
        InputError: no cluster there, a topic missing or not to be read.
    """
    questions = read_questions(settings, machines=glob.escape(machine))
    answers = join(questions.requests, questions.labels.values())
    spans = tuple((one.request.ts[0], one.label.time) for one in answers if one.label.label == "anomalous")
    if not answers:
        return Judged()
    manifest = bundle.manifest
    try:
        windows, left_out = labelled_windows(answers, manifest.channel_names, window=manifest.window)
    except InputError as error:
        log.info("labels are not used to judge children", machine=machine, reason=str(error))
        return Judged(anomalous=spans)
    for reason in left_out:
        log.info(reason, machine=machine)
    return Judged(windows, spans)


def windows_of_verdicts(
    alerts: Iterable[KnownAlert], times: np.ndarray, values: np.ndarray, *, window: int, interval_s: float
) -> LabelledWindows | None:
    """Windows of alerts that an operator confirmed (anomalous) or rejected (normal); None where there are none.

    Taken are those that end in the first `window` rows of an alert: what it opened for, and not the quiet time before it clears.

    Args:
        alerts: of the machine, of any of its rules.
        times: [n] int64 event time (us), rising. values: [n, C] float32, raw units.
        window: W, rows. interval_s: seconds between rows; no window spans a gap.
    """
    after_gap = np.zeros(len(times), dtype=np.int64)  # rows of the same stretch up to this one, itself among them
    for run in contiguous_runs(times, interval_s):
        after_gap[run] = np.arange(1, run.stop - run.start + 1)
    ends: dict[int, int] = {}
    for alert in alerts:
        if alert.verdict not in VERDICTS:
            continue
        first = int(np.searchsorted(times, alert.opened_at))
        last = len(times) if alert.ended_at is None else int(np.searchsorted(times, alert.ended_at, side="right"))
        rows = np.arange(first, min(last, first + window))
        rows = rows[after_gap[rows] >= window]
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_WINDOWS_OF_AN_ALERT)).round().astype(int))
        for row in rows[chosen].tolist():
            # Of two rules' alerts over the same rows one may have been false: that there was a fault counts.
            ends[row] = max(ends.get(row, NORMAL), VERDICTS[alert.verdict])
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
