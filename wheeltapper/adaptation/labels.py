"""What operators said of a machine: of windows that they were asked about, and of alerts. All of it judges a child.

Windows that were labelled anomalous, and rows under confirmed alerts, are not learned from. What was said of alerts, on the topic
`alarm-commands` or `labels`, has no rows: labels of their windows are made here, from the rows that are there anyway.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from wheeltapper.labels.topics import read_questions
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings
from wheeltapper.training.adaptation.service.alerts import KnownAlert
from wheeltapper.training.adaptation.service.presumed_normal import Span
from wheeltapper.training.fitting.labels import (
    ANOMALOUS,
    NORMAL,
    JudgedSpan,
    LabelledWindows,
    alert_labels,
    join,
    labelled_windows,
    windows_of_spans,
)

log = structlog.get_logger(__name__)

VERDICTS = {"confirm": ANOMALOUS, "reject": NORMAL}


@dataclass(frozen=True)
class Judged:
    """
    Attributes:
        windows: as the ladder takes them; None where nothing was labelled.
        anomalous: spans of event time of the windows that were labelled anomalous.
        verdicts: alert id -> 'confirm' or 'reject', of alerts that were labelled ('wheeltapper label --alert').
    """

    windows: LabelledWindows | None = None
    anomalous: tuple[Span, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)


def read_judged(settings: Settings, machine: str, bundle: Bundle) -> Judged:
    """What lies in the topics by now.

    Raises:
        InputError: no cluster there, a topic missing or not to be read.
    """
    questions = read_questions(settings, machines=glob.escape(machine))
    answers = join(questions.requests, questions.labels.values())
    spans = tuple((one.request.ts[0], one.label.time) for one in answers if one.label.label == "anomalous")
    said = {code: verdict for verdict, code in VERDICTS.items()}
    verdicts = {
        label.alert_id: said[code]
        for label in alert_labels(questions.labels.values())
        if (code := {"normal": NORMAL, "anomalous": ANOMALOUS}.get(label.label)) is not None
    }
    if not answers:
        return Judged(verdicts=verdicts)
    manifest = bundle.manifest
    try:
        windows, left_out = labelled_windows(answers, manifest.channel_names, window=manifest.window)
    except InputError as error:
        log.info("labels are not used to judge children", machine=machine, reason=str(error))
        return Judged(anomalous=spans, verdicts=verdicts)
    for reason in left_out:
        log.info(reason, machine=machine)
    return Judged(windows, spans, verdicts)


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
    spans = (
        JudgedSpan(alert.opened_at, alert.ended_at, VERDICTS[alert.verdict])
        for alert in alerts
        if alert.verdict in VERDICTS
    )
    return windows_of_spans(spans, times, values, window=window, interval_s=interval_s)
