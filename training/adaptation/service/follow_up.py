"""A further adaptation behind one whose step learnt nothing.

A moved alarm level and rescaled channels pass the gate on the rows of a day, and bridge the time until there are more. Then the ladder
is climbed once more, from the child in service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wheeltapper.training.adaptation.service.life import FollowUp, JobOutcome, Life, RowSource, adaptation_id
from wheeltapper.training.adaptation.service.readiness import next_try_at
from wheeltapper.training.adaptation.service.rules import AdaptationRules
from wheeltapper.training.adaptation.service.serving import Serving
from wheeltapper.training.adaptation.step_names import STOP_GAPS


def due_after(life: Life, outcome: JobOutcome, rules: AdaptationRules) -> FollowUp | None:
    """What follows an outcome; None where its step is final, or no try is left."""
    if outcome.step not in STOP_GAPS or life.tries + 1 >= rules.tries:
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
