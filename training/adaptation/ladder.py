"""The ladder: steps that adapt a bundle to a machine that has changed, the cheapest first; the first that passes the gate is taken.

1. operating-level: the same graph with an alarm level of the recent scores.
2. input-scaling: a map of the channels that moved in front of the graph (AdaNorm).
3. refit: the detector is trained anew, on recent rows and on the reference rows moved into the new regime; for networks
   (`fine-tune`) within a time budget.

What is learnt from are rows that are presumed normal; the last part of them is held out for the gate.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.adaptation.evidence import Evidence, KnownWindows
from wheeltapper.training.adaptation.gate import GatePolicy, GateScores, Verdict, gate
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import ChannelMap, estimate_map
from wheeltapper.training.adaptation.steps import STEPS, Ground, StepSkippedError, steps_for

DEFAULT_BUDGET_S = 540.0


@dataclass(frozen=True)
class LadderOptions:
    """
    Attributes:
        out: folder; the child is written into a folder of its own below it, named by its id.
        policy: of the gate.
        steps: names, in order; () takes all that the detector can climb.
        known: windows with operators' labels, stored faults.
        budget_s: seconds that a network's training may take.
        tell: told what is going on, one line at a time.
        progress: show a progress bar of a network's training.
    """

    out: Path
    policy: GatePolicy = field(default_factory=GatePolicy)
    steps: Sequence[str] = ()
    known: KnownWindows | None = None
    budget_s: float = DEFAULT_BUDGET_S
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    progress: bool = False
    tell: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Attempt:
    """One step that was tried.

    Attributes:
        bundle: the child; None where the step could not make one, and then `skipped` says why.
        verdict: of the gate; None without a child.
        scores: the child's, for reports.
    """

    step: str
    seconds: float
    bundle: Bundle | None = None
    verdict: Verdict | None = None
    scores: GateScores | None = None
    skipped: str = ""

    @property
    def reason(self) -> str:
        """One sentence for people."""
        if self.verdict is None:
            return self.skipped
        return self.verdict.reasons[0] if self.verdict.reasons else ""


@dataclass(frozen=True)
class LadderResult:
    """
    Attributes:
        child: the bundle that passed; None: the parent stays.
        step: that made it; '' without a child.
        attempts: in order.
        evidence: what the gate asked about; parent_scores: the parent's answers.
        channel_map: how the channels moved.
    """

    child: Bundle | None
    step: str
    attempts: tuple[Attempt, ...]
    evidence: Evidence
    parent_scores: GateScores
    channel_map: ChannelMap

    @property
    def taken(self) -> Attempt | None:
        """The attempt whose child was taken."""
        return next((each for each in self.attempts if self.child is not None and each.bundle is self.child), None)

    @property
    def reason(self) -> str:
        """One sentence for people: why the child was taken, or why none was."""
        taken = self.taken
        if taken is not None and taken.verdict is not None:
            return f"{self.step}: {'; '.join(taken.verdict.reasons[:3])}"
        return "; ".join(f"{each.step}: {each.reason}" for each in self.attempts) or "no step could be tried"


def climb(parent: Bundle, recent: RecentRows, options: LadderOptions) -> LadderResult:
    """Try the steps of the ladder until a child passes the gate.

    A child that passes with reserve waits: a later step may pass without. Children that are not taken stay in the folder `rejected`
    of `options.out`, for inspection.

    Raises:
        InputError: rows of other channels than the bundle's, no such step, or a folder that cannot be written.
    """
    width = len(parent.manifest.channels)
    if recent.values.ndim != 2 or recent.values.shape[1] != width:
        raise InputError(
            f"recent rows have shape {recent.values.shape}, the bundle {parent.manifest.bundle_id} takes {width} channels"
        )
    names = steps_for(parent.manifest.detector, options.steps)
    learn, held_out = recent.split()
    evidence = Evidence(parent, held_out, options.known, options.seed)
    parent_scores = evidence.old_scores()
    channel_map = (
        estimate_map(parent.reference_rows(), learn.values)
        if len(learn.values)
        else estimate_map(parent.reference_rows(), parent.reference_rows())
    )
    ground = Ground(
        parent, learn, channel_map, options.policy.false_alarms_per_day, options.seed, options.threads, options.device,
        options.budget_s, options.progress,
    )  # fmt: skip
    attempts: list[Attempt] = []
    place = options.out / "tried"
    for name in names:
        attempt = _try(name, ground, evidence, parent_scores, options, place / name)
        attempts.append(attempt)
        options.tell(f"{name}: {attempt.reason} ({attempt.seconds:.1f} s)")
        if attempt.verdict is not None and attempt.verdict.accepted and not attempt.verdict.with_reserve:
            break
    return _result(attempts, evidence, parent_scores, channel_map, options, place)


def _try(name: str, ground: Ground, evidence: Evidence, old: GateScores, options: LadderOptions, out: Path) -> Attempt:
    started = time.monotonic()
    try:
        bundle = STEPS[name](ground, out)
    except (StepSkippedError, InputError) as error:
        return Attempt(name, time.monotonic() - started, skipped=str(error))
    scores = evidence.scores(bundle)
    verdict = gate(old, scores, options.policy)
    return Attempt(name, time.monotonic() - started, bundle, verdict, scores)


def _result(
    attempts: Sequence[Attempt],
    evidence: Evidence,
    parent_scores: GateScores,
    channel_map: ChannelMap,
    options: LadderOptions,
    place: Path,
) -> LadderResult:
    """The first child that passed; else the one with the best AUROC of those that passed with reserve."""
    passed = [each for each in attempts if each.verdict is not None and each.verdict.accepted]
    clear = [each for each in passed if each.verdict is not None and not each.verdict.with_reserve]
    taken = clear[0] if clear else max(passed, key=_new_auroc, default=None)
    kept: list[Attempt] = []
    child: Bundle | None = None
    for each in attempts:
        if each.bundle is None:
            kept.append(each)
            continue
        folder = options.out if each is taken else options.out / "rejected"
        moved = _moved(each.bundle, folder)
        kept.append(Attempt(each.step, each.seconds, moved, each.verdict, each.scores))
        child = moved if each is taken else child
    shutil.rmtree(place, ignore_errors=True)
    step = taken.step if taken is not None else ""
    return LadderResult(child, step, tuple(kept), evidence, parent_scores, channel_map)


def _new_auroc(attempt: Attempt) -> float:
    assert attempt.verdict is not None
    found: Mapping[str, float] = attempt.verdict.figures["auroc"]
    return found["new"]


def _moved(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle in a folder named by its id; one that is there already is the same bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / bundle.manifest.bundle_id
    if target.exists():
        shutil.rmtree(bundle.location)
    else:
        bundle.location.rename(target)
    return Bundle(target, bundle.manifest, bundle.manifest_sha256, bundle.files)
