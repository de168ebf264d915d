"""The loop: walk, buy labels, spread them, learn. Windows follow each other whatever is done; only the flags differ."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.models.rl_vae.graph import state_features, states, window_error
from wheeltapper.models.rl_vae.qnetwork import QNetwork
from wheeltapper.models.rl_vae.vae import Vae
from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN, LabelPool
from wheeltapper.training.detectors.rl_vae.queries import first_queries, least_certain, spread_indices, spread_labels
from wheeltapper.training.detectors.rl_vae.replay import Replay
from wheeltapper.training.detectors.rl_vae.rewards import (
    EXPLORING_SHARE,
    LEAST_ERROR,
    Exploration,
    IntrinsicWeight,
    Surprise,
    extrinsic_rewards,
    total_rewards,
)
from wheeltapper.training.detectors.rl_vae.windows import NOTHING_FOLLOWS, WindowBank, joined
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL
from wheeltapper.training.fitting.warm_start import WarmStart

GRADIENT_CLIP = 5.0
# Strong, because labels are few.
WEIGHT_DECAY = 0.1
# Share of the budget that is spent before the Q-network knows anything, at the forest's advice.
WARM_UP_SHARE = 0.5
# Bought windows are a third of a window's length apart.
APART_SHARE = 3
# Windows that states are standardised by.
STATE_WINDOWS = 2000
_BATCH = 512


@dataclass
class AgentHistory:
    """By episode: loss, lambda, epsilon, labels bought so far, mean R1 of a step as share of the largest."""

    loss: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    epsilon: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    cut: bool = False


@dataclass(frozen=True)
class Seen:
    """What the VAE makes of windows, float32.

    Attributes:
        latent: [m, L].
        error: [m], see `window_error`.
        peaks: [m, 3], mean square of the window, of its last row, and of the last row's worst channel.
    """

    latent: np.ndarray
    error: np.ndarray
    peaks: np.ndarray


def look(vae: Vae, bank: WindowBank, trust: np.ndarray | None = None) -> Seen:
    """
    Args:
        trust: [C], weights of the channels in the error; None is 1 for all.
    """
    weights = torch.ones(bank.rows.shape[1]) if trust is None else torch.from_numpy(trust)
    latent, errors, peaks = [], [], []
    with torch.no_grad():
        for part in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // _BATCH))):
            rows = bank.take(part)
            output = vae(rows)
            squared = (rows - output.reconstruction) ** 2
            last = squared[:, -1]
            latent.append(output.mu.numpy())
            errors.append(window_error(rows - output.reconstruction, torch.ones_like(rows), weights).numpy())
            peaks.append(torch.stack([squared.mean(dim=(1, 2)), last.mean(dim=1), last.amax(dim=1)], dim=1).numpy())
    return Seen(np.concatenate(latent), np.concatenate(errors), np.concatenate(peaks))


def advantages(vae: Vae, q_network: QNetwork, bank: WindowBank) -> np.ndarray:
    """[m] float32: Q1 - Q0 of windows, with the flags that the stream has: none."""
    found = []
    with torch.no_grad():
        for part in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // _BATCH))):
            values = q_network(states_of(vae, bank.take(part), None))
            found.append((values[:, 1] - values[:, 0]).numpy())
    return np.concatenate(found)


class Agent:
    """Learns a Q-network from normal windows and a pool of labels.

    Args:
        vae: trained; not changed.
        normal: windows of the train part: known to be normal, for nothing.
        pool: where labels are.
        errors: of the VAE on normal windows that it was not trained on.
        warm_start: weights that the Q-network goes on from, part 'q_network'; what labels have taught is kept that way.
    """

    def __init__(
        self,
        vae: Vae,
        config: RlVaeConfig,
        normal: WindowBank,
        pool: LabelPool,
        errors: np.ndarray,
        seed: int,
        warm_start: WarmStart | None = None,
    ) -> None:
        self.vae, self.config, self.pool, self.seed = vae, config, pool, seed
        self.bank = joined([normal, pool.bank])
        self.first = len(normal)  # where the pool begins in the bank
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.q_network = QNetwork(config, state_features(self.bank.rows.shape[1]))
        if warm_start is not None:
            warm_start.load("q_network", self.q_network)
        # A real pool is later than the train part: what has become usual there is to look usual.
        sample = spread_indices(len(self.bank) if pool.mostly_normal else self.first, STATE_WINDOWS)
        self.q_network.standardise(states_of(vae, self.bank.take(sample), None))
        self.q_network.eval()
        self.target = copy.deepcopy(self.q_network)
        self.optimizer = torch.optim.AdamW(
            self.q_network.parameters(), lr=config.q_learning_rate, weight_decay=WEIGHT_DECAY
        )
        self.seen = look(vae, self.bank)
        # A real pool is nearly all normal and later than the train part: with it, a machine that has drifted is no surprise.
        usual = np.concatenate([errors, self.seen.error[self.first :]]) if pool.mostly_normal else errors
        self.surprise = Surprise.of(usual)(self.seen.error)
        self.replay = Replay(config.replay, config.window)
        self.weight = IntrinsicWeight(
            config.lambda_start, config.lambda_least, config.lambda_most, config.lambda_rate, config.reward_target
        )
        self.believed = np.full(len(self.bank), UNKNOWN, dtype=np.int8)
        self.told = np.zeros(len(self.bank), dtype=bool)
        self.steps = 0
        self.gradient_steps = 0
        self.history = AgentHistory()

    def train(self, *, budget_s: float | None = None, report: Callable[[int], None] = lambda _: None) -> QNetwork:
        """All episodes, or as many as `budget_s` allows; at least one."""
        config, started = self.config, time.monotonic()
        self.warm_up()
        exploration = Exploration(config.epsilon_start, config.epsilon_end, config.episodes)
        for episode in range(config.episodes):
            if episode:
                self.buy(episode)
            self.believe()
            epsilon = exploration(episode)
            self.walk(epsilon)
            loss = float(np.mean([self.learn() for _ in range(config.gradient_steps)]))
            self.update_weight((episode + 1) / (EXPLORING_SHARE * config.episodes))
            self.history.loss.append(loss)
            self.history.weight.append(self.weight.value)
            self.history.epsilon.append(epsilon)
            self.history.labels.append(self.pool.spent)
            report(episode + 1)
            if budget_s is not None and time.monotonic() - started >= budget_s and episode + 1 < config.episodes:
                self.history.cut = True
                break
        return self.q_network

    @property
    def apart(self) -> int:
        """Windows between two bought ones: less than a window's length, as faults are short, but no close neighbours."""
        return max(1, self.config.window // APART_SHARE)

    def warm_up(self) -> None:
        """The first labels: there is no policy yet that could be uncertain."""
        count = min(self.pool.left, max(2, round(WARM_UP_SHARE * self.pool.left)))
        if count > 0:
            features = np.log(self.seen.peaks[self.first :] + LEAST_ERROR)
            error = self.seen.error[self.first :]
            self.pool.buy(first_queries(features, error, count, self.config.pool_limit, self.apart, self.seed))

    def buy(self, episode: int) -> None:
        """What is left of the budget, in equal parts over the first two thirds of the episodes."""
        rounds_left = max(2 * self.config.episodes // 3 - episode, 1)
        count = -(-self.pool.left // rounds_left)
        if count > 0:
            looked_at = spread_indices(len(self.pool), self.config.pool_limit)
            advantage = np.full(len(self.pool), np.inf, dtype=np.float32)
            advantage[looked_at] = advantages(self.vae, self.q_network, self.pool.bank.subset(looked_at))
            self.pool.buy(least_certain(advantage, self.pool.known, count, self.apart))

    def believe(self) -> None:
        """What the agent takes for true: the train part is normal, labels are right, and what they spread to."""
        self.believed[: self.first] = NORMAL
        self.told = np.concatenate([np.ones(self.first, dtype=bool), self.pool.known != UNKNOWN])
        pooled = self.pool.known.copy()
        windows, labels = spread_labels(
            self.seen.latent[self.first :],
            self.pool.known,
            count=self.config.spread,
            neighbours=self.config.neighbours,
            limit=self.config.pool_limit,
            random=self.random,
        )
        pooled[windows] = labels
        self.believed[self.first :] = pooled

    def walk(self, epsilon: float) -> None:
        """From every window that the pool's labels tell of and from some others, a few rows forward."""
        config = self.config
        pooled = self.believed[self.first :]
        # Both classes as often, however rare one is among the labels.
        told = [
            self.first + self.random.choice(members, config.walkers // 2)
            for members in (np.flatnonzero(pooled == NORMAL), np.flatnonzero(pooled == ANOMALOUS))
            if len(members)
        ]
        index = np.concatenate([*told, self.random.integers(0, len(self.bank), config.walkers)])
        flags = np.zeros((len(index), config.window), dtype=bool)
        for _ in range(config.walk):
            actions = self.act(index, flags, epsilon)
            self.replay.add(index, flags, actions)
            self.steps += len(index)
            following = self.bank.next[index]
            going_on = following != NOTHING_FOLLOWS
            flags = np.concatenate([flags[going_on, 1:], actions[going_on, None] == ANOMALOUS], axis=1)
            index = following[going_on]
            if not len(index):
                break

    def act(self, index: np.ndarray, flags: np.ndarray, epsilon: float) -> np.ndarray:
        """[b] actions: greedy, but for a share epsilon of random ones."""
        with torch.no_grad():
            values = self.q_network(states_of(self.vae, self.bank.take(index), _tensor(flags)))
        greedy = values.argmax(dim=1).numpy()
        random = self.random.integers(0, 2, len(index))
        return np.asarray(np.where(self.random.random(len(index)) < epsilon, random, greedy), dtype=np.int64)

    def learn(self) -> float:
        """One gradient step on transitions drawn at random; the loss."""
        index, flags, _ = self.replay.draw(self.config.q_batch, self.random)
        flags[self.random.random(len(index)) < self.config.flag_dropout] = False
        hint = np.where(self.told[index], 0.0, self.surprise[index])
        extrinsic = extrinsic_rewards(self.believed[index], self.config.reward_anomaly)
        extrinsic[~self.told[index]] *= self.config.spread_worth
        rewards = total_rewards(extrinsic, hint, self.weight.value)
        wanted = self.targets(index, flags, rewards)
        self.q_network.train()
        values = self.q_network(states_of(self.vae, self.bank.take(index), _tensor(flags)))
        self.q_network.eval()
        loss = nn.functional.smooth_l1_loss(values, wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.q_network.parameters(), GRADIENT_CLIP)
        self.optimizer.step()
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_every == 0:
            self.target.load_state_dict(self.q_network.state_dict())
        return float(loss.detach())

    def targets(self, index: np.ndarray, flags: np.ndarray, rewards: np.ndarray) -> Tensor:
        """[b, 2]: R(a) + gamma * max_a' Q_target(s'(a), a'); R(a) alone where nothing follows."""
        wanted = torch.from_numpy(rewards)
        going_on = np.flatnonzero(self.bank.next[index] != NOTHING_FOLLOWS)
        if self.config.gamma == 0 or not len(going_on):
            return wanted
        rows = self.bank.take(self.bank.next[index[going_on]])
        # Both successors in one pass: they differ in the last flag alone.
        last = np.repeat([False, True], len(going_on))[:, None]
        following = np.concatenate([np.tile(flags[going_on, 1:], (2, 1)), last], axis=1)
        with torch.no_grad():
            features = states_of(self.vae, rows, None).repeat(2, 1, 1)
            features[:, :, -1] = _tensor(following)
            best = self.target(features).max(dim=1).values.reshape(2, -1).T
        wanted[torch.from_numpy(going_on)] += self.config.gamma * best
        return wanted

    def update_weight(self, done: float) -> None:
        """lambda, by what the greedy policy earns on the labels that were given or bought."""
        told = self.first + np.flatnonzero(self.pool.known != UNKNOWN)
        told = told[self.random.permutation(len(told))[:_BATCH]]
        known = self.pool.known[told - self.first]
        actions = np.zeros(0, dtype=np.int64)
        if len(told):
            actions = self.act(told, np.zeros((len(told), self.config.window), dtype=bool), 0.0)
        self.weight.update(extrinsic_rewards(known, self.config.reward_anomaly), actions, done)


def states_of(vae: Vae, rows: Tensor, flags: Tensor | None = None) -> Tensor:
    """States of [b, W, C] windows; see `wheeltapper.models.rl_vae.graph.states`."""
    with torch.no_grad():
        residual = rows - vae(rows).reconstruction
    return states(residual, flags)


def _tensor(flags: np.ndarray) -> Tensor:
    return torch.from_numpy(flags.astype(np.float32))
