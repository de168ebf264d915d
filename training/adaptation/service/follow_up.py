"""A further adaptation behind one that passed.

What passes the gate on the rows of a day bridges the time until there are more: a change may have been under way, and a mode of the
machine may not have come yet. Then the ladder is climbed once more, from the child in service; only what is shown to be better than
that child takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wheeltapper.training.adaptation.service.life import FollowUp, Life, RowSource, adaptation_id
from wheeltapper.training.adaptation.service.readiness import next_try_at
from wheeltapper.training.adaptation.service.rules import AdaptationRules
from wheeltapper.training.adaptation.service.serving import Serving


def due_after(life: Life, rules: AdaptationRules) -> FollowUp | None:
    """What follows a child; None where no try is left."""
    if life.tries + 1 >= rules.tries:
        return None
    return FollowUp(life.since, life.source, life.accepted_us, life.who, life.tries + 1, next_try_at(life.seen_at))


def to_json(follow_up: FollowUp) -> dict[str, Any]:
    """For the evidence of 'accepted': a restart reads it back."""
    return asdict(follow_up)


def from_json(kept: Mapping[str, Any]) -> FollowUp:
    """What `to_json` gave."""
    return FollowUp(**{**kept, "source": RowSource(**kept["source"])})


def follower_of(life: Life, follow_up: FollowUp) -> Life:
    """The adaptation that goes on from a child in service."""
    child = life.child
    assert child is not None
    return Life(
        adaptation_id=adaptation_id(f"{life.adaptation_id}/again"),
        machine=life.machine,
        rule=life.rule,
        route=life.route,
        parent=Serving(life.route, life.rule, child.bundle, child.uri, child.sha256),
        since=follow_up.since,
        seen_at=life.seen_at,
        source=follow_up.source,
        accepted_us=follow_up.accepted_us,
        who=follow_up.who,
        tries=follow_up.tries,
        not_before=follow_up.not_before,
        follows=life.adaptation_id,
    )
