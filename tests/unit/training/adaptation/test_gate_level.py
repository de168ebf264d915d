"""An alarm level so high that a bundle is quiet for being deaf, and the one that it gets instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wheeltapper.training.adaptation.gate_level import LOWERED_TELLS, lower_level, told_by
from wheeltapper.training.adaptation.gate_terms import GatePolicy, GateScores

POLICY = GatePolicy()


def scores(height: float, *, spread: float = 0.3, seed: int = 0) -> GateScores:
    """Normal windows about .05 of the level, faults spread about `height` of it."""
    random = np.random.default_rng(seed)
    normal = random.uniform(0.0, 0.1, 600)
    faults = {
        kind: np.maximum(height * np.exp(spread * random.standard_normal(200)), 0.0) for kind in ("spike", "level")
    }
    return GateScores(60.0, normal, normal[:200], faults)


def at(found: GateScores, level: float) -> GateScores:
    """The same windows by a bundle whose level is `level` of that."""
    faults = {kind: values / level for kind, values in found.faults.items()}
    return replace(found, recent=found.recent / level, normal=found.normal / level, faults=faults)


@pytest.mark.parametrize("height", [0.15, 0.3, 0.6])
def test_a_level_that_hides_the_faults_is_lowered_as_little_as_it_takes(height: float) -> None:
    # given a bundle that tells few of the faults that it sees
    found = scores(height)
    assert told_by(found, POLICY).is_deaf(POLICY)
    # when its level is lowered
    level = lower_level(found, POLICY)
    assert level is not None
    # then it tells as many as it should, at a little more it would tell fewer, and it is as quiet as asked
    lowered = told_by(at(found, level), POLICY)
    assert not lowered.is_deaf(POLICY)
    assert lowered.quiet <= 1
    above = told_by(at(found, level * 1.02), POLICY)
    assert above.own < LOWERED_TELLS * above.reachable <= lowered.own


@pytest.mark.parametrize("height", [1.5, 3.0])
def test_a_level_at_which_faults_are_told_stays(height: float) -> None:
    assert lower_level(scores(height), POLICY) is None


def test_what_a_bundle_cannot_see_no_level_shows() -> None:
    # given faults that score as normal windows do, at a level as quiet as asked and above it
    found = scores(0.05, spread=0.01)
    # then no lower level is asked for
    assert told_by(found, POLICY).reachable == 0
    assert lower_level(found, POLICY) is None
