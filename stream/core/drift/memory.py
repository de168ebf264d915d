"""What drift remembers of one machine: the block that is filling, what is smoothed, the run that may be a drift, the open drift."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wheeltapper.schemas.limits import MAX_CHANNELS
from wheeltapper.stream.core.drift.blocks import MAX_ROWS, STATISTICS
from wheeltapper.stream.core.saved import LONGEST_US, array, flag, moment, number, optional, text, whole

NO_OFFSET = -1

MAX_EMBEDDINGS = 2**22
"""Most values of a block's embeddings in a snapshot."""
MAX_VALUES = 2**20
"""Most scores of blocks in a snapshot: a block an hour, of a hundred years."""


@dataclass(slots=True)
class Filling:
    """The block that is filling.

    Attributes:
        number: of the block: event time // its length; None before the first window.
        windows: seen in it; kept: how many of them are in the arrays.
        withheld: windows in it that give no evidence (maintenance).
        first_offset: input offset of its first window.
        rows: [MAX_ROWS, C] float32, scores: [MAX_ROWS], embeddings: [MAX_ROWS, D] or None.
    """

    rows: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None = None
    number: int | None = None
    windows: int = 0
    kept: int = 0
    withheld: int = 0
    first_offset: int = NO_OFFSET

    def begin(self, number: int, offset: int) -> None:
        """Empty it for another block."""
        self.number, self.first_offset = number, offset
        self.windows = self.kept = self.withheld = 0

    def keep(self, rows: np.ndarray, scores: np.ndarray, embeddings: np.ndarray | None) -> None:
        """File windows, as far as there is room.

        Args:
            rows: [k, C]; scores: [k]; embeddings: [k, D], None where they are not judged.
        """
        start, room = self.kept, MAX_ROWS - self.kept
        self.kept = end = start + min(len(rows), room)
        self.rows[start:end], self.scores[start:end] = rows[:room], scores[:room]
        if embeddings is not None and end > start:
            keep_embeddings(self, start, embeddings[:room])


@dataclass(slots=True)
class Run:
    """Blocks in a row that look different, as far as a drift may begin with the first of them.

    Attributes:
        since: event time (us) at which its first block begins; first_offset: of that block's first window.
        blocks: how many; sums: [S, C] of their summaries, counts: [C] of blocks with a summary of the channel.
        score: sum of their median calibrated scores.
        size: how far from normal the machine was at most while the smoothed tests followed it, see `evidence.size`.
    """

    since: int
    first_offset: int
    sums: np.ndarray
    counts: np.ndarray
    blocks: int = 0
    score: float = 0.0
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The state in which a machine has settled under an open drift.

    Attributes:
        inputs: [S, C] smoothed summary. shift: of the scores, discrepancy: of the embeddings, smoothed.
        size: how far it is from normal, see `evidence.size`.
    """

    inputs: np.ndarray
    shift: float
    discrepancy: float
    size: float


@dataclass(slots=True)
class OpenDrift:
    """A drift that has been told and has not ended.

    Attributes:
        bundle: id of the bundle that found it.
        since, first_offset: as it was told.
        superseded: another bundle serves, or an operator has accepted it: it ends with the next window.
        told_at: event time (us) at which the block ended with which it was told.
        settled: where the machine was when the smoothed tests had followed; None: they have not yet.
    """

    bundle: str
    since: int
    first_offset: int
    superseded: bool = False
    told_at: int = 0
    settled: Settled | None = None


@dataclass(slots=True)
class DriftMemory:
    """One machine under one rule.

    Attributes:
        bundle, block_us: what it was made for: another bundle or length of block starts anew.
        inputs: [S, C] smoothed summary. discrepancy: smoothed, of the embeddings.
        sums: Page-Hinkley's, upwards and downwards. shift: smoothed, of the scores.
        values: standardised scores of blocks, as far back as ADWIN may need them; adwin: made of them when it is needed.
        shifted: ADWIN has found a change away from normal that has not come back.
        agree_since, apart_since: event time (us) since which the families agree, or no longer do; None: they do not, or do.
        moved_since: since which they agree that the machine has left the state in which an open drift has settled.
        accepted_at: event time (us) at which an operator accepted what the machine does; None: never.
    """

    bundle: str
    block_us: int
    filling: Filling
    inputs: np.ndarray
    discrepancy: float
    sums: tuple[float, float] = (0.0, 0.0)
    shift: float = 0.0
    values: list[float] = field(default_factory=list)
    shifted: bool = False
    agree_since: int | None = None
    apart_since: int | None = None
    moved_since: int | None = None
    accepted_at: int | None = None
    run: Run | None = None
    open: OpenDrift | None = None
    adwin: Any = None


class DriftSlot:
    """A machine's drift in a snapshot."""

    def __init__(self, new: Callable[[], DriftMemory], bundle: str, block_us: int, width: int) -> None:
        """
        Args:
            bundle, block_us: what memories must have been made for.
            width: C.
        """
        self._new = new
        self._made_for = (bundle, block_us)
        self._width = width

    def new(self) -> DriftMemory:
        return self._new()

    def adopt(self, memory: DriftMemory) -> DriftMemory:
        """A memory of another bundle starts anew, but for an open drift, which ends with the next window."""
        if (memory.bundle, memory.block_us) == self._made_for and memory.inputs.shape[1] == self._width:
            return memory
        fresh = self._new()
        fresh.open = memory.open
        if fresh.open is not None:
            fresh.open.superseded = True
        return fresh

    def dump(self, memory: DriftMemory) -> Any:
        filling, run, told = memory.filling, memory.run, memory.open
        kept = filling.kept
        return {
            "bundle": memory.bundle,
            "block_us": memory.block_us,
            "number": filling.number,
            "windows": filling.windows,
            "withheld": filling.withheld,
            "first_offset": filling.first_offset,
            "rows": _text(filling.rows[:kept], "<f4"),
            "scores": _text(filling.scores[:kept], "<f8"),
            "embeddings": None if filling.embeddings is None else _text(filling.embeddings[:kept], "<f4"),
            "width": memory.inputs.shape[1],
            "inputs": _text(memory.inputs, "<f8"),
            "discrepancy": memory.discrepancy,
            "sums": list(memory.sums),
            "shift": memory.shift,
            "values": _text(np.array(memory.values), "<f8"),
            "shifted": memory.shifted,
            "agree_since": memory.agree_since,
            "apart_since": memory.apart_since,
            "moved_since": memory.moved_since,
            "accepted_at": memory.accepted_at,
            "run": run
            and {
                "since": run.since,
                "first_offset": run.first_offset,
                "sums": _text(run.sums, "<f8"),
                "counts": _text(run.counts, "<f8"),
                "blocks": run.blocks,
                "score": run.score,
                "size": run.size,
            },
            "open": told
            and {
                "bundle": told.bundle,
                "since": told.since,
                "first_offset": told.first_offset,
                "superseded": told.superseded,
                "told_at": told.told_at,
                "settled": told.settled
                and [
                    _text(told.settled.inputs, "<f8"),
                    told.settled.shift,
                    told.settled.discrepancy,
                    told.settled.size,
                ],
            },
        }

    def load(self, saved: Any) -> DriftMemory:
        width = whole(saved["width"], 1, MAX_CHANNELS)
        rows = array(saved["rows"], "<f4", MAX_ROWS * width, finite=False).reshape(-1, width)
        scores = array(saved["scores"], "<f8", MAX_ROWS)
        kept = len(scores)
        if kept > MAX_ROWS or len(rows) != kept:
            raise ValueError(
                f"{kept} scores and {len(rows)} rows of a block, expected as many of both, at most {MAX_ROWS}"
            )
        filling = new_filling(width)
        filling.rows[:kept], filling.scores[:kept] = rows, scores
        if saved["embeddings"] is not None and kept:
            keep_embeddings(filling, 0, array(saved["embeddings"], "<f4", MAX_EMBEDDINGS).reshape(kept, -1))
        filling.number = optional(lambda number: whole(number, -LONGEST_US, LONGEST_US), saved["number"])
        filling.windows, filling.kept = whole(saved["windows"]), kept
        filling.withheld, filling.first_offset = whole(saved["withheld"]), whole(saved["first_offset"], NO_OFFSET)
        run, told = saved["run"], saved["open"]
        shape = (len(STATISTICS), width)
        return DriftMemory(
            bundle=text(saved["bundle"]),
            block_us=whole(saved["block_us"], 0, LONGEST_US),
            filling=filling,
            inputs=_summary(saved["inputs"], shape),
            discrepancy=number(saved["discrepancy"]),
            sums=(number(saved["sums"][0]), number(saved["sums"][1])),
            shift=number(saved["shift"]),
            values=array(saved["values"], "<f8", MAX_VALUES).tolist(),
            shifted=flag(saved["shifted"]),
            agree_since=optional(moment, saved["agree_since"]),
            apart_since=optional(moment, saved["apart_since"]),
            moved_since=optional(moment, saved["moved_since"]),
            accepted_at=optional(moment, saved["accepted_at"]),
            run=None
            if run is None
            else Run(
                moment(run["since"]),
                whole(run["first_offset"], NO_OFFSET),
                _summary(run["sums"], shape),
                array(run["counts"], "<f8", width).reshape(width),
                whole(run["blocks"]),
                number(run["score"]),
                number(run["size"]),
            ),
            open=None
            if told is None
            else OpenDrift(
                text(told["bundle"]),
                moment(told["since"]),
                whole(told["first_offset"], NO_OFFSET),
                flag(told["superseded"]),
                moment(told["told_at"]),
                _settled(told["settled"], shape),
            ),
        )


def new_filling(width: int) -> Filling:
    """An empty block of C channels."""
    return Filling(np.empty((MAX_ROWS, width), dtype=np.float32), np.empty(MAX_ROWS))


def keep_embeddings(filling: Filling, start: int, embeddings: np.ndarray) -> None:
    """Put [k, D] embeddings behind the first `start`."""
    if filling.embeddings is None or filling.embeddings.shape[1] != embeddings.shape[1]:
        filling.embeddings = np.zeros((MAX_ROWS, embeddings.shape[1]), dtype=np.float32)
    filling.embeddings[start : start + len(embeddings)] = embeddings


def _text(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _summary(saved: Any, shape: tuple[int, int]) -> np.ndarray:
    """[S, C]; NaN where a channel has no summary."""
    return array(saved, "<f8", shape[0] * shape[1], finite=False).reshape(shape)


def _settled(saved: Any, shape: tuple[int, int]) -> Settled | None:
    if saved is None:
        return None
    return Settled(_summary(saved[0], shape), *(number(each) for each in saved[1:]))
