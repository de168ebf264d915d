"""The gate: whether an adapted bundle may take the place of the one that serves. A pure function of scores and a policy.

Five questions; every one has to be answered well:

1. *Quiet?* On held-out recent windows, presumed normal, the new bundle raises no more alarms than the asked rate makes likely, and
   does not stand open; nor is its level so high that it tells less than a quarter of what it could.
2. *No worse than today?* Both bundles score the same held-out recent windows, and the same windows disturbed by faults of known
   kinds. Recall, each at the level that makes it as quiet as asked on these windows, and AUROC fall by no more than `max_loss`, by the
   upper confidence bound of the loss.
3. *A gain?* It is quiet where the old one is not, or its recall or AUROC is proven to be higher by more than `max_loss`: else
   there is no reason to change.
4. *As good as it was?* The old bundle in the regime that it was trained for (its reference windows, the same disturbances) sets
   the standard: recall at the alarm level and AUROC of the new bundle in the new regime are not below that by more than `max_loss`, as
   far as the windows can tell. A regime may be noisier than the one before, and then nobody reaches it: a bundle that only falls short
   here, but is proven to be better than today's by more than `max_loss`, passes *with reserve*.
5. *Known faults?* Windows that operators labelled, and stored faults: recall and AUROC fall by no more than `max_loss`.

Too little evidence is no pass. Confidence bounds come from the windows as clusters: a window and its disturbed copies count as one
(for AUROC by DeLong's placements, Biometrics 44, 1988).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.alert_life import SpanRule, alert_spans

_EMPTY = np.empty(0)
DAY_S = 86_400.0
ALARM_CLEARS = 4
"""An alarm that is one of those asked for lasts some clear durations."""

LEAST_TOLD = 0.25
"""Of what a bundle tells at a level as quiet as asked, its own alarm level must tell that share."""


@dataclass(frozen=True)
class GatePolicy:
    """What the gate asks for.

    Attributes:
        false_alarms_per_day: asked, per machine.
        max_loss: of recall and of AUROC.
        z: one-sided confidence bounds, in standard errors; 1.645 is 95 %.
        least_windows: held-out recent windows; least_disturbed: windows that were disturbed.
        most_open: share of the held-out recent windows with an alarm open, where that is more than the allowed alarms take.
        least_auroc: that a bundle needs to pass with reserve.
        alarms: how alarms open and clear.
    """

    false_alarms_per_day: float = 0.25
    max_loss: float = 0.02
    z: float = 1.645
    least_windows: int = 100
    least_disturbed: int = 60
    most_open: float = 0.05
    least_auroc: float = 0.7
    alarms: SpanRule = field(default_factory=lambda: SpanRule(clear_windows=30))


@dataclass(frozen=True)
class GateScores:
    """Calibrated scores by one bundle; 1.0 is its alarm level.

    Attributes:
        interval_s: between scored windows.
        recent: [n] held-out recent windows, presumed normal, in time order.
        normal: [m] some of those windows, undisturbed.
        faults: kind -> [m] the same windows, disturbed.
        reference_normal, reference_faults: the same of the reference windows; asked of the old bundle alone.
        known_normal, known_faults: windows that operators labelled, stored faults.
    """

    interval_s: float
    recent: np.ndarray
    normal: np.ndarray
    faults: Mapping[str, np.ndarray]
    reference_normal: np.ndarray = field(default_factory=lambda: _EMPTY)
    reference_faults: Mapping[str, np.ndarray] = field(default_factory=dict)
    known_normal: np.ndarray = field(default_factory=lambda: _EMPTY)
    known_faults: np.ndarray = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True)
class Verdict:
    """
    Attributes:
        accepted: the new bundle may take over.
        with_reserve: it passed, but is not as good as the old bundle was in its own regime.
        reasons: sentences with numbers; what was not met comes first.
        figures: numbers for reports, JSON types.
    """

    accepted: bool
    with_reserve: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class _Skill:
    """Recall and AUROC over clusters: a window and its disturbed copies.

    Attributes:
        recall: [m] share of each cluster's faults at or above the level.
        area: [m] each cluster's part in the AUROC, so that their mean is twice the AUROC.
    """

    recall: np.ndarray
    area: np.ndarray

    @property
    def auroc(self) -> float:
        return float(self.area.mean()) / 2


def gate(old: GateScores, new: GateScores, policy: GatePolicy | None = None) -> Verdict:
    """Whether the bundle that gave `new` may replace the one that gave `old`.

    Raises:
        InputError: scores of other windows, or kinds of faults, on either side.
    """
    policy = policy or GatePolicy()
    _check_same(old, new)
    thin = _too_little(old, policy)
    if thin:
        return Verdict(False, False, (thin,), {"windows": len(new.recent), "disturbed": len(new.normal)})
    failures: list[str] = []
    notes: list[str] = []
    figures: dict[str, Any] = {"windows": len(new.recent), "disturbed": len(new.normal)}

    allowed = _allowed_alarms(policy.false_alarms_per_day * len(new.recent) * new.interval_s / DAY_S)
    before, after = (_alarms(scores.recent, policy, 1.0) for scores in (old, new))
    was_quiet = before.count <= allowed and before.windows <= _allowed_open(policy, allowed, len(new.recent))
    _judge_quiet(before, after, new, policy, allowed, failures, notes, figures)

    levels = [_quiet_level(scores.recent, allowed, policy) for scores in (old, new)]
    today, then = (
        _skill(scores.normal, scores.faults, level) for scores, level in zip((old, new), levels, strict=True)
    )
    figures["quiet_level"] = {"today": levels[0], "new": levels[1]}
    figures["recall"] = {"today": _mean(today.recall), "new": _mean(then.recall)}
    figures["auroc"] = {"today": today.auroc, "new": then.auroc}
    figures["recall_by_kind"] = {
        kind: {
            "today": float(np.mean(old.faults[kind] >= levels[0])),
            "new": float(np.mean(new.faults[kind] >= levels[1])),
        }
        for kind in old.faults
    }
    gains = []
    for name, first, second, unit in (
        ("recall", today.recall, then.recall, 1.0),
        ("AUROC", today.area, then.area, 0.5),
    ):
        difference = (second - first) * unit
        change, error = float(difference.mean()), _standard_error(difference)
        worst = -change + policy.z * error
        gains.append(change - policy.z * error)
        figures[f"{name.lower()}_loss_bound"] = worst
        told = f"{name} of disturbed recent windows {_mean(first) * unit:.3f} to {_mean(second) * unit:.3f}"
        if not worst <= policy.max_loss:
            failures.append(f"{told}: a loss of up to {worst:.3f} is possible, at most {policy.max_loss:g} is allowed")
        else:
            notes.append(told)
    if was_quiet and not max(gains) > policy.max_loss:
        failures.append(
            "no gain: the old bundle is as quiet as asked, and neither recall nor AUROC is proven to be higher by more than "
            f"{policy.max_loss:g}"
        )

    own = float(np.mean([np.mean(scores >= 1.0) for scores in new.faults.values()]))
    figures["recall_at_level"] = own
    if own < LEAST_TOLD * _mean(then.recall):
        failures.append(
            f"its alarm level is too high: it tells {own:.3f} of the disturbed windows, at a level as quiet as asked "
            f"{_mean(then.recall):.3f}"
        )
    elif own <= policy.max_loss:
        failures.append(
            f"it is blind: at its alarm level it tells {own:.3f} of the disturbed windows, more than {policy.max_loss:g} is needed"
        )
    reserve = _judge_regime(old, new, then, policy, max(gains) > policy.max_loss, failures, notes, figures)
    _judge_known(old, new, levels, policy, failures, notes, figures)
    return Verdict(not failures, not failures and reserve, (*failures, *notes), figures)


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


def _judge_quiet(
    before: _Alarms,
    after: _Alarms,
    new: GateScores,
    policy: GatePolicy,
    allowed: int,
    failures: list[str],
    notes: list[str],
    figures: dict[str, Any],
) -> None:
    """Question 1."""
    days = len(new.recent) * new.interval_s / DAY_S
    figures["false_alarms_per_day"] = {"old": before.count / days, "new": after.count / days, "days": days}
    figures["open_share"] = {"old": before.windows / len(new.recent), "new": after.windows / len(new.recent)}
    # NaN sorts above every number: as AUROC it would pass for a fault that is plain to see.
    for name, scores in (
        ("held-out recent windows", [new.recent, new.normal]),
        ("disturbed windows", list(new.faults.values())),
        ("labelled windows and stored faults", [new.known_normal, new.known_faults]),
    ):
        unknown = sum(int((~np.isfinite(part)).sum()) for part in scores)
        if unknown:
            failures.append(f"some scores of {name} are no numbers: {unknown} of {sum(map(len, scores))}")
    text = f"false alarms on {days:.2g} held-out days: {before.count} by the old bundle, {after.count} by the new"
    if after.count > allowed:
        failures.append(f"{text}; at most {allowed} are likely at {policy.false_alarms_per_day:g} a day")
    elif after.windows > (most := _allowed_open(policy, allowed, len(new.recent))):
        failures.append(
            f"{text}, but an alarm is open for {after.windows} of {len(new.recent)} windows, at most {most} are allowed"
        )
    else:
        notes.append(text)


def _judge_regime(
    old: GateScores,
    new: GateScores,
    then: _Skill,
    policy: GatePolicy,
    gained: bool,
    failures: list[str],
    notes: list[str],
    figures: dict[str, Any],
) -> bool:
    """Question 4; True where the bundle passes with reserve."""
    if len(old.reference_normal) < policy.least_disturbed:
        notes.append("the old bundle has too few reference windows to say how good it was in its own regime")
        return False
    was, now = _skill(old.reference_normal, old.reference_faults, 1.0), _skill(new.normal, new.faults, 1.0)
    figures["recall"]["was"] = _mean(was.recall)
    figures["auroc"]["was"] = was.auroc
    short: list[str] = []
    for name, before, after, unit in (("recall", was.recall, now.recall, 1.0), ("AUROC", was.area, now.area, 0.5)):
        loss = (_mean(before) - _mean(after)) * unit
        error = math.hypot(_standard_error(before), _standard_error(after)) * unit
        if not loss - policy.z * error <= policy.max_loss:
            short.append(
                f"{name} was {_mean(before) * unit:.3f} in the regime that the old bundle was trained for, and is "
                f"{_mean(after) * unit:.3f}"
            )
    if not short:
        return False
    if gained and then.auroc >= policy.least_auroc:
        notes += [f"{text}; yet it is better than today's by more than {policy.max_loss:g}" for text in short]
        return True
    failures += [
        f"{text}; it is not proven to be better than today's by more than {policy.max_loss:g}" for text in short
    ]
    return False


def _judge_known(
    old: GateScores,
    new: GateScores,
    levels: list[float],
    policy: GatePolicy,
    failures: list[str],
    notes: list[str],
    figures: dict[str, Any],
) -> None:
    """Question 5."""
    if not len(old.known_faults):
        return
    before, after = float(np.mean(old.known_faults >= levels[0])), float(np.mean(new.known_faults >= levels[1]))
    figures["known_recall"] = {"today": before, "new": after, "faults": len(old.known_faults)}
    text = f"recall of {len(old.known_faults)} labelled and stored faults {before:.3f} to {after:.3f}"
    (failures if before - after > policy.max_loss else notes).append(text)
    if len(old.known_normal):
        areas = [_auroc(scores.known_normal, scores.known_faults) for scores in (old, new)]
        figures["known_auroc"] = {"today": areas[0], "new": areas[1], "normal": len(old.known_normal)}
        text = f"AUROC of labelled windows {areas[0]:.3f} to {areas[1]:.3f}"
        (failures if areas[0] - areas[1] > policy.max_loss else notes).append(text)


@dataclass(frozen=True, slots=True)
class _Alarms:
    """Alarms that scores raise, and the windows with one open."""

    count: int
    windows: int


def _alarms(scores: np.ndarray, policy: GatePolicy, level: float) -> _Alarms:
    spans = alert_spans(np.nan_to_num(scores, nan=np.inf), policy.alarms, raise_level=level)
    return _Alarms(len(spans), sum(stop - start for start, stop in spans))


def _allowed_open(policy: GatePolicy, allowed: int, windows: int) -> int:
    """Windows that may have an alarm open: a share of them, or the allowed alarms' own where they are few."""
    return max(round(policy.most_open * windows), ALARM_CLEARS * allowed * policy.alarms.clear_windows)


def _allowed_alarms(expected: float) -> int:
    """The number of alarms that is exceeded with a probability below 5 % where `expected` are (Poisson)."""
    count, total, term = 0, math.exp(-expected), math.exp(-expected)
    while total < 0.95:
        count += 1
        term *= expected / count
        total += term
    return count


def _quiet_level(scores: np.ndarray, allowed: int, policy: GatePolicy) -> float:
    """The lowest level at which [n] scores raise no more alarms than allowed and none stands open."""
    levels = np.unique(scores)
    low, high = 0, len(levels) - 1  # above the largest score it is quiet
    while low < high:
        middle = (low + high) // 2
        alarms = _alarms(scores, policy, math.nextafter(float(levels[middle]), math.inf))
        # Far below, alarms run into each other and are few: they then stand open.
        if alarms.count <= allowed and alarms.windows <= _allowed_open(policy, allowed, len(scores)):
            high = middle
        else:
            low = middle + 1
    return math.nextafter(float(levels[high]), math.inf)


def _skill(normal: np.ndarray, faults: Mapping[str, np.ndarray], level: float) -> _Skill:
    """
    Args:
        normal: [m]; faults: kind -> [m].
    """
    disturbed = np.stack(list(faults.values()), axis=1)  # [m, kinds]
    recall = (disturbed >= level).mean(axis=1)
    above = _share_below(normal, disturbed.ravel()).reshape(disturbed.shape).mean(axis=1)
    below = 1 - _share_below(disturbed.ravel(), normal)
    return _Skill(recall, above + below)


def _share_below(others: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[k]: for each of `values` the share of `others` below it; equal ones count half."""
    ordered = np.sort(others)
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    share: np.ndarray = (left + right) / (2 * len(ordered))
    return share


def _auroc(normal: np.ndarray, faults: np.ndarray) -> float:
    return float(_share_below(normal, faults).mean())


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
