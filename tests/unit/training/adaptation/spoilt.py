"""Adaptations of made machines that are known to be good, and such that were spoilt on purpose; levels as the ladder chooses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import Bundle, Graph
from wheeltapper.training.adaptation.child import parent_model, recent_scores, write_child
from wheeltapper.training.adaptation.child_level import level_of
from wheeltapper.training.adaptation.evidence import Evidence
from wheeltapper.training.adaptation.gate import GateScores, Verdict, gate
from wheeltapper.training.adaptation.gate_skill import share_below
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import ChannelMap, estimate_map, rescaled_graph
from wheeltapper.training.adaptation.steps import STEPS, Ground, StepSkippedError
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions

MINUTE = 60_000_000
TRAIN, RECENT, FRESH = slice(0, 8000), slice(8000, 11_000), slice(11_000, 12_500)
ASKED = 0.25

Change = Literal["serviced", "replaced", "all-moved", "noisier"]


@dataclass(frozen=True)
class Child:
    """
    Attributes:
        change: of its scores; None: they stay as they are.
    """

    bundle: Bundle
    graph: Graph
    change: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Case:
    """A machine whose sensors have changed.

    Attributes:
        train: [n, C] rows that the parent was trained on.
        gain, offset: [C] of the map that takes the change back.
        evidence: of held-out rows; fresh: of rows after them.
        old: scores by the parent.
    """

    detector: str
    seed: int
    parent: Bundle
    train: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    learn: RecentRows
    evidence: Evidence
    fresh: Evidence
    old: GateScores
    out: Path

    @property
    def channels(self) -> int:
        return self.train.shape[1]

    def mapped(self, gain: np.ndarray, offset: np.ndarray, model: bytes = b"") -> bytes:
        """A graph, the parent's or another, behind a map."""
        still = np.zeros(self.channels)
        return rescaled_graph(model or parent_model(self.parent), ChannelMap(gain, offset, still, still))

    def leveled(self, model: bytes, *, level: float | None = None, factor: float = 1.0) -> Child:
        """A graph whose alarm level is chosen on the rows to learn from, as `climb` does it.

        Args:
            level: quantile of those rows' scores that is the level instead.
            factor: the level is that many times as high.
        """
        graph = Graph(model, device="cpu")
        found = recent_scores(self.parent, graph, self.learn)
        calibration = level_of(self.parent, found, ASKED)
        height = factor * (calibration.alarm_level - calibration.center)
        if level is not None:
            height = max(float(np.quantile(found.score, level)) - calibration.center, 1e-6)
        changed = calibration.model_copy(update={"alarm_level": calibration.center + height})
        manifest = self.parent.manifest.model_copy(update={"calibration": changed})
        return Child(replace(self.parent, manifest=manifest), graph)

    def stepped(self, step: str, learn: RecentRows) -> Child | None:
        """What a step of the ladder makes of some rows; None where it makes nothing."""
        parent = self.parent
        channel_map = estimate_map(parent.reference_rows(), learn.values)
        ground = Ground(parent, learn, channel_map, ASKED, 0, 1, "cpu", 10.0, False)
        try:
            child = write_child(parent, STEPS[step](ground), self.out / f"child-{len(list(self.out.iterdir()))}")
        except StepSkippedError:
            return None
        return Child(child, child.open_graph(device="cpu"))

    def verdict(self, child: Child) -> Verdict:
        """What the gate says of it."""
        scores = self.evidence.scores(child.bundle, child.graph)
        return gate(self.old, scores if child.change is None else rescored(scores, child.change))

    def fresh_auroc(self, child: Child) -> float:
        """AUROC of other faults in rows that nobody has seen."""
        scores = self.fresh.scores(child.bundle, child.graph, probed=False)
        scores = scores if child.change is None else rescored(scores, child.change)
        return float(share_below(scores.normal, np.concatenate(list(scores.faults.values()))).mean())


def case_of(detector: str, seed: int, channels: int, change: Change, out: Path) -> Case:
    """A machine by seed, its parent bundle, and recent rows after a change."""
    random = np.random.default_rng(7 * seed + 1)
    rows = normal_rows(FRESH.stop, channels, seed=seed, offset=20.0)
    train = rows[TRAIN]
    series = make_series(train)
    fitted, scores = train_detector(detector, series, TrainOptions(window=24))
    parent = write_bundle(fitted, series, out / "parent", scores=scores, torchscript=False)
    later, gain, offset = changed(rows[RECENT.start :], train, change, random)
    times = int(series.train_ts[-1]) + MINUTE + MINUTE * np.arange(len(later), dtype=np.int64)
    count = RECENT.stop - RECENT.start
    learn, held_out = RecentRows(later[:count], times[:count], accepted=True).split(parent.manifest.window)
    evidence, fresh = Evidence(parent, held_out), Evidence(parent, RecentRows(later[count:], times[count:]), seed=99)
    return Case(detector, seed, parent, train, gain, offset, learn, evidence, fresh, evidence.old_scores(), out)


def changed(
    rows: np.ndarray, train: np.ndarray, change: Change, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows after a change, and gain and offset that take it back."""
    channels = rows.shape[1]
    spread, mean = train.std(axis=0), train.mean(axis=0)
    gain, offset, noise = np.ones(channels), np.zeros(channels), np.zeros(channels)
    some = random.choice(channels, max(2, channels // 3), replace=False)
    signs = random.choice([-1, 1], channels)
    if change == "serviced":
        gain[some], offset[some] = 1.3, 3 * spread[some]
    elif change == "replaced":
        gain[some] = random.choice([0.6, 1.5, 2.0], len(some))
        offset[some] = mean[some] * (1 - gain[some]) + 3 * spread[some] * signs[some]
    elif change == "all-moved":
        gain = random.uniform(0.7, 1.5, channels)
        offset = mean * (1 - gain) + random.uniform(1.5, 4, channels) * spread * signs
    else:
        offset[some], noise = 2.5 * spread[some] * signs[some], 0.25 * spread
    moved = rows * gain + offset + noise * random.standard_normal(rows.shape)
    return moved.astype(np.float32), 1 / gain, -offset / gain


def good(case: Case) -> Iterator[tuple[str, Child]]:
    """The true map, and what the ladder makes of faultless rows."""
    yield "true map", case.leveled(case.mapped(case.gain, case.offset))
    for step in ("input-scaling", "refit", "refit-recent"):
        found = case.stepped(step, case.learn)
        if found is not None:
            yield step, found


def bad(case: Case, random: np.random.Generator) -> Iterator[tuple[str, Child]]:
    """Spoilt in one way each."""
    channels, gain, offset = case.channels, case.gain, case.offset
    mean, spread = case.train.mean(axis=0), case.train.std(axis=0)
    recent_mean = case.learn.values.mean(axis=0)

    def some(count: int) -> np.ndarray:
        return random.choice(channels, max(1, count), replace=False)

    # Channels that the graph takes no notice of.
    for name, dead in (
        ("half dead", some(channels // 2)),
        ("one dead", some(1)),
        ("a quarter dead", some(channels // 4)),
    ):
        still, middle = gain.copy(), offset.copy()
        still[dead], middle[dead] = 1e-6, mean[dead]
        yield name, case.leveled(case.mapped(still, middle))
    # Maps that are not the machine's.
    away = random.uniform(5, 9, channels) * spread * random.choice([-1, 1], channels)
    yield "moved the wrong way", case.leveled(case.mapped(gain, offset + away))
    third = np.zeros(channels)
    third[some(channels // 3)] = 1
    yield "a third moved the wrong way", case.leveled(case.mapped(gain, offset + third * away))
    yield "moved on instead of back", case.leveled(case.mapped(1 / gain, -offset / gain))
    order = np.roll(np.arange(channels), 1 + random.integers(channels - 1))
    yield "maps of other channels", case.leveled(case.mapped(gain[order], offset[order]))
    yield (
        "channels in another order",
        case.leveled(case.mapped(gain, offset, reordered(parent_model(case.parent), order))),
    )
    tiny = gain * 10.0 ** -random.uniform(1.5, 4)
    yield "insensitive", case.leveled(case.mapped(tiny, mean - tiny * recent_mean))
    yield "gain blown up", case.leveled(case.mapped(gain * 10.0 ** random.uniform(1, 3), offset))
    large, middle, few = gain.copy(), offset.copy(), some(channels // 4)
    large[few] *= 10.0 ** random.uniform(1, 2)
    middle[few] = mean[few] - large[few] * recent_mean[few]
    yield "gain of some blown up", case.leveled(case.mapped(large, middle))
    # Fits on rows that are not normal, not enough, or not the machine's.
    values, start = case.learn.values.copy(), len(case.learn) // 4
    few = some(channels // 4)
    noise = random.standard_normal((len(values) - start, len(few)))
    values[start:, few] += (6 * values.std(axis=0)[few] * noise).astype(np.float32)
    found = case.stepped("refit", replace(case.learn, values=values))
    if found is not None:
        yield "lasting noise in its rows", found
    found = case.stepped("refit-recent", replace(case.learn, values=values))
    if found is not None:
        yield "lasting noise in its rows, beside the old normal", found
    short = 70
    found = case.stepped("refit", replace(case.learn, values=values[:short], times=case.learn.times[:short]))
    if found is not None:
        yield "far too few rows", found
    other = normal_rows(5000, channels, seed=case.seed + 100)
    other = (other - other.mean(axis=0)) / other.std(axis=0) * spread + mean
    fitted, _ = train_detector(case.detector, make_series(other.astype(np.float32)), TrainOptions(window=24))
    yield "another machine's", case.leveled(case.mapped(gain, offset, fitted.onnx_bytes()))
    # Scores that say nothing, and levels out of place.
    right = case.mapped(gain, offset)
    yield "one score for all", replace(case.leveled(right), change=lambda scores: np.full(len(scores), 0.2))
    yield "scores by chance", replace(case.leveled(right), change=lambda scores: random.uniform(0, 0.9, len(scores)))
    yield "level far too high", case.leveled(right, factor=10 ** random.uniform(1.5, 3))
    yield "level too low", case.leveled(right, level=0.97)


def rescored(scores: GateScores, change: Callable[[np.ndarray], np.ndarray]) -> GateScores:
    """Every score replaced."""
    probes = replace(
        scores.probes,
        normal=change(scores.probes.normal),
        undisturbed=change(scores.probes.undisturbed),
        disturbed={key: change(found) for key, found in scores.probes.disturbed.items()},
    )
    return replace(
        scores,
        recent=change(scores.recent),
        normal=change(scores.normal),
        faults={kind: change(found) for kind, found in scores.faults.items()},
        known_faults=change(scores.known_faults),
        probes=probes,
    )


def reordered(model: bytes, order: np.ndarray) -> bytes:
    """A graph that gets its channels in another order."""
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    for node in graph.node:
        node.input[:] = ["reordered/window" if name == "window" else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(order.astype(np.int64), "reordered/order"))
    first = helper.make_node("Gather", ["window", "reordered/order"], ["reordered/window"], axis=2)
    nodes = [first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(proto.SerializeToString(deterministic=True))
