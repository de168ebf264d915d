"""The judge that publishes every score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.topics import SCORES
from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.outgoing import JSON_HEADERS
from wheeltapper.stream.records import Output

MOST_REMEMBERED = 10_000
"""Levels and qualities whose text is kept: most windows share a few."""


class ScoreTap:
    """One rule's scores on the `scores` topic, a ScoreBlock for each machine and batch. Remembers nothing of machines.

    Numbers become text for all machines of a batch at once.
    """

    slots: Mapping[str, Slot[Any]] = {}

    def __init__(self, rule: RuleSpec) -> None:
        name, bundle = _text(rule.name), _text(rule.manifest.bundle_id)
        self._named = f',"rule":{name},"bundle":{bundle},"time":['
        self._texts: dict[float, str] = {}
        self._of: np.ndarray | None = None
        """The batch's scores whose texts these are."""
        self._raw: list[str] = []
        self._score: list[str] = []

    def see(self, judged: Judged) -> list[Emission]:
        """See `Judge.see`."""
        if judged.scored.raw is not self._of:
            self._of = judged.scored.raw
            # In 32 bits: more digits than the graph has would only be noise, and twice the bytes.
            self._raw = _texts(np.nan_to_num(judged.scored.raw.astype(np.float32, copy=False)))
            self._score = _texts(judged.scored.score.astype(np.float32))
        due, windows = judged.due, slice(judged.start, judged.stop)
        value = (
            f'{{"machine":{_text(judged.machine)}{self._named}{",".join(map(str, due.times.tolist()))}],'
            f'"raw":[{",".join(self._raw[windows])}],"score":[{",".join(self._score[windows])}],'
            f'"threshold":[{self._shared(judged.levels)}],"quality":[{self._shared(due.quality)}]'
        )
        if judged.maintenance is not None:
            value += f',"maintenance":{orjson.dumps(judged.maintenance.tolist()).decode()}'
        message = Output(SCORES, record_key(judged.machine), f"{value}}}".encode(), JSON_HEADERS)
        return [Emission(int(due.offsets[-1]), message)]

    def _shared(self, values: np.ndarray) -> str:
        """[k] numbers of which most have been seen before."""
        known = self._texts
        if len(known) > MOST_REMEMBERED:
            known.clear()
        numbers = values.tolist()
        if numbers.count(numbers[0]) == len(numbers):  # as it is, mostly
            return ",".join([self._shared_text(numbers[0])] * len(numbers))
        return ",".join([self._shared_text(number) for number in numbers])

    def _shared_text(self, value: float) -> str:
        text = self._texts.get(value)
        if text is None:
            text = self._texts[value] = _texts(np.array([value], dtype=np.float32))[0]
        return text


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


def _texts(values: np.ndarray) -> list[str]:
    """[n] float32, each as JSON."""
    return orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
