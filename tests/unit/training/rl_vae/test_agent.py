"""The agent's loop on a tiny pool: what it learns, what it buys, and the fixes that its loop carries."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.training.detectors.rl_vae.agent import Agent, advantages, look
from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN, LabelPool
from wheeltapper.training.detectors.rl_vae.sources import self_made_pool
from wheeltapper.training.detectors.rl_vae.spec import TRAINER
from wheeltapper.training.detectors.rl_vae.train import TrainedVae, normal_windows, train_vae
from wheeltapper.training.detectors.rl_vae.windows import NOTHING_FOLLOWS, WindowBank, bank_of_runs
from wheeltapper.training.fitting.trainer import TrainerOptions

CONFIG = RlVaeConfig(
    window=12,
    hidden=24,
    latent=4,
    q_hidden=8,
    episodes=6,
    gradient_steps=15,
    walkers=48,
    pool_limit=400,
    label_budget=120,
)
SMALL = TrainerOptions(
    **{**{name: getattr(TRAINER, name) for name in ("learning_rate", "gradient_clip", "batch_size")}, "epochs": 4},
    progress=False,
)


@cache
def trained() -> TrainedVae:
    return train_vae(make_series(normal_rows(1500, 4, seed=3)), CONFIG, SMALL)


def made_agent(config: RlVaeConfig = CONFIG, seed: int = 0) -> Agent:
    vae = trained()
    held_out = bank_of_runs(vae.prepared.rows, vae.prepared.held_out_ends, config.window)
    pool = self_made_pool(vae.prepared, config, seed)
    return Agent(vae.vae, config, normal_windows(vae.prepared), pool, look(vae.vae, held_out).error, seed)


def pool_of(agent: Agent) -> tuple[LabelPool, np.ndarray]:
    """The pool and all its labels, which the agent never sees."""
    return agent.pool, np.asarray(agent.pool.oracle(np.arange(len(agent.pool))))


def test_agent_tells_unseen_faults_from_normal_windows_and_keeps_to_its_budget() -> None:
    # Given an agent that may buy 120 of the pool's labels
    agent = made_agent()
    pool, truth = pool_of(agent)
    # When it is trained
    q_network = agent.train()
    # Then windows whose labels it did not buy are ranked right, mostly
    unseen = pool.known == UNKNOWN
    found = advantages(agent.vae, q_network, pool.bank)[unseen]
    normal, anomalous = found[truth[unseen] == 0], found[truth[unseen] == 1]
    assert np.mean(anomalous[:, None] > normal[None, :]) > 0.8
    # and no more was bought than allowed, in more than one round
    assert pool.spent == 120
    assert 0 < agent.history.labels[0] < agent.history.labels[-1] == 120
    # and epsilon fell to its end within the run
    assert agent.history.epsilon[0] == 1.0
    assert agent.history.epsilon[-1] == pytest.approx(0.1)


def test_same_seed_same_network() -> None:
    first, second = made_agent().train(), made_agent().train()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_labels_are_seeded_by_the_warm_up() -> None:
    # Bug 2: without a first label the authors' WADI agent never buys any.
    agent = made_agent()
    agent.warm_up()
    assert agent.pool.spent > 0
    assert set(agent.pool.known.tolist()) == {UNKNOWN, 0, 1}


def test_targets_end_with_the_episode_and_look_ahead_within() -> None:
    # Bug 9: given a target network that finds every state worth 10
    agent = made_agent()
    with torch.no_grad():
        for values in agent.target.parameters():
            values.zero_()
        agent.target.values.bias[:] = 10.0
    going_on = np.flatnonzero(agent.bank.next != NOTHING_FOLLOWS)[:2]
    ended = np.flatnonzero(agent.bank.next == NOTHING_FOLLOWS)[:2]
    rewards = np.array([[1, -1], [1, -1], [1, -1], [1, -1]], dtype=np.float32)
    # when targets are made of two windows that are followed and two that are not
    index = np.concatenate([going_on, ended])
    found = agent.targets(index, np.zeros((4, CONFIG.window), dtype=bool), rewards)
    # then only the first two are worth more than their reward, by gamma times 10
    assert found.tolist() == [[6, 4], [6, 4], [1, -1], [1, -1]]


def test_target_network_follows_every_so_many_steps_only() -> None:
    agent = made_agent()
    agent.warm_up()
    agent.believe()
    agent.walk(1.0)
    before = agent.target.values.bias.clone()
    for _ in range(CONFIG.target_every - 1):
        agent.learn()
    assert torch.equal(agent.target.values.bias, before)
    agent.learn()
    assert torch.equal(agent.target.values.bias, agent.q_network.values.bias)


def test_a_bought_label_outvotes_the_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a window that the VAE finds as strange as can be, and a person who said that it is normal
    agent = made_agent()
    agent.surprise[:] = 3.0
    agent.pool.known[:] = 0
    agent.believe()
    agent.replay.add(np.array([agent.first]), np.zeros((1, CONFIG.window), bool), np.array([0]))
    seen = {}

    def watched(index: np.ndarray, flags: np.ndarray, rewards: np.ndarray) -> torch.Tensor:
        seen["rewards"] = rewards
        return torch.from_numpy(rewards)

    monkeypatch.setattr(agent, "targets", watched)
    # When it is learnt from, then calling it normal pays
    agent.learn()
    assert (seen["rewards"] == [1, -1]).all()


def test_a_spread_label_is_worth_less_than_a_bought_one(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made_agent()
    agent.surprise[:] = 0.0
    agent.believed[:] = 1
    agent.replay.add(np.array([agent.first]), np.zeros((1, CONFIG.window), bool), np.array([0]))
    seen = {}
    monkeypatch.setattr(
        agent, "targets", lambda index, flags, rewards: (seen.update(rewards=rewards), torch.from_numpy(rewards))[1]
    )
    agent.learn()
    share = CONFIG.spread_worth * CONFIG.reward_anomaly
    assert (seen["rewards"] == [-share, share]).all()


def test_walkers_carry_their_own_actions_as_flags() -> None:
    agent = made_agent()
    # Given walkers that always call a window anomalous
    agent.act = lambda index, flags, epsilon: np.ones(len(index), dtype=np.int64)  # type: ignore[method-assign]
    agent.walk(0.0)
    index, flags, _ = agent.replay.draw(500, np.random.default_rng(0))
    # then the second step of a walk remembers the first, in the last column, and first steps remember nothing
    assert set(flags[:, :-1].any(axis=1).tolist()) == {False}
    assert set(flags[:, -1].tolist()) == {False, True}
    assert (agent.bank.next[index[flags[:, -1]] - 1] == index[flags[:, -1]]).all()


def test_a_time_budget_cuts_the_loop_and_says_so() -> None:
    agent = made_agent()
    agent.train(budget_s=1e-9)
    assert agent.history.cut
    assert len(agent.history.loss) == 1


def test_windows_of_the_train_part_are_known_to_be_normal() -> None:
    agent = made_agent()
    agent.believe()
    assert (agent.believed[: agent.first] == 0).all()
    assert isinstance(agent.bank, WindowBank)
    assert len(agent.bank) == agent.first + len(agent.pool)
