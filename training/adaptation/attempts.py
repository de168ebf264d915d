"""What came of climbing the ladder: every attempt, and the child where one passed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.training.adaptation.evidence import Evidence
from wheeltapper.training.adaptation.gate import GateScores, Verdict
from wheeltapper.training.adaptation.rescaling import ChannelMap


@dataclass(frozen=True)
class Attempt:
    """One step that was tried.

    Attributes:
        change: what it changed, one sentence; '' where it could make no child.
        verdict: of the gate; of a step that could make no child, not accepted with the reason.
        seconds: that it took, the gate included.
        bundle: the child; None where it could make none.
        scores: the child's, for reports.
    """

    step: str
    change: str
    verdict: Verdict
    seconds: float
    bundle: Bundle | None = None
    scores: GateScores | None = None


@dataclass(frozen=True)
class LadderResult:
    """
    Attributes:
        child: the bundle that passed; None: the parent stays.
        step: that made it; '' without a child.
        attempts: in order.
        evidence: what the gate asked about; parent_scores: the parent's answers.
        channel_map: how the channels moved.
        report: the HTML report, where it was asked for.
    """

    child: Bundle | None
    step: str
    attempts: tuple[Attempt, ...]
    evidence: Evidence
    parent_scores: GateScores
    channel_map: ChannelMap
    report: Path | None = None

    @property
    def taken(self) -> Attempt | None:
        """The attempt whose child was taken."""
        return next((each for each in self.attempts if self.child is not None and each.step == self.step), None)

    @property
    def reason(self) -> str:
        """Why the child was taken, or why none was, for people."""
        taken = self.taken
        if taken is not None:
            return f"{taken.change}; {'; '.join(taken.verdict.reasons[:3])}"
        return (
            "; ".join(f"{each.step}: {each.verdict.reasons[0]}" for each in self.attempts) or "no step could be tried"
        )
