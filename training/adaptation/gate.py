"""The gate: whether an adapted bundle may take over, from scores of the old and the new one. A pure function.

Two sets of windows are scored by both bundles: *reference* windows, which the old bundle was fitted to, and *recent* ones, held out
of what the new one learnt from. Both sets are scored as they are and with disturbances whose kind, size and channels are known; the
i-th disturbance is the same in both, in standard deviations of each set's own channels.

1. False alarms: on the recent windows the new bundle calls no oftener than asked, as far as so many hours can show, and no oftener
   than the old one. An alarm that stays open counts again every eight hours.
2. At equal false alarms: on the recent windows recall, AUROC and blame of the disturbed channels fall by no more than `max_loss`
   against the old bundle whose level is moved until it calls as often as the new one. Same windows, so the difference is precise:
   the lower end of its confidence interval counts.
3. Against before: recall and AUROC on the recent windows against those of the old bundle, at its own level, on the reference windows.
   A new bundle that is blind in the new state fails here. Other windows differ by themselves, so a fall is refused where it is
   shown to be more than `max_loss`, over blocks of windows, or is more than `max_loss_between_states` whatever the confidence.
4. Faults that are known (labelled windows, stored golden faults): what the old bundle finds, the new one finds.

Too little evidence refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wheeltapper.training.adaptation.bounds import (
    auroc_between_states,
    between_states,
    least_rate,
    paired,
    paired_auroc,
)


@dataclass(frozen=True)
class GatePolicy:
    """What is asked of a new bundle.

    Attributes:
        false_alarms_per_day: on recent windows, at most.
        max_loss: of recall and AUROC, at most.
        max_loss_between_states: of recall and AUROC from the old state to the new one, as measured.
        max_blame_loss: of the share of disturbed windows in which the channel that is blamed most is a disturbed one.
        confidence: of each one-sided bound.
        least_windows: held-out recent windows.
        least_fitted_rows: recent rows that the new bundle learnt from.
        least_faults: disturbed windows of either set.
        clear_ratio, clear_windows: an alarm clears after so many windows in a row below that share of the level.
        false_share: share of normal windows above the level, where bundles are compared at equal false alarms.
        max_open_share: of held-out windows, with an alarm open.
        hours_open: an alarm counts again for each so many hours that it stays open.
    """

    false_alarms_per_day: float = 0.25
    max_loss: float = 0.02
    max_loss_between_states: float = 0.08
    max_blame_loss: float = 0.05
    confidence: float = 0.95
    least_windows: int = 200
    least_fitted_rows: int = 300
    least_faults: int = 300
    clear_ratio: float = 0.8
    clear_windows: int = 30
    hours_open: float = 8.0
    false_share: float = 0.01
    max_open_share: float = 0.1


@dataclass(frozen=True)
class WindowScores:
    """Calibrated scores of one bundle on one set of windows; 1.0 is its alarm level.

    Attributes:
        normal: [m] float64, the windows as they are, in time order.
        faults: kind -> [n] float64, disturbed windows, in time order; the same kinds and lengths in both sets.
        blamed: kind -> [n] bool, whether the channel blamed most is a disturbed one; empty where nobody asks.
    """

    normal: np.ndarray
    faults: Mapping[str, np.ndarray]
    blamed: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class GateScores:
    """What one bundle says.

    Attributes:
        recent: held-out recent windows.
        reference: windows that the old bundle was fitted to.
        known_faults: origin ('labels', 'golden') -> [n] float64, windows that are faults.
        known_normals: [n] float64, windows that a person called normal.
        windows_per_day: scored windows of a machine.
        fitted_rows: recent rows that the bundle learnt from.
    """

    recent: WindowScores
    reference: WindowScores
    windows_per_day: float
    known_faults: Mapping[str, np.ndarray] = field(default_factory=dict)
    known_normals: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fitted_rows: int = 0


@dataclass(frozen=True)
class Verdict:
    """
    Attributes:
        reasons: sentences with numbers; why it was refused, or what was shown.
        figures: what the decision rests on, JSON types.
    """

    accepted: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"accepted": self.accepted, "reasons": list(self.reasons), "figures": self.figures}


def gate(old: GateScores, new: GateScores, policy: GatePolicy | None = None) -> Verdict:
    """Judge.

    Args:
        old, new: of the same windows in the same order; `old.fitted_rows` is not looked at.
    """
    return _Judgement(old, new, policy or GatePolicy()).verdict()


class _Judgement:
    """Reasons against, facts for, and the figures, test by test."""

    def __init__(self, old: GateScores, new: GateScores, policy: GatePolicy) -> None:
        self.old, self.new, self.policy = old, new, policy
        self.against: list[str] = []
        self.facts: list[str] = []
        self.figures: dict[str, Any] = {"confidence": policy.confidence, "max_loss": policy.max_loss}

    def verdict(self) -> Verdict:
        if self._has_evidence():
            self._false_alarms()
            self._at_equal_false_alarms()
            self._against_before()
            self._known()
        return Verdict(not self.against, tuple(self.against or self.facts), self.figures)

    def _has_evidence(self) -> bool:
        """Whether there is enough to judge by."""
        old, new, policy = self.old, self.new, self.policy
        for name, first, second in (
            ("recent", old.recent, new.recent),
            ("reference", old.reference, new.reference),
        ):
            lengths = [
                {"": len(part.normal)} | {kind: len(v) for kind, v in part.faults.items()} for part in (first, second)
            ]
            if lengths[0] != lengths[1]:
                raise ValueError(f"old and new bundle were not asked about the same {name} windows: {lengths}")
        windows = len(new.recent.normal)
        faults = min(sum(map(len, part.faults.values())) for part in (new.recent, old.reference))
        self.figures |= {
            "held_out_windows": windows,
            "held_out_days": round(windows / new.windows_per_day, 4),
            "fitted_rows": new.fitted_rows,
            "disturbed_windows": faults,
        }
        for found, least, what in (
            (windows, policy.least_windows, "held-out recent windows"),
            (new.fitted_rows, policy.least_fitted_rows, "recent rows to learn from"),
            (faults, policy.least_faults, "disturbed windows"),
        ):
            if found < least:
                self.against.append(f"{found} {what}, at least {least} are needed: too little evidence")
        parts = [new.recent.normal, *new.recent.faults.values(), *new.known_faults.values(), new.known_normals]
        unclear = sum(int(np.count_nonzero(~np.isfinite(part))) for part in parts)
        if unclear:
            self.against.append(f"{unclear} scores of the new bundle are not finite numbers")
        elif not self.against and np.ptp(np.concatenate(parts)) == 0:
            self.against.append("the new bundle gives every window the same score, disturbed or not")
        return not self.against

    def _false_alarms(self) -> None:
        policy, days = self.policy, len(self.new.recent.normal) / self.new.windows_per_day
        counts, shares = {}, {}
        for name, scores in (("old", self.old), ("new", self.new)):
            openings, opened = alarms(scores.recent.normal, policy)
            hours = opened / scores.windows_per_day * 24
            counts[name] = openings + hours / policy.hours_open
            shares[name] = opened / len(scores.recent.normal)
        asked, least = policy.false_alarms_per_day, least_rate(counts["new"], days, policy.confidence)
        self.figures["false_alarms"] = {
            "asked_per_day": asked,
            "old_per_day": round(counts["old"] / days, 3),
            "new_per_day": round(counts["new"] / days, 3),
            "new_per_day_at_least": round(least, 3),
            "old_open_share": round(shares["old"], 4),
            "new_open_share": round(shares["new"], 4),
        }
        told = f"{counts['new']:.2g} false alarms in {days:.2g} held-out days (old bundle: {counts['old']:.2g})"
        if least > asked:
            self.against.append(f"{told}: at least {least:.2g} a day, {asked:g} are asked for")
        elif counts["new"] > max(counts["old"], 1 + asked * days):
            self.against.append(f"{told}: more than before")
        elif shares["new"] > policy.max_open_share:
            self.against.append(
                f"an alarm is open for {shares['new']:.0%} of the held-out windows, at most {policy.max_open_share:.0%} may be"
            )
        else:
            self.facts.append(told)

    def _at_equal_false_alarms(self) -> None:
        """Old and new on the same recent windows."""
        policy, old, new = self.policy, self.old.recent, self.new.recent
        levels = [float(np.quantile(part.normal, 1 - policy.false_share)) for part in (old, new)]
        before, after = _joined(old.faults), _joined(new.faults)
        recall = paired(before > levels[0], after > levels[1], policy.confidence)
        area = paired_auroc((before, old.normal), (after, new.normal), policy.confidence)
        self.figures["same_windows"] = {"recall": recall.to_json(), "auroc": area.to_json()}
        for name, found in ((f"recall at {policy.false_share:.0%} false windows", recall), ("AUROC", area)):
            if found.lower < -policy.max_loss:
                self.against.append(
                    f"{name} on the recent windows goes from {found.old:.3f} to {found.new:.3f}: it may fall by "
                    f"{-found.lower:.3f}, at most {policy.max_loss:g} is allowed"
                )
            else:
                self.facts.append(f"{name} on the recent windows from {found.old:.3f} to {found.new:.3f}")

    def _against_before(self) -> None:
        """The new bundle in the new state against the old one in the old state."""
        policy, old, new = self.policy, self.old.reference, self.new.recent
        before, after = _joined(old.faults), _joined(new.faults)
        recall = between_states(before >= 1, after >= 1, policy.confidence)
        area = auroc_between_states((before, old.normal), (after, new.normal), policy.confidence)
        found = {"recall": recall, "AUROC": area}
        if old.blamed and new.blamed:
            found["blame"] = between_states(_joined(old.blamed), _joined(new.blamed), policy.confidence)
        self.figures["old_and_new_state"] = {name.lower(): value.to_json() for name, value in found.items()}
        self.figures["recall_by_kind"] = {
            kind: {
                "old": round(float((old.faults[kind] >= 1).mean()), 4),
                "new": round(float((new.faults[kind] >= 1).mean()), 4),
            }
            for kind in old.faults
        }
        words = {
            "recall": "recall of disturbed windows",
            "AUROC": "AUROC of disturbed windows",
            "blame": "the share of disturbed windows whose disturbed channel is blamed",
        }
        for name, difference in found.items():
            told = f"{words[name]} from {difference.old:.3f} (old state) to {difference.new:.3f} (new state)"
            shown, most = (
                (policy.max_blame_loss, 2 * policy.max_blame_loss + policy.max_loss_between_states)
                if name == "blame"
                else (policy.max_loss, policy.max_loss_between_states)
            )
            if difference.upper < -shown:
                self.against.append(f"{told}: a fall of more than {shown:g} is shown")
            elif difference.value < -most:
                self.against.append(f"{told}: it falls by more than {most:g}")
            else:
                self.facts.append(told)
        for kind, values in old.faults.items():
            fall = between_states(values >= 1, new.faults[kind] >= 1, policy.confidence)
            if fall.upper < -policy.max_loss and fall.value < -2 * policy.max_loss_between_states:
                self.against.append(f"recall of the kind '{kind}' falls from {fall.old:.3f} to {fall.new:.3f}")

    def _known(self) -> None:
        """Faults and normal windows that somebody knows."""
        policy, old, new = self.policy, self.old, self.new
        known: dict[str, Any] = {}
        for origin, values in old.known_faults.items():
            if not len(values):
                continue
            before, after = values >= 1, new.known_faults[origin] >= 1
            lost = int(np.count_nonzero(before)) - int(np.count_nonzero(after))
            known[origin] = {"faults": len(values), "old_found": int(before.sum()), "new_found": int(after.sum())}
            told = f"of {len(values)} known faults ({origin}) the old bundle finds {before.sum()}, the new one {after.sum()}"
            if lost > policy.max_loss * len(values):
                self.against.append(told)
            else:
                self.facts.append(told)
            area = auroc_between_states(
                (values, old.reference.normal), (new.known_faults[origin], new.recent.normal), policy.confidence
            )
            known[origin]["auroc"] = area.to_json()
            if len(values) > 1 and area.upper < -policy.max_loss:
                self.against.append(f"AUROC of known faults ({origin}) falls from {area.old:.3f} to {area.new:.3f}")
        if len(old.known_normals):
            calls = [float((part.known_normals >= 1).mean()) for part in (old, new)]
            known["normals"] = {"windows": len(old.known_normals), "old_share": calls[0], "new_share": calls[1]}
            if calls[1] > calls[0] + policy.max_loss:
                self.against.append(
                    f"of {len(old.known_normals)} windows that a person called normal the new bundle calls on "
                    f"{calls[1]:.0%}, the old one on {calls[0]:.0%}"
                )
        self.figures["known"] = known


def alarms(scores: np.ndarray, policy: GatePolicy) -> tuple[int, int]:
    """Alarms that [m] calibrated scores in time order open at their level, and windows with an alarm open."""
    loud = np.flatnonzero(scores >= 1)
    if not len(loud):
        return 0, 0
    count = opened = 0
    quiet = policy.clear_windows
    for score in scores[loud[0] :]:
        if quiet >= policy.clear_windows:
            if score < 1:
                continue
            count, quiet = count + 1, 0
        quiet = quiet + 1 if score < policy.clear_ratio else 0
        opened += 1
    return count, opened


def _joined(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """All kinds by turns, so that neighbours in time stay neighbours."""
    parts = list(values.values())
    if len({len(part) for part in parts}) == 1:
        return np.stack(parts, axis=1).ravel()
    return np.concatenate(parts)
