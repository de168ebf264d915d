"""What a bundle knows of its machine's normal: the tests of drift, fitted and with their levels. Made once for each rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wheeltapper.schemas.bundle.normal_blocks import calibration_sample, reference_times, written_blocks
from wheeltapper.stream.core.drift.blocks import (
    LEAST_ROWS,
    MAX_ROWS,
    STATISTICS,
    block_edges,
    block_length_us,
    log_scores,
    summarise,
)
from wheeltapper.stream.core.drift.embeddings import EmbeddingNormal, embedding_normal, thinned
from wheeltapper.stream.core.drift.inputs import InputNormal, input_normal
from wheeltapper.stream.core.drift.levels import LEAST_BLOCKS, level, out_of_sample
from wheeltapper.stream.core.drift.scores import (
    ScoreNormal,
    adwin_delta,
    page_hinkley_course,
    score_normal,
    shift_course,
)
from wheeltapper.stream.core.policies import DriftRules
from wheeltapper.stream.core.rule import RuleSpec

if TYPE_CHECKING:
    from wheeltapper.schemas.bundle import Bundle

DAYS_PER_MONTH = 30.4
HALF_LIFE_S = 43_200.0
"""Of what is smoothed: shorter than a day's swing would be told as drift, longer would be told late."""
LEAST_SUM = 5.0
"""Page-Hinkley's level is at least so high, in standard deviations of normal blocks times blocks."""
LEAST_SHIFT = 1.5
"""The level of the smoothed shift of the scores is at least so high, in standard deviations of normal blocks."""
FAMILIES = 3
"""Scores, inputs and embedding."""
LONGEST_BLOCKS = 3.0
"""Half-lives over which a smoothed statistic remembers."""


@dataclass(frozen=True)
class NormalBlocks:
    """Blocks of a bundle's normal, in time order.

    Attributes:
        summaries: [b, S, C], raw units. scores: [n] mean log calibrated scores; embeddings: [m] blocks of [k, D].
        warnings: what to know of them.
    """

    summaries: np.ndarray
    scores: np.ndarray
    embeddings: tuple[np.ndarray, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DriftReference:
    """The tests of one bundle.

    Attributes:
        block_us: length of a block.
        decay: share of the newest block in what is smoothed.
        inputs, scores, embedding: what is normal; None where the bundle holds too little to say.
        inputs_level, channel_level, score_level, shift_level: of their statistics; embedding_center and embedding_level: of the smoothed discrepancy.
        score_before: median calibrated score of the calibration windows.
        warnings: what to know of these tests.
    """

    block_us: int
    decay: float
    inputs: InputNormal | None = None
    inputs_level: float = 1.0
    channel_level: float = 1.0
    scores: ScoreNormal | None = None
    score_level: float = 1.0
    shift_level: float = 1.0
    embedding: EmbeddingNormal | None = None
    embedding_center: float = 0.0
    embedding_level: float = 1.0
    score_before: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """Families of evidence that this bundle supports."""
        known = {"scores": self.scores, "inputs": self.inputs, "embedding": self.embedding}
        return tuple(name for name, normal in known.items() if normal is not None)


def drift_reference(rule: RuleSpec, policy: DriftRules) -> DriftReference:
    """Fit the tests on the bundle's own normal blocks."""
    block_us = block_length_us(rule.manifest.sampling_interval_s, policy.block_s)
    blocks = normal_blocks(rule, block_us)
    half_life = max(1.0, HALF_LIFE_S * 1e6 / block_us)
    decay = 1.0 - 0.5 ** (1.0 / half_life)
    memory = max(1, round(LONGEST_BLOCKS * half_life))
    patience = memory / _share_of_stretches(policy, block_us, memory)
    calibration = rule.calibration_scores
    inputs, inputs_level, channel_level = _inputs(blocks.summaries, decay, patience, memory)
    scores, score_level, shift_level = _scores(blocks.scores, decay, patience, memory)
    embedding, embedding_center, embedding_level = _embedding(blocks.embeddings, decay, patience, memory)
    return DriftReference(
        block_us=block_us,
        decay=decay,
        inputs=inputs,
        inputs_level=inputs_level,
        channel_level=channel_level,
        scores=scores,
        score_level=score_level,
        shift_level=shift_level,
        embedding=embedding,
        embedding_center=embedding_center,
        embedding_level=embedding_level,
        score_before=float(np.median(calibration)) if len(calibration) else 0.0,
        warnings=blocks.warnings + _doubts(blocks, memory),
    )


def _share_of_stretches(policy: DriftRules, block_us: int, memory: int) -> float:
    """In which share of the stretches that a test remembers each family may speak.

    Any families that must agree meet by chance where each speaks in the same stretch: in the product of their shares.
    """
    stretches = DAYS_PER_MONTH * 86_400e6 / block_us / memory
    agreement = min(max(1, policy.agreement), FAMILIES)
    share = policy.false_drifts_per_month / stretches / math.comb(FAMILIES, agreement)
    return float(min(0.5, share ** (1.0 / agreement)))


def normal_blocks(rule: RuleSpec, block_us: int) -> NormalBlocks:
    """The normal blocks of a rule's bundle: those that training wrote, or what the reference windows give."""
    bundle = rule.bundle
    scores, embeddings = _calibration_blocks(rule, block_us)
    written = written_blocks(bundle)
    kind: str = rule.manifest.kind
    if kind == "audio":
        # Clips say nothing of single measured values: sound is judged by its scores and embeddings.
        if written is not None and written.block_us == block_us and len(written.scores):
            scores = written.scores
        return NormalBlocks(np.zeros((0, len(STATISTICS), rule.manifest.row_width)), scores, embeddings)
    if written is not None and written.block_us == block_us:
        return NormalBlocks(written.summaries, written.scores if len(written.scores) else scores, embeddings)
    if written is None:
        warning = "the bundle holds no drift.parquet: its reference windows stand for the blocks of its train part"
    else:
        warning = (
            f"drift.block_s asks for blocks of {block_us / 1e6:g} s, the bundle holds blocks of {written.block_us / 1e6:g} s: "
            "its reference windows stand for them"
        )
    return NormalBlocks(_reference_blocks(bundle, block_us), scores, embeddings, (warning,))


def _calibration_blocks(rule: RuleSpec, block_us: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Mean log scores [b] and embeddings of the blocks that the calibration sample fills, in time order."""
    times, raw, embeddings = calibration_sample(rule.bundle)
    if times is None:
        return np.zeros(0), ()
    order = np.argsort(times, kind="stable")
    values = log_scores(rule.calibrate(raw[order]))
    _, starts = block_edges(times[order], block_us)
    full = [piece for piece in np.split(np.arange(len(order)), starts[1:]) if len(piece) >= LEAST_ROWS]
    means = np.array([values[piece].mean() for piece in full])
    if embeddings is None:
        return means, ()
    return means, tuple(thinned(embeddings[order[piece]]) for piece in full)


def _reference_blocks(bundle: Bundle, block_us: int) -> np.ndarray:
    times, rows = reference_times(bundle), bundle.reference_rows()
    width = rows.shape[1]
    if times is None or not len(rows):
        return np.zeros((0, len(STATISTICS), width))
    _, first = np.unique(times, return_index=True)  # windows overlap where the train part is short
    times, rows = times[first], rows[first]
    _, starts = block_edges(times, block_us)
    pieces = [piece for piece in np.split(rows, starts[1:]) if len(piece) >= LEAST_ROWS]
    found = [summarise(piece[:: -(-len(piece) // MAX_ROWS)]) for piece in pieces]
    return np.stack(found) if found else np.zeros((0, len(STATISTICS), width))


def _inputs(
    summaries: np.ndarray, decay: float, patience: float, memory: int
) -> tuple[InputNormal | None, float, float]:
    if len(summaries) < LEAST_BLOCKS:
        return None, 1.0, 1.0
    course = out_of_sample(
        len(summaries), lambda fit, judged: input_normal(summaries[fit], decay).course(summaries[judged])
    )
    levels = [level(course[:, column], patience, memory) for column in (0, 1)]
    return input_normal(summaries, decay), levels[0], levels[1]


def _scores(values: np.ndarray, decay: float, patience: float, memory: int) -> tuple[ScoreNormal | None, float, float]:
    if len(values) < LEAST_BLOCKS:
        return None, 1.0, 1.0

    def course(fit: np.ndarray, judged: np.ndarray) -> np.ndarray:
        normal = score_normal(values[fit])
        return page_hinkley_course(np.array([normal.standardise(value) for value in values[judged].tolist()]))

    def shifts(fit: np.ndarray, judged: np.ndarray) -> np.ndarray:
        return shift_course(values[judged], score_normal(values[fit]), decay)

    found = max(LEAST_SUM, level(out_of_sample(len(values), course), patience, memory))
    shift = max(LEAST_SHIFT, level(out_of_sample(len(values), shifts), patience, memory))
    first = score_normal(values)
    standardised = np.array([first.standardise(value) for value in values.tolist()])
    return score_normal(values, adwin_delta(standardised, len(values) / patience)), found, shift


def _embedding(
    blocks: tuple[np.ndarray, ...], decay: float, patience: float, memory: int
) -> tuple[EmbeddingNormal | None, float, float]:
    if len(blocks) < LEAST_BLOCKS:
        return None, 0.0, 1.0

    def discrepancies(fit: np.ndarray, judged: np.ndarray) -> np.ndarray:
        normal = embedding_normal(np.concatenate([blocks[index] for index in fit]))
        return np.array([normal.discrepancy(blocks[index]) for index in judged])

    found = out_of_sample(len(blocks), discrepancies)
    center = float(found.mean())
    smoothed, course = center, np.empty(len(found))
    for index, value in enumerate(found.tolist()):
        smoothed += decay * (value - smoothed)
        course[index] = smoothed
    above = level(np.maximum(course - center, 0.0), patience, memory)
    return embedding_normal(np.concatenate(blocks)), center, center + max(above, 1e-9)


def _doubts(blocks: NormalBlocks, memory: int) -> tuple[str, ...]:
    counts = {"inputs": len(blocks.summaries), "scores": len(blocks.scores)}
    if blocks.embeddings:
        counts["embedding"] = len(blocks.embeddings)
    short = [f"{name} {count}" for name, count in counts.items() if count < LEAST_BLOCKS]
    doubts: tuple[str, ...] = ()
    if short:
        doubts += (f"too few normal blocks for a test ({', '.join(short)} of at least {LEAST_BLOCKS}): it is left out",)
    thin = [f"{name} {count}" for name, count in counts.items() if LEAST_BLOCKS <= count < 8 * memory]
    if thin:
        doubts += (
            f"few normal blocks ({', '.join(thin)} of at least {8 * memory}): the rate of false drifts is extrapolated from "
            "less than two weeks",
        )
    return doubts
