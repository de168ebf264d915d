"""Which windows a person is asked about: of each stretch of time, the one whose score was nearest to the raise level.

Time is cut into stretches of 1 day / `labels.per_day` of event time. A machine's best window so far waits, as the finished
message, in the rule's state (and so in the machine's snapshot); the first window behind its stretch publishes it. So
the questions depend on the rows alone, not on how they came or on restarts, and no machine asks more often than it may.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.topics import LABEL_REQUESTS, LABEL_REQUESTS_MAX_BYTES, MAX_LABEL_VALUES
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.saved import LONGEST_US, number, text, whole
from wheeltapper.stream.core.thresholds import SECONDS_PER_DAY
from wheeltapper.stream.judges.messages import AlertMessages
from wheeltapper.stream.outgoing import JSON_HEADERS, short
from wheeltapper.stream.records import Output
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


QUESTION = "question"


@dataclass(frozen=True, slots=True)
class Question:
    """The least certain window of a stretch of time, waiting for the stretch to end.

    Attributes:
        stretch: number of the stretch.
        distance: of its score from the raise level, as a share of the level.
        message: the LabelRequest, as JSON.
    """

    stretch: int
    distance: float
    message: str


class QuestionSlot:
    """A waiting question in a snapshot."""

    def new(self) -> Question | None:
        return None

    def adopt(self, memory: Question | None) -> Question | None:
        return memory

    def dump(self, memory: Question | None) -> Any:
        return None if memory is None else asdict(memory)

    def load(self, saved: Any) -> Question | None:
        message = text(saved["message"], LABEL_REQUESTS_MAX_BYTES)
        if not isinstance(orjson.loads(message), dict):
            raise ValueError("its message is no label request")
        return Question(whole(saved["stretch"], -LONGEST_US, LONGEST_US), number(saved["distance"], 0.0), message)


class LabelRequests:
    """The judge that asks one rule's questions."""

    def __init__(self, rule: RuleSpec, messages: AlertMessages, settings: LabelSettings, counters: Counters) -> None:
        self._rule = rule
        self._messages = messages
        self._counters = counters
        self._margin = settings.margin
        self._stretch_us = max(1, round(SECONDS_PER_DAY * 1e6 / settings.per_day))
        self.slots: Mapping[str, Slot[Any]] = {QUESTION: QuestionSlot()}
        manifest = rule.manifest
        # A lagging detector's scored row must be among the rows that are sent.
        self._most_rows = max(MAX_LABEL_VALUES // len(manifest.channels), manifest.lag + 1)

    def see(self, judged: Judged) -> list[Emission]:
        """See `Judge.see`: the questions of stretches that have ended."""
        waiting: Question | None = judged.memory.slots[QUESTION]
        level = np.maximum(judged.levels, _LEAST_LEVEL)
        distances = np.abs(judged.score / level - 1)  # [k], as a share of the level
        stretches = judged.due.times // self._stretch_us
        near = distances <= self._margin
        if judged.maintenance is not None:
            near &= ~judged.maintenance
        if not near.any() and (waiting is None or waiting.stretch == stretches[0] == stretches[-1]):
            return []
        emissions: list[Emission] = []
        starts = [0, *(np.flatnonzero(np.diff(stretches)) + 1).tolist(), len(stretches)]
        for first, stop in pairwise(starts):
            stretch = int(stretches[first])
            if waiting is not None and waiting.stretch != stretch:
                request = Output(LABEL_REQUESTS, judged.machine.encode(), waiting.message.encode(), JSON_HEADERS)
                emissions.append(Emission(int(judged.due.offsets[first]), request))
                waiting = None
            held = np.inf if waiting is None else waiting.distance
            chosen = None
            for position in (first + np.flatnonzero(near[first:stop])).tolist():
                if distances[position] < held - LEAST_GAIN:
                    held, chosen = float(distances[position]), position
            if chosen is not None:
                waiting = Question(stretch, held, self._message(judged, chosen, float(judged.levels[chosen]), held))
        judged.memory.slots[QUESTION] = waiting
        self._counters.label_requests += len(emissions)
        return emissions

    def _message(self, judged: Judged, position: int, level: float, distance: float) -> str:
        """The LabelRequest of window `position`, as JSON."""
        due, machine, manifest = judged.due, judged.machine, self._rule.manifest
        assert due.rows is not None
        time = int(due.times[position])
        times, values = due.rows.window(position, self._most_rows)
        shares = self._messages.shares(judged, position)
        request = {
            "request_id": request_id(machine, self._rule.name, manifest.bundle_id, time),
            "machine": machine,
            "time": time,
            "rule": self._rule.name,
            "detector": manifest.detector,
            "bundle": manifest.bundle_id,
            "score": short(float(judged.score[position])),
            "threshold": short(level),
            "uncertainty": short(max(0.0, 1 - distance / self._margin)),
            "quality": short(float(due.quality[position])),
            "shares": [share.model_dump() for share in shares[: self._messages.top]],
            "channels": manifest.channel_names,
            "units": [channel.unit for channel in manifest.channels],
            "ts": times,
            # Not by way of the model: a large window would take a tenth of a second. NaN becomes null.
            "values": values,
        }
        return orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY).decode()
