"""What operators said of a machine's windows: anomalous ones are not learned from, all of them judge a child."""

from __future__ import annotations

import glob
from dataclasses import dataclass

import structlog

from wheeltapper.labels.topics import read_questions
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings
from wheeltapper.training.adaptation.service.presumed_normal import Span
from wheeltapper.training.fitting.labels import LabelledWindows, join, labelled_windows

log = structlog.get_logger(__name__)


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
