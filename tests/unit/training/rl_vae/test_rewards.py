"""Rewards, their weight, exploration and replay."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN
from wheeltapper.training.detectors.rl_vae.replay import Replay
from wheeltapper.training.detectors.rl_vae.rewards import (
    Exploration,
    IntrinsicWeight,
    Surprise,
    extrinsic_rewards,
    total_rewards,
)


def test_intrinsic_reward_changes_the_best_action() -> None:
    # Bug 1: added to both actions alike, a surprise changes nothing. Given a strange and an ordinary unlabelled window
    extrinsic = extrinsic_rewards(np.array([UNKNOWN, UNKNOWN]), 5.0)
    # when the surprise is weighed in
    rewards = total_rewards(extrinsic, np.array([3.0, -1.0]), 0.5)
    # then the strange one is better called anomalous and the ordinary one normal
    assert rewards.argmax(axis=1).tolist() == [1, 0]
    assert rewards.tolist() == [[-1.5, 1.5], [0.5, -0.5]]


def test_unlabelled_windows_are_masked_from_the_extrinsic_reward() -> None:
    # Bug 2: a label of -1 is not 'anomalous'.
    assert extrinsic_rewards(np.array([UNKNOWN, 0, 1]), 5.0).tolist() == [[0, 0], [1, -1], [-5, 5]]


def test_surprise_is_robust_and_bounded() -> None:
    surprise = Surprise.of(np.exp(np.linspace(-1, 1, 101)))
    found = surprise(np.exp(np.array([-99.0, 0.0, 1.0, 99.0])))
    assert found.tolist() == pytest.approx([-1.0, 0.0, 1.0, 3.0], abs=1e-4)
    # errors that never vary do not divide by 0
    assert np.isfinite(Surprise.of(np.ones(10))(np.array([0.0, 1.0, 2.0]))).all()


def weight() -> IntrinsicWeight:
    return IntrinsicWeight(1.0, 0.05, 2.0, 0.05, 0.8)


def test_intrinsic_weight_falls_as_labels_are_met_and_rises_while_they_are_missed() -> None:
    extrinsic = extrinsic_rewards(np.array([0, 0, 1]), 5.0)
    met, missed = weight(), weight()
    met.update(extrinsic, np.array([0, 0, 1]))
    missed.update(extrinsic, np.array([0, 0, 0]))
    assert met.value < 1.0 < missed.value


def test_intrinsic_weight_does_not_depend_on_how_many_steps_an_episode_has() -> None:
    extrinsic, actions = extrinsic_rewards(np.array([0, 1]), 5.0), np.array([0, 0])
    short, long = weight(), weight()
    assert short.update(extrinsic, actions) == long.update(np.tile(extrinsic, (50, 1)), np.tile(actions, 50))


def test_intrinsic_weight_stays_in_its_range() -> None:
    falling, rising = weight(), weight()
    extrinsic = extrinsic_rewards(np.array([1]), 5.0)
    for _ in range(200):
        falling.update(extrinsic, np.array([1]))
        rising.update(extrinsic, np.array([0]))
    assert (falling.value, rising.value) == (0.05, 2.0)


def test_intrinsic_weight_ends_at_its_least_however_little_is_earned() -> None:
    # The authors' lambda has one sign in one script and the other in the next; here the labels have the last word.
    rising = weight()
    extrinsic = extrinsic_rewards(np.array([1]), 5.0)
    values = [rising.update(extrinsic, np.array([0]), done) for done in np.linspace(0.1, 1.2, 12)]
    assert max(values) > 1.0
    assert values[-1] == pytest.approx(0.05)


def test_epsilon_really_decays_within_the_run() -> None:
    # The authors' schedule is 500,000 steps long, their run 3,000.
    exploration = Exploration(1.0, 0.1, steps=25)
    values = [exploration(step) for step in range(25)]
    assert values[0] == 1.0
    assert values[-1] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    assert exploration(10) == pytest.approx(0.55)


def test_replay_keeps_the_latest_and_draws_from_all_of_them() -> None:
    replay = Replay(5, window=2)
    for start in (0, 3, 6):
        index = np.arange(start, start + 3)
        replay.add(index, np.tile(index[:, None] % 2 == 1, (1, 2)), index % 2)
    assert len(replay) == 5
    index, flags, actions = replay.draw(200, np.random.default_rng(0))
    assert sorted(set(index.tolist())) == [4, 5, 6, 7, 8]
    # what belongs together is drawn together
    assert (flags == (index % 2 == 1)[:, None]).all()
    assert (actions == index % 2).all()


def test_replay_takes_more_than_it_holds() -> None:
    replay = Replay(4, window=1)
    replay.add(np.arange(10), np.zeros((10, 1), bool), np.zeros(10, np.int8))
    assert sorted(set(replay.draw(100, np.random.default_rng(0))[0].tolist())) == [6, 7, 8, 9]
