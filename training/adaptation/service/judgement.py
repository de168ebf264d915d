"""Whether a child bundle does worse than it must: in shadow, as canary, and in service."""

from __future__ import annotations

from dataclasses import dataclass, field

from wheeltapper.schemas.adaptation import is_in_share
from wheeltapper.training.adaptation.service.alerts import AlertBook, KnownAlert
from wheeltapper.training.adaptation.service.life import Life, Phase
from wheeltapper.training.adaptation.service.rules import AdaptationRules
from wheeltapper.training.adaptation.service.tally import allowed_openings

# A child that stands above its level that much more of the time than its parent would be an alarm that never ends.
MORE_ABOVE = 0.05
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Finding:
    """What the scores and alerts say of a phase.

    Attributes:
        regression: why the child must go; empty: nothing speaks against it.
        is_over: the phase has lasted as long as it must.
        figures: for the evidence.
    """

    regression: str = ""
    is_over: bool = False
    figures: dict[str, float | int] = field(default_factory=dict)


def judge(life: Life, alerts: AlertBook, rules: AdaptationRules, asked_per_day: float) -> Finding:
    """Judge the phase that a child is in."""
    return (
        _shadow(life, alerts, rules, asked_per_day)
        if life.phase is Phase.SHADOW
        else _service(life, alerts, rules, asked_per_day)
    )


def _shadow(life: Life, alerts: AlertBook, rules: AdaptationRules, asked_per_day: float) -> Finding:
    """By its own scores, beside those of the bundle that serves: nobody is called by a shadow."""
    is_over = life.seconds_scored() >= rules.shadow_s
    openings = sum(len(tally.openings) for tally in life.new.values())
    days = max(rules.shadow_s / _DAY_S * max(len(life.new), 1), life.machine_days())
    allowed = allowed_openings(asked_per_day, days, tolerance=rules.tolerance, confidence=rules.confidence)
    new = life.new.get(life.machine)
    old = life.old.get(life.machine)
    figures: dict[str, float | int] = {
        **{f"new_{name}": value for name, value in (new.figures() if new else {}).items()},
        **{f"old_{name}": value for name, value in (old.figures() if old else {}).items()},
        "openings": openings,
        "allowed_openings": allowed,
    }
    regression = ""
    if openings > allowed:
        regression = (
            f"in shadow it would have opened {openings} alarms in {life.machine_days():.2f} machine days, at most {allowed} are "
            f"in keeping with {asked_per_day:g} a day"
        )
    elif is_over and new is not None:
        above, before = new.share_above, old.share_above if old else 0.0
        missed = _missed(life, alerts)
        if above > before + MORE_ABOVE:
            regression = f"in shadow it stood above its level {above:.0%} of the time, the old bundle {before:.0%}"
        elif missed:
            regression = f"in shadow it missed alert {missed.alert_id}, which an operator confirmed"
    return Finding(regression, is_over, figures)


def _missed(life: Life, alerts: AlertBook) -> KnownAlert | None:
    """An alert of the old bundle that an operator confirmed and that the child did not see at all."""
    new = life.new.get(life.machine)
    if new is None or new.first is None or new.last is None:
        return None
    for alert in alerts.of(life.machine):
        stop = new.last if alert.ended_at is None else alert.ended_at
        if alert.rule != life.rule or alert.verdict != "confirm" or not new.first <= alert.opened_at <= new.last:
            continue
        if not any(alert.opened_at - 1_800_000_000 <= opening <= stop for opening in new.openings):
            return alert
    return None


def _service(life: Life, alerts: AlertBook, rules: AdaptationRules, asked_per_day: float) -> Finding:
    """By the alerts that it has opened: those that an operator confirmed were right."""
    canary = life.phase is Phase.CANARY
    length_s = rules.canary_s if canary else rules.watch_s
    assert life.child is not None
    served = _served(life, rules)
    machine_days = sum(life.new[machine].days for machine in served)
    opened = [
        alert
        for machine in {life.machine, *life.new}
        for alert in alerts.of(machine)
        if alert.bundle == life.child.bundle and alert.rule == life.rule
    ]
    doubtful = [alert for alert in opened if alert.verdict != "confirm"]
    rejected = [alert for alert in opened if alert.verdict == "reject"]
    longest = max((life.new[machine].days for machine in served), default=0.0)
    days = max(length_s / _DAY_S * max(len(served), 1), machine_days)
    allowed = allowed_openings(asked_per_day, days, tolerance=rules.tolerance, confidence=rules.confidence)
    allowed_rejected = allowed_openings(asked_per_day, days, tolerance=1.0, confidence=rules.confidence)
    regression = ""
    if len(doubtful) > allowed:
        regression = (
            f"it opened {len(doubtful)} alerts that nobody confirmed in {machine_days:.2f} machine days, at most {allowed} "
            f"are in keeping with {asked_per_day:g} a day"
        )
    elif len(rejected) > allowed_rejected:
        regression = (
            f"operators rejected {len(rejected)} of its alerts, at most {allowed_rejected} false ones are in keeping with "
            f"{asked_per_day:g} a day"
        )
    figures: dict[str, float | int] = {
        "machine_days": round(machine_days, 4),
        "alerts": len(opened),
        "confirmed": len(opened) - len(doubtful),
        "rejected": len(rejected),
        "allowed_alerts": allowed,
    }
    return Finding(regression, longest * _DAY_S >= length_s, figures)


def _served(life: Life, rules: AdaptationRules) -> list[str]:
    """Machines that the child serves: beside a canary it stays in shadow on the others, where it opens no alerts.

    A route so small that no machine is in the share is judged by all of them.
    """
    chosen = {machine for machine in life.machines if is_in_share(life.rule, machine, rules.canary_share)}
    return [machine for machine in life.new if life.phase is not Phase.CANARY or not chosen or machine in chosen]
