"""Which windows a person is asked about: of each stretch of time, the one whose score was nearest to the raise level.

Time is cut into stretches of 1 day / `labels.per_day` of event time. A machine's best window so far waits, as the finished
message, in the rule's state (and so in the machine's snapshot); the first window behind its stretch publishes it. So
the questions depend on the rows alone, not on how they came or on restarts, and no machine asks more often than it may.
"""

from __future__ import annotations

import uuid
from itertools import pairwise

import numpy as np
import orjson

from wheeltapper.schemas.topics import LABEL_REQUESTS, MAX_LABEL_VALUES
from wheeltapper.stream.core.alert_life import Question
from wheeltapper.stream.core.judging import Segment
from wheeltapper.stream.core.scoring import ScoredWindows
from wheeltapper.stream.core.thresholds.spot import SECONDS_PER_DAY
from wheeltapper.stream.judges.messages import JSON_HEADERS, AlertMessages, short
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Rule
from wheeltapper.stream.settings import LabelSettings

# Any fixed UUID serves as the name space; the ids must only be the same everywhere.
REQUEST_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:label-request")

LEAST_GAIN = 1e-3
"""A window takes another's place where it is so much nearer, as a share of the level: the sixth digit of a score depends
on how windows were batched, and must not choose between two that are alike."""

_LEAST_LEVEL = 1e-9


def request_id(machine: str, rule: str, bundle: str, time: int) -> str:
    """UUIDv5 of what makes the question this one, so that the same input gives the same id."""
    return str(uuid.uuid5(REQUEST_NAMESPACE, f"{machine}\x1f{rule}\x1f{bundle}\x1f{time}"))


class LabelRequests:
    """One rule's questions."""

    def __init__(self, rule: Rule, messages: AlertMessages, settings: LabelSettings) -> None:
        self._rule = rule
        self._messages = messages
        self._margin = settings.margin
        self._stretch_us = max(1, round(SECONDS_PER_DAY * 1e6 / settings.per_day))
        manifest = rule.manifest
        # A lagging detector's scored row must be among the rows that are sent.
        self._most_rows = max(MAX_LABEL_VALUES // len(manifest.channels), manifest.lag + 1)

    def of(self, segment: Segment, scored: ScoredWindows, levels: np.ndarray) -> list[Output]:
        """Look at one machine's windows; what is to be published of stretches that have ended.

        Args:
            levels: [k] float64, raise level in force at each window.
        """
        state = segment.state
        level = np.maximum(levels, _LEAST_LEVEL)
        distances = np.abs(scored.score[segment.start : segment.stop] / level - 1)  # [k], as a share of the level
        stretches = segment.times // self._stretch_us
        near = distances <= self._margin
        waiting = state.question
        if not near.any() and (waiting is None or waiting.stretch == stretches[0] == stretches[-1]):
            return []
        outputs: list[Output] = []
        starts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(stretches)]
        for first, stop in pairwise(starts):
            stretch = int(stretches[first])
            if state.question is not None and state.question.stretch != stretch:
                if segment.offsets[first] >= segment.partition.published:
                    value = state.question.message.encode()
                    outputs.append(Output(LABEL_REQUESTS, segment.machine.name.encode(), value, JSON_HEADERS))
                state.question = None
            held = np.inf if state.question is None else state.question.distance
            chosen = None
            for position in (first + np.flatnonzero(near[first:stop])).tolist():
                if distances[position] < held - LEAST_GAIN:
                    held, chosen = float(distances[position]), position
            if chosen is not None:
                message = self._message(segment, scored, chosen, float(levels[chosen]), held)
                state.question = Question(stretch, held, message)
        return outputs

    def _message(self, segment: Segment, scored: ScoredWindows, position: int, level: float, distance: float) -> str:
        """The LabelRequest of the segment's window `position`, as JSON."""
        assert segment.rows is not None
        manifest, machine, index = self._rule.manifest, segment.machine.name, segment.start + position
        time = int(segment.times[position])
        times, values = segment.rows.window(position, self._most_rows)
        absent = None if segment.absent is None else segment.absent[position]
        shares = self._messages.shares(scored, index, absent)
        request = {
            "request_id": request_id(machine, self._rule.name, manifest.bundle_id, time),
            "machine": machine,
            "time": time,
            "rule": self._rule.name,
            "detector": manifest.detector,
            "bundle": manifest.bundle_id,
            "score": short(float(scored.score[index])),
            "threshold": short(level),
            "uncertainty": short(max(0.0, 1 - distance / self._margin)),
            "quality": short(float(segment.quality[position])),
            "shares": [share.model_dump() for share in shares[: self._messages.top]],
            "channels": manifest.channel_names,
            "units": [channel.unit for channel in manifest.channels],
            "ts": times,
            # Not by way of the model: a large window would take a tenth of a second. NaN becomes null.
            "values": values,
        }
        return orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY).decode()
