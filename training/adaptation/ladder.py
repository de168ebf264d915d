"""The ladder: steps that adapt a bundle to a machine that has changed, the cheapest first; the first that passes the gate is taken.

1. operating-level: the same graph with an alarm level of the recent scores.
2. input-scaling: a map of the channels that moved in front of the graph (AdaNorm).
3. refit: the detector is trained anew, on recent rows and on the reference rows moved into the new regime; a network
   (`fine-tune`) goes on from its weights instead, within a time budget.

What is learnt from are rows that are presumed normal; stretches of them are held out for the gate. A child whose alarm level hides what
it could tell is asked about again at a lower one, before the gate judges it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.adaptation.attempts import Attempt, LadderResult
from wheeltapper.training.adaptation.child import write_child
from wheeltapper.training.adaptation.child_level import at_level
from wheeltapper.training.adaptation.evidence import Evidence, known_windows
from wheeltapper.training.adaptation.gate import GatePolicy, GateScores, Verdict, gate
from wheeltapper.training.adaptation.gate_level import lower_level
from wheeltapper.training.adaptation.local_change import far_channels
from wheeltapper.training.adaptation.recent import RecentRows, dead_channels
from wheeltapper.training.adaptation.report import write_report
from wheeltapper.training.adaptation.rescaling import estimate_map
from wheeltapper.training.adaptation.step_names import KEEP_BOTH, LEARNING
from wheeltapper.training.adaptation.steps import STEPS, Ground, StepSkippedError, steps_for
from wheeltapper.training.fitting.export_check import ExportError
from wheeltapper.training.fitting.labels import LabelledWindows
from wheeltapper.training.fitting.warm_start import AlignmentMethod

DEFAULT_BUDGET_S = 540.0
DEFAULT_ALIGNMENT: AlignmentMethod = "none"
GAIN_OVER_LEARNT = 0.05
"""A child that has learnt gives way to another of the same change for a plain gain alone: small ones are of what few rows show."""
LOWERED = "its alarm level is {:.3g} times lower than the rows learnt from ask for, at which it tells too little"


@dataclass(frozen=True)
class LadderOptions:
    """How a ladder is climbed.

    Attributes:
        out: folder of the child bundle. Children that were not taken are kept beside it, in `OUT-rejected`, for inspection.
        budget_s: seconds that a network's training may take.
        steps: names, in order; () takes all that the detector can climb.
        policy: of the gate.
        labelled: windows that operators judged, of the parent's window and channels.
        report: where the HTML report is written; None writes none.
        progress: show a progress bar of a network's training.
        alignment: of reference and recent windows, where a network is fine-tuned.
        told: called with a sentence at each stage.
    """

    out: Path
    budget_s: float = DEFAULT_BUDGET_S
    seed: int = 0
    steps: Sequence[str] = ()
    policy: GatePolicy = field(default_factory=GatePolicy)
    labelled: LabelledWindows | None = None
    report: Path | None = None
    threads: int = 1
    device: str = "cpu"
    progress: bool = False
    alignment: AlignmentMethod = DEFAULT_ALIGNMENT
    told: Callable[[str], None] | None = None


def climb(parent: Bundle, recent: RecentRows, options: LadderOptions) -> LadderResult:
    """Adapt `parent` to a machine's recent rows by the smallest step that passes the gate.

    A child that passes with reserve waits: a later step may pass without; else the best of them by AUROC is taken.

    Raises:
        InputError: rows of other channels than the bundle's, a channel that has died and that nobody accepted so, no such step, or a
            folder that cannot be written.
    """
    width = len(parent.manifest.channels)
    if recent.values.shape[1] != width:
        raise InputError(
            f"recent rows have {recent.values.shape[1]} channels, the bundle {parent.manifest.bundle_id} takes {width}"
        )
    if not len(recent):
        raise InputError("there are no recent rows to adapt to; wait for some that are presumed normal")
    dead = [] if recent.accepted else dead_channels(parent, recent)
    if dead:
        raise InputError(
            f"{first_names(dead)}: moved in nearly every reference window and does not move, or is missing, in the recent rows: a "
            "fault of the sensor is not learnt; repair it, or accept this state as the new normal ('wheeltapper alarm accept')"
        )
    policy = options.policy
    if parent.manifest.parameters.get("adapted_by") in LEARNING:
        policy = replace(policy, least_gain=max(policy.least_gain, GAIN_OVER_LEARNT))
    names = steps_for(parent.manifest.detector, options.steps)
    learn, held_out = recent.split(parent.manifest.window)
    if not recent.accepted:
        names = tuple(name for name in names if name in KEEP_BOTH)
        _check_not_local(parent, learn, held_out)
    known = None if options.labelled is None else known_windows(parent, options.labelled)
    evidence = Evidence(parent, held_out, known, options.seed)
    parent_scores = evidence.old_scores()
    channel_map = estimate_map(parent.reference_rows(), learn.values)
    ground = Ground(
        parent,
        learn,
        channel_map,
        options.policy.false_alarms_per_day,
        seed=options.seed,
        threads=options.threads,
        device=options.device,
        budget_s=options.budget_s,
        progress=options.progress,
        alignment=options.alignment,
    )
    place = options.out.with_name(f"{options.out.name}-tried")
    attempts: list[Attempt] = []
    for name in names:
        attempt = _try(name, ground, evidence, parent_scores, policy, place / name)
        attempts.append(attempt)
        if options.told is not None:
            passed = "passed" if attempt.verdict.accepted else "not taken"
            options.told(f"{name}: {passed}: {attempt.verdict.reasons[0]} ({attempt.seconds:.1f} s)")
        if attempt.verdict.accepted and not attempt.verdict.with_reserve:
            break
    result = _settle(attempts, LadderResult(None, "", (), evidence, parent_scores, channel_map), options.out)
    shutil.rmtree(place, ignore_errors=True)
    if options.report is None:
        return result
    write_report(parent, result, options.report)
    return replace(result, report=options.report)


def _check_not_local(parent: Bundle, *parts: RecentRows) -> None:
    """
    Raises:
        InputError: a few channels alone moved far, in any of the parts.
    """
    reference = parent.reference_rows()
    for rows in parts:
        far = far_channels(parent.manifest.channel_names, estimate_map(reference, rows.values).shift)
        if far:
            raise InputError(
                f"{first_names(far)}: moved far, and the other channels did not: it may be a fault that lasts, which is not learnt; "
                "repair it, or accept this state as the new normal ('wheeltapper alarm accept')"
            )


def _try(name: str, ground: Ground, evidence: Evidence, old: GateScores, policy: GatePolicy, out: Path) -> Attempt:
    started = time.monotonic()
    try:
        draft = STEPS[name](ground)
        bundle = write_child(ground.parent, draft, out, seed=ground.seed)
        scores = evidence.scores(bundle)
        lower = lower_level(scores, policy)
        if lower is not None:
            bundle = write_child(ground.parent, at_level(draft, lower), out, seed=ground.seed)
            scores = evidence.scores(bundle)
    except (StepSkippedError, ExportError, InputError) as error:
        return Attempt(name, "", Verdict(False, False, (str(error),)), time.monotonic() - started)
    change = draft.change if lower is None else f"{draft.change}; {LOWERED.format(1 / lower)}"
    return Attempt(name, change, gate(old, scores, policy), time.monotonic() - started, bundle, scores)


def _settle(attempts: Sequence[Attempt], result: LadderResult, out: Path) -> LadderResult:
    """Choose the child, and move every bundle to where it is kept."""
    passed = [each for each in attempts if each.verdict.accepted]
    clear = [each for each in passed if not each.verdict.with_reserve]
    taken = clear[0] if clear else max(passed, key=lambda each: each.verdict.figures["auroc"]["new"], default=None)
    kept = []
    for each in attempts:
        bundle = each.bundle
        if bundle is not None:
            rejected = out.with_name(f"{out.name}-rejected") / bundle.manifest.bundle_id
            bundle = _moved(bundle, out if each is taken else rejected)
        kept.append(replace(each, bundle=bundle))
        if each is taken:
            result = replace(result, child=bundle, step=each.step)
    return replace(result, attempts=tuple(kept))


def _moved(bundle: Bundle, target: Path) -> Bundle:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        bundle.location.rename(target)
    except OSError as error:
        raise InputError(
            f"{target}: the bundle cannot be put there ({error.strerror}); choose another folder"
        ) from error
    return replace(bundle, location=target)
