"""What a block of a machine's stream says: every test moved on by it, and whether enough of them agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wheeltapper.stream.core.drift.blocks import log_scores
from wheeltapper.stream.core.drift.embeddings import thinned
from wheeltapper.stream.core.drift.memory import DriftMemory, Settled
from wheeltapper.stream.core.drift.reference import DriftReference
from wheeltapper.stream.core.drift.scores import (
    ADWIN_LEAST_MOVE,
    ADWIN_MOST,
    MOST_SUM,
    ScoreNormal,
    adwin_mean,
    new_adwin,
    page_hinkley,
)

FAMILY_OF = {
    "adwin": "scores",
    "page-hinkley": "scores",
    "shift": "scores",
    "inputs": "inputs",
    "channel": "inputs",
    "embedding": "embedding",
}
"""Test -> family of evidence."""

LOUD, HEARD = 1.5, 0.6
"""Of their levels: where one family is above the first, the others that must agree need only be above the second."""
NEAR = 0.7
"""Of their levels: a run of blocks that look different goes on while as many families as must agree are above."""
_SUMMED = frozenset({"adwin", "page-hinkley"})
"""Tests that are never loud: what they say grows with time, not with the size of the change."""


def learn(
    reference: DriftReference,
    memory: DriftMemory,
    summary: np.ndarray,
    silent: np.ndarray | None,
    scores: np.ndarray,
) -> dict[str, float]:
    """Move every test on by a block: test -> statistic, 1.0 where it speaks.

    Args:
        summary: [S, C] of the block. silent: [C] bool, channels that give no evidence; None: all do.
        scores: [k] calibrated scores of the block.
    """
    found: dict[str, float] = {}
    normal = reference.scores
    if normal is not None:
        mean = float(np.add.reduce(log_scores(scores))) / len(scores)
        value = normal.standardise(mean)
        memory.sums = page_hinkley(memory.sums, value, MOST_SUM * reference.score_level)
        memory.shift += reference.decay * (normal.standardise_widely(mean) - memory.shift)
        found["adwin"] = float(_adwin(normal, memory, value))
        found["page-hinkley"] = max(memory.sums) / reference.score_level
        found["shift"] = abs(memory.shift) / reference.shift_level
    if reference.inputs is not None:
        usable = summary if silent is None else np.nan_to_num(summary)
        memory.inputs = reference.inputs.step(memory.inputs, usable, silent)
        machine, channel = reference.inputs.statistics(memory.inputs)
        found["inputs"] = machine / reference.inputs_level
        found["channel"] = channel / reference.channel_level
    embeddings = memory.filling.embeddings
    if reference.embedding is not None and embeddings is not None:
        away = reference.embedding.discrepancy(thinned(embeddings[: memory.filling.kept]))
        memory.discrepancy += reference.decay * (away - memory.discrepancy)
        span = reference.embedding_level - reference.embedding_center
        found["embedding"] = (memory.discrepancy - reference.embedding_center) / span
    return found


def size(statistics: Mapping[str, float]) -> float:
    """How far the machine is from normal: the tests that follow it, summed."""
    return sum(_plain(statistics).values())


def moved_on(
    reference: DriftReference, memory: DriftMemory, statistics: Mapping[str, float], settled: Settled
) -> dict[str, float]:
    """How far the machine is from the state in which an open drift has settled: test -> statistic, at the same levels.

    Empty while it is on the way back to normal.

    Args:
        statistics: against normal.
    """
    if size(statistics) < settled.size:
        return {}
    found = {"shift": abs(memory.shift - settled.shift) / reference.shift_level}
    if reference.inputs is not None:
        machine, channel = reference.inputs.statistics(reference.inputs.center + memory.inputs - settled.inputs)
        found["inputs"] = machine / reference.inputs_level
        found["channel"] = channel / reference.channel_level
    span = reference.embedding_level - reference.embedding_center
    found["embedding"] = abs(memory.discrepancy - settled.discrepancy) / span
    return found


def agree(statistics: Mapping[str, float], agreement: int, *, complete: bool = True) -> bool:
    """Whether enough families speak together, or one is so loud that the others need only be heard.

    Args:
        complete: all channels give evidence. Where one is stuck or missing, the scores are loud because of it.
    """
    spoken = _largest(statistics)
    if sum(value >= 1.0 for value in spoken.values()) >= agreement:
        return True
    heard = sorted(_largest(_plain(statistics)).values(), reverse=True)[:agreement]
    return complete and len(heard) == agreement and heard[0] >= LOUD and heard[-1] >= HEARD


def are_near(statistics: Mapping[str, float], agreement: int) -> bool:
    """Whether as many families as must agree are at least near their levels, by the tests that follow the machine."""
    return sum(value >= NEAR for value in _largest(_plain(statistics)).values()) >= agreement


def _plain(statistics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in statistics.items() if name not in _SUMMED}


def _largest(statistics: Mapping[str, float]) -> dict[str, float]:
    """Family -> its largest statistic."""
    found: dict[str, float] = {}
    for name, value in statistics.items():
        family = FAMILY_OF[name]
        found[family] = max(value, found.get(family, value))
    return found


def _adwin(normal: ScoreNormal, memory: DriftMemory, value: float) -> bool:
    if memory.adwin is None:
        memory.adwin = new_adwin(normal, np.array(memory.values))
    changed = memory.adwin.update(value)
    memory.values.append(value)
    away = abs(adwin_mean(memory.adwin)) >= ADWIN_LEAST_MOVE
    memory.shifted = away and (memory.shifted or bool(changed))
    if len(memory.values) > ADWIN_MOST:
        # What ADWIN holds must follow from what a snapshot holds.
        memory.values = memory.values[-ADWIN_MOST // 2 :]
        memory.adwin = None
    return memory.shifted
