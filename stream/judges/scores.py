"""The judge that publishes every score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from wheeltapper.schemas.audio_chunk import record_key
from wheeltapper.schemas.topics import SCORES
from wheeltapper.stream.core.judging import Emission, JudgedTogether, Slot
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

    def see_together(self, judged: JudgedTogether) -> Iterator[tuple[int, Sequence[Emission]]]:
        """See `SeesTogether`."""
        base, edges = judged.base, judged.edges
        # In 32 bits: more digits than the graph has would only be noise, and twice the bytes.
        raw = _texts(np.nan_to_num(judged.scored.raw[base : base + edges[-1]].astype(np.float32, copy=False)))
        score = _texts(judged.score.astype(np.float32))
        times = [*map(str, judged.times.tolist())]
        levels, qualities = self._shared(judged.levels), self._shared(judged.quality)
        last_offsets = judged.offsets[np.array(edges[1:]) - 1].tolist()
        named, masked = self._named, judged.has_maintenance
        start = 0
        for place, (machine, stop, offset) in enumerate(zip(judged.machines, edges[1:], last_offsets, strict=True)):
            value = (
                f'{{"machine":{_text(machine)}{named}{",".join(times[start:stop])}],'
                f'"raw":[{",".join(raw[start:stop])}],"score":[{",".join(score[start:stop])}],'
                f'"threshold":[{",".join(levels[start:stop])}],"quality":[{",".join(qualities[start:stop])}]'
            )
            if masked and (mask := judged.maintenance(place)) is not None:
                value += f',"maintenance":{orjson.dumps(mask.tolist()).decode()}'
            message = Output(SCORES, record_key(machine), f"{value}}}".encode(), JSON_HEADERS)
            yield place, (Emission(offset, message),)
            start = stop

    def _shared(self, values: np.ndarray) -> list[str]:
        """[k] numbers of which most have been seen before, each as JSON."""
        known = self._texts
        if len(known) > MOST_REMEMBERED:
            known.clear()
        numbers = values.tolist()
        if numbers.count(numbers[0]) == len(numbers):  # as it is, mostly
            return [self._shared_text(numbers[0])] * len(numbers)
        return [self._shared_text(number) for number in numbers]

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
