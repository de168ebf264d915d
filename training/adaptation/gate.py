"""The gate: whether an adapted bundle may take the place of the one that serves. A pure function of scores and a policy.

Six questions; every one has to be answered well:

1. *Quiet?* On held-out recent windows, presumed normal, the new bundle raises no more alarms than the asked rate makes likely, and
   does not stand open; nor is its level so high that it tells less than `gate_level.LEAST_TOLD` of what it could, or less than
   it could where a 25th of the level would be as quiet.
2. *No worse than today?* Both bundles score the same held-out recent windows, and the same windows disturbed by faults of known
   kinds. Recall, each at the level that makes it as quiet as asked on these windows, and AUROC fall by no more than `max_loss`, by the
   upper confidence bound of the loss.
3. *A gain?* It is quiet where the old one is not, or its recall or AUROC is proven to be higher by more than `least_gain`: else
   there is no reason to change.
4. *As good as it was?* The old bundle in the regime that it was trained for (its reference windows, the same disturbances) sets
   the standard: recall at the alarm level and AUROC of the new bundle in the new regime are not below that by more than `max_loss`, as
   far as the windows can tell. A regime may be noisier than the one before, and then nobody reaches it: a bundle that only falls short
   here, but is proven to be better than today's by more than `least_gain`, passes *with reserve*; not where its AUROC is lower by more
   than `most_below`, and less than `least_recovered` of what the old bundle has lost is regained.
5. *Does it see every channel?* A channel in which the old bundle sees a plain fault in its own regime is one in which the new bundle
   sees it in the new regime, up and down alike. Means over all faults hide a channel that a bundle has gone blind in. Seen in one
   direction, and in the other no worse than by today's: it may pass with reserve.
6. *Known faults?* Windows that operators labelled, and stored faults: recall and AUROC fall by no more than `max_loss`; where the
   faults are many enough, by the upper confidence bound of the loss.

Too little evidence is no pass. Windows that share rows are no independent witnesses: confidence bounds come from stretches of time, in
each of which all windows and their disturbed copies count as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import first_names
from wheeltapper.training.adaptation.gate_alarms import Alarms, alarms_of, allowed_open
from wheeltapper.training.adaptation.gate_channels import channels_of
from wheeltapper.training.adaptation.gate_level import DAY_S, Told, allowed, told_by
from wheeltapper.training.adaptation.gate_skill import (
    Skill,
    enough_to_bound,
    margin,
    most_share,
    share_below,
    skill_of,
)
from wheeltapper.training.adaptation.gate_terms import GatePolicy, GateScores, ProbeScores, Verdict

__all__ = ["GatePolicy", "GateScores", "ProbeScores", "Verdict", "gate"]


@dataclass(frozen=True)
class _Case:
    """What is judged, and what is found.

    Attributes:
        allowed: alarms on the held-out recent windows.
        failures, notes: sentences; what is not met, and what is.
        figures: for reports.
    """

    old: GateScores
    new: GateScores
    policy: GatePolicy
    allowed: int
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str, *, met: bool) -> None:
        (self.notes if met else self.failures).append(text)


def gate(old: GateScores, new: GateScores, policy: GatePolicy | None = None) -> Verdict:
    """Whether the bundle that gave `new` may replace the one that gave `old`.

    Raises:
        InputError: scores of other windows, or kinds of faults, on either side.
    """
    policy = policy or GatePolicy()
    _check_same(old, new)
    sizes = {"windows": len(new.recent), "disturbed": len(new.normal)}
    thin = _too_little(old, policy)
    if thin:
        return Verdict(False, False, (thin,), sizes)
    case = _Case(old, new, policy, allowed(new, policy), figures=dict(sizes))
    was_quiet = _judge_quiet(case)
    told = [told_by(scores, policy) for scores in (old, new)]
    levels = [each.quiet for each in told]
    today, then = (
        skill_of(scores.normal, scores.faults, level) for scores, level in zip((old, new), levels, strict=True)
    )
    gain = _judge_today(case, today, then, levels)
    gained = gain > policy.least_gain
    if was_quiet and not gained:
        case.failures.append(
            "no gain: the old bundle is as quiet as asked, and neither recall nor AUROC is proven to be higher by more than "
            f"{policy.least_gain:g}"
        )
    _judge_level(case, told[1])
    reserve = _judge_regime(case, today, then, gained)
    partly = _judge_channels(case, gained)
    _judge_known(case, levels)
    passed = not case.failures
    return Verdict(passed, passed and (reserve or partly), (*case.failures, *case.notes), case.figures)


def _check_same(old: GateScores, new: GateScores) -> None:
    for name in ("recent", "normal", "known_normal", "known_faults"):
        found, wanted = len(getattr(new, name)), len(getattr(old, name))
        if found != wanted:
            raise InputError(
                f"the gate compares scores of the same windows: {name} has {wanted} by the old bundle and {found} by the new"
            )
    if list(old.faults) != list(new.faults):
        raise InputError(
            f"the gate compares the same faults: {list(old.faults)} by the old bundle, {list(new.faults)} by the new"
        )
    asked = list(old.reference_probes.disturbed)
    for who, probes in (("the old bundle's recent", old.probes), ("the new bundle's recent", new.probes)):
        if asked and list(probes.disturbed) != asked:
            raise InputError(
                f"the gate asks for the same faults in each channel: {len(asked)} in the old bundle's reference windows, "
                f"{len(probes.disturbed)} others in {who} windows"
            )


def _too_little(scores: GateScores, policy: GatePolicy) -> str:
    if len(scores.recent) < policy.least_windows:
        return (
            f"too little evidence: {len(scores.recent)} held-out recent windows, the gate needs {policy.least_windows}; give "
            "more recent rows"
        )
    if len(scores.normal) < policy.least_disturbed or not scores.faults:
        return (
            f"too little evidence: {len(scores.normal)} windows to disturb, the gate needs {policy.least_disturbed}; give "
            "more recent rows"
        )
    return ""


def _judge_quiet(case: _Case) -> bool:
    """Question 1; True where the old bundle is quiet too."""
    new, policy, allowed = case.new, case.policy, case.allowed
    windows = len(new.recent)
    days = windows * new.interval_s / DAY_S
    before, after = (alarms_of(scores.recent, policy, 1.0) for scores in (case.old, new))
    case.figures["false_alarms_per_day"] = {"old": before.count / days, "new": after.count / days, "days": days}
    case.figures["open_share"] = {"old": before.windows / windows, "new": after.windows / windows}
    # NaN sorts above every number: as AUROC it would pass for a fault that is plain to see.
    for name, scores in (
        ("held-out recent windows", [new.recent, new.normal]),
        ("disturbed windows", [*new.faults.values(), new.probes.normal, *new.probes.disturbed.values()]),
        ("labelled windows and stored faults", [new.known_normal, new.known_faults]),
    ):
        unknown = sum(int((~np.isfinite(part)).sum()) for part in scores)
        if unknown:
            case.failures.append(f"some scores of {name} are no numbers: {unknown} of {sum(map(len, scores))}")
    most = allowed_open(policy, allowed, windows)
    text = f"false alarms on {days:.2g} held-out days: {before.count} by the old bundle, {after.count} by the new"
    if after.count > allowed:
        case.failures.append(f"{text}; at most {allowed} are likely at {policy.false_alarms_per_day:g} a day")
    elif after.windows > most:
        case.failures.append(
            f"{text}, but an alarm is open for {after.windows} of {windows} windows, at most {most} are allowed"
        )
    else:
        case.notes.append(text)
    return _is_quiet(before, allowed, most)


def _is_quiet(alarms: Alarms, allowed: int, most: int) -> bool:
    return alarms.count <= allowed and alarms.windows <= most


def _judge_today(case: _Case, today: Skill, then: Skill, levels: list[float]) -> float:
    """Question 2; the gain that is proven, of recall or of AUROC."""
    old, new, policy, figures = case.old, case.new, case.policy, case.figures
    figures["quiet_level"] = {"today": levels[0], "new": levels[1]}
    figures["recall"] = {"today": float(today.recall.mean()), "new": float(then.recall.mean())}
    figures["auroc"] = {"today": today.auroc, "new": then.auroc}
    figures["recall_by_kind"] = {
        kind: {
            "today": float(np.mean(old.faults[kind] >= levels[0])),
            "new": float(np.mean(new.faults[kind] >= levels[1])),
        }
        for kind in old.faults
    }
    gains = []
    for name, first, second in (
        ("recall", today.recall, then.recall),
        ("AUROC", today.area / 2, then.area / 2),
    ):
        change, error = float((second - first).mean()), margin(second - first, new.blocks, policy.z)
        worst = error - change
        gains.append(change - error)
        figures[f"{name.lower()}_loss_bound"] = worst
        told = f"{name} of disturbed recent windows {first.mean():.3f} to {second.mean():.3f}"
        if not worst <= policy.max_loss:
            told += f": a loss of up to {worst:.3f} is possible, at most {policy.max_loss:g} is allowed"
        case.say(told, met=worst <= policy.max_loss)
    return max(gains)


def _judge_level(case: _Case, told: Told) -> None:
    """Question 1 again: not quiet for being deaf."""
    case.figures["recall_at_level"] = told.own
    if told.is_deaf(case.policy):
        case.failures.append(
            f"its alarm level is too high: it tells {told.own:.3f} of the disturbed windows, at a level as quiet as asked "
            f"{told.reachable:.3f}"
        )
    elif told.own <= case.policy.max_loss:
        case.failures.append(
            f"it is blind: at its alarm level it tells {told.own:.3f} of the disturbed windows, more than {case.policy.max_loss:g} is "
            "needed"
        )


def _judge_regime(case: _Case, today: Skill, then: Skill, gained: bool) -> bool:
    """Question 4; True where the bundle passes with reserve."""
    old, new, policy, figures = case.old, case.new, case.policy, case.figures
    if len(old.reference_normal) < policy.least_disturbed:
        case.notes.append("the old bundle has too few reference windows to say how good it was in its own regime")
        return False
    was, now = skill_of(old.reference_normal, old.reference_faults, 1.0), skill_of(new.normal, new.faults, 1.0)
    figures["recall"]["was"] = float(was.recall.mean())
    figures["auroc"]["was"] = was.auroc
    short: list[str] = []
    for name, before, after in (("recall", was.recall, now.recall), ("AUROC", was.area / 2, now.area / 2)):
        loss = float(before.mean() - after.mean())
        error = math.hypot(margin(before, old.reference_blocks, policy.z), margin(after, new.blocks, policy.z))
        if not loss - error <= policy.max_loss:
            short.append(
                f"{name} was {before.mean():.3f} in the regime that the old bundle was trained for, and is {after.mean():.3f}"
            )
    most = max(policy.most_below, (1 - policy.least_recovered) * (was.auroc - today.auroc))
    if was.auroc - now.auroc > most:
        case.failures.append(
            f"AUROC was {was.auroc:.3f} in the regime that the old bundle was trained for, and is {now.auroc:.3f}: it may be lower by "
            f"{most:.3g} at most"
        )
        return False
    if not short:
        return False
    if gained and then.auroc >= policy.least_auroc:
        case.notes.extend(f"{text}; yet it is better than today's by more than {policy.least_gain:g}" for text in short)
        return True
    case.failures.extend(
        f"{text}; it is not proven to be better than today's by more than {policy.least_gain:g}" for text in short
    )
    return False


def _judge_channels(case: _Case, gained: bool) -> bool:
    """Question 5; True where the bundle passes with reserve."""
    seen = channels_of(case.old, case.new, case.policy)
    lost = [channel for channel in seen if channel.is_lost]
    blind = [channel for channel in lost if channel.is_blind or not gained]
    case.figures["channels"] = {"seen": len(seen), "blind": [channel.to_json() for channel in lost]}
    if not seen:
        return False
    if not lost:
        case.notes.append(f"faults in {len(seen)} channels, one by one: seen in all in which the old bundle saw them")
        return False
    worst = max(blind or lost, key=lambda channel: channel.worst.loss)
    found = worst.worst
    text = (
        f"in {len(blind or lost)} of {len(seen)} channels it does not see what the old bundle saw "
        f"({first_names([channel.name for channel in blind or lost])}): AUROC of {found.size:+g} standard deviations in {worst.name} "
        f"alone was {found.was:.3f}, is {found.today:.3f} by the old bundle today and {found.new:.3f} by the new one"
    )
    case.say(text if blind else f"{text}; yet no worse than today's there", met=not blind)
    return not blind


def _judge_known(case: _Case, levels: list[float]) -> None:
    """Question 6."""
    old, new = case.old, case.new
    count = len(old.known_faults)
    if not count:
        return
    told = [scores.known_faults >= level for scores, level in zip((old, new), levels, strict=True)]
    loss, bound, met = _known_loss(case, told[0].astype(np.float64) - told[1])
    before, after = float(told[0].mean()), float(told[1].mean())
    case.figures["known_recall"] = {"today": before, "new": after, "faults": count, "loss_bound": bound}
    text = f"recall of {count} labelled and stored faults {before:.3f} to {after:.3f}"
    case.say(f"{text}{_possible(loss, bound, case.policy)}", met=met)
    if len(old.known_normal):
        areas = [share_below(scores.known_normal, scores.known_faults) for scores in (old, new)]
        loss, bound, met = _known_loss(case, areas[0] - areas[1])
        found = [float(area.mean()) for area in areas]
        case.figures["known_auroc"] = {
            "today": found[0],
            "new": found[1],
            "normal": len(old.known_normal),
            "loss_bound": bound,
        }
        text = f"AUROC of labelled windows {found[0]:.3f} to {found[1]:.3f}"
        case.say(f"{text}{_possible(loss, bound, case.policy)}", met=met)


def _known_loss(case: _Case, losses: np.ndarray) -> tuple[float, float, bool]:
    """The mean loss of [f] known faults, how large it may be, and whether that is small enough.

    A few faults cannot show that a loss is small: there none must be lost on balance, beyond `max_loss` of them.
    """
    policy = case.policy
    blocks = case.old.known_blocks
    count = len(np.unique(blocks)) if len(blocks) else len(losses)
    loss = float(losses.mean())
    bound = most_share(min(max(loss, 0.0), 1.0), count, policy.z)
    if count < enough_to_bound(policy.max_loss, policy.z):
        return loss, bound, loss <= policy.max_loss
    return loss, bound, max(loss, bound) <= policy.max_loss


def _possible(loss: float, bound: float, policy: GatePolicy) -> str:
    return f" (a loss of up to {max(loss, bound):.3f} is possible)" if bound > policy.max_loss else ""
