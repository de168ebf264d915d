"""The judge that publishes every score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wheeltapper.stream.core.judging import Emission, Judged, Slot
from wheeltapper.stream.judges.messages import AlertMessages


class ScoreTap:
    """One rule's scores on the `scores` topic. Remembers nothing."""

    slots: Mapping[str, Slot[Any]] = {}

    def __init__(self, messages: AlertMessages) -> None:
        self._messages = messages

    def see(self, judged: Judged) -> list[Emission]:
        """See `Judge.see`."""
        due = judged.due
        message = self._messages.scores(
            judged.machine, due.times, judged.raw, judged.score, judged.levels, due.quality, judged.maintenance
        )
        return [Emission(int(due.offsets[-1]), message)]
