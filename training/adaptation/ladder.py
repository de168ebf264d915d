"""The adaptation ladder: from the smallest change of a bundle to the largest, until one passes the gate.

1. `operating-level`: the same graph, a new centre and alarm level.
2. `input-scaling`: an affine map of the channels that moved, in front of the same graph.
3. `refit`: detectors that are fitted in one pass, by their own training on reference and recent rows.
4. `fine-tune`: networks, from the parent's weights where they can be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.training.adaptation.gate import GatePolicy, Verdict
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.fitting.labels import LabelledWindows

Step: TypeAlias = Literal["operating-level", "input-scaling", "refit", "fine-tune"]
STEPS: tuple[Step, ...] = ("operating-level", "input-scaling", "refit", "fine-tune")


@dataclass(frozen=True)
class LadderOptions:
    """How a ladder is climbed.

    Attributes:
        out: where the child bundle is written: a folder, or a path ending in .zip.
        budget_s: seconds that training may take, over all steps.
        seed: of disturbances and trainings.
        steps: to try, in this order; 'refit' is left out for networks and 'fine-tune' for others.
        policy: of the gate.
        labelled: windows that operators judged, of the parent's window and channels.
        report: where the HTML report is written; None writes none.
        threads: of onnxruntime and torch.
        progress: show what is going on.
        told: called with a sentence at each stage; None: nobody is told.
    """

    out: Path
    budget_s: float = 600.0
    seed: int = 0
    steps: tuple[Step, ...] = STEPS
    policy: GatePolicy = field(default_factory=GatePolicy)
    labelled: LabelledWindows | None = None
    report: Path | None = None
    threads: int = 1
    progress: bool = False
    told: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Attempt:
    """One candidate.

    Attributes:
        step: of the ladder.
        change: what was changed, one sentence.
        verdict: of the gate; of a step that could not be tried, not accepted with the reason.
        seconds: that it took, the gate included.
        bundle: id of the candidate; '' where it was never written.
    """

    step: Step
    change: str
    verdict: Verdict
    seconds: float
    bundle: str = ""


@dataclass(frozen=True)
class LadderResult:
    """
    Attributes:
        child: the bundle that passed the gate, at `LadderOptions.out`; None where none did.
        step: that it came from; '' where none.
        attempts: all candidates, in order.
        reason: why this one, or why none: one sentence.
        report: the HTML report, where it was asked for.
    """

    child: Bundle | None
    step: str
    attempts: tuple[Attempt, ...]
    reason: str
    report: Path | None = None


def climb(parent: Bundle, recent: RecentRows, options: LadderOptions) -> LadderResult:
    """Adapt `parent` to a machine's recent rows by the smallest step that passes the gate.

    Raises:
        InputError: rows of another width, or a place that cannot be written.
    """
    raise NotImplementedError
