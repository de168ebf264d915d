"""Labels count as far as they help with faults whose labels were held back."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.training.detectors.rl_vae.evidence import (
    UNPROVEN_WEIGHT,
    WEIGHTS,
    Evidence,
    cross_check,
    fault_groups,
    near,
)
from wheeltapper.training.detectors.rl_vae.pool import LabelPool, pool_of_known, pool_of_labels
from wheeltapper.training.detectors.rl_vae.sources import self_made_pool, series_pool
from wheeltapper.training.detectors.rl_vae.train import TrainedVae, normal_windows, train_vae
from wheeltapper.training.detectors.rl_vae.windows import bank_of_runs, bank_of_windows
from wheeltapper.training.fitting.trainer import TrainerOptions

CONFIG = RlVaeConfig(window=8, hidden=24, latent=3)
CHANNELS = 6


@cache
def trained() -> TrainedVae:
    rows = normal_rows(1600, CHANNELS, seed=7)
    return train_vae(
        make_series(rows), CONFIG, TrainerOptions(epochs=6, learning_rate=1e-3, batch_size=64, progress=False)
    )


def pool_with_faults(channels: tuple[int, ...]) -> LabelPool:
    """A pool with six faults, small beside a noise that is normal; fault k shows in the k-th channel of those given."""
    prepared = trained().prepared
    random = np.random.default_rng(0)
    rows = normal_rows(3200, CHANNELS, seed=7)[1600:]
    labels = np.zeros(len(rows), dtype=np.uint8)
    # Channel 0 is hit by harmless bursts, larger than any fault.
    for start in range(30, 1600, 80):
        rows[start : start + 10, 0] += 3 * prepared.scale[0] * random.choice([-1, 1])
    for number, start in enumerate(range(150, 1600, 240)):
        channel = channels[number % len(channels)]
        rows[start : start + 12, channel] += 1.5 * prepared.scale[channel]
        labels[start : start + 12] = 1
    ends = np.arange(CONFIG.window - 1, len(rows))
    pool = series_pool(prepared, rows, labels, ends, 400, "test")
    pool.buy(np.arange(0, len(pool), 4))
    return pool


def checked(pool: LabelPool) -> Evidence:
    vae = trained()
    held_out = bank_of_runs(vae.prepared.rows, vae.prepared.held_out_ends, CONFIG.window)
    return cross_check(vae.vae, pool, normal_windows(vae.prepared), held_out, CONFIG.advantage_clip)


def test_faults_that_repeat_earn_their_labels_weight() -> None:
    evidence = checked(pool_with_faults((3,)))
    assert evidence.weight > 0
    assert evidence.gains[evidence.weight] == max(evidence.gains.values()) > 0.1
    assert set(evidence.gains) == set(WEIGHTS)


def test_labels_that_tell_nothing_of_each_other_gain_nothing() -> None:
    # Given ten windows drawn at random that are called faults, a dozen times
    pool = pool_with_faults((3,))
    known = np.flatnonzero(pool.known >= 0)
    found = []
    for seed in range(12):
        pool.known[known] = 0
        pool.known[np.random.default_rng(seed).choice(known, 10, replace=False)] = 1
        found.append(checked(pool))
    # then there is no gain on average, and mostly the VAE is left alone
    assert abs(np.mean([evidence.gains[WEIGHTS[-1]] for evidence in found])) < 0.1
    assert np.mean([evidence.weight == 0 for evidence in found]) > 0.5


def test_what_cannot_be_cross_checked_counts_next_to_nothing() -> None:
    prepared = trained().prepared
    # one fault alone
    pool = pool_with_faults((3,))
    pool.known[300:] = np.where(pool.known[300:] >= 0, 0, -1)
    assert checked(pool).weight == UNPROVEN_WEIGHT
    # no fault
    pool.known[:] = np.where(pool.known >= 0, 0, -1)
    assert checked(pool).weight == 0.0
    # faults that were made up, however many
    made_up = self_made_pool(prepared, CONFIG, 0)
    made_up.buy(np.arange(200))
    assert checked(made_up).weight == UNPROVEN_WEIGHT


def test_an_operators_windows_are_cross_checked_too() -> None:
    pool = pool_with_faults((3,))
    known = np.flatnonzero(pool.known >= 0)
    windows = pool.bank.take(known).numpy()
    evidence = checked(pool_of_known(bank_of_windows(windows), pool.known[known], "operator"))
    assert evidence.weight > 0


def test_an_operators_few_faults_or_few_normal_windows_prove_nothing() -> None:
    pool = pool_with_faults((3,))
    known = np.flatnonzero(pool.known >= 0)
    anomalous, normal = known[pool.known[known] == 1], known[pool.known[known] == 0]
    for judged in (np.sort(np.concatenate([anomalous[:7], normal])), np.sort(np.concatenate([anomalous, normal[:19]]))):
        windows = bank_of_windows(pool.bank.take(judged).numpy())
        assert checked(pool_of_known(windows, pool.known[judged], "operator")).weight == UNPROVEN_WEIGHT


def test_what_tells_later_from_earlier_is_no_skill_of_an_operators_labels() -> None:
    # given windows after a drift, of which an operator called a dozen drawn at random faulty: labels that teach nothing
    rows = normal_rows(3200, CHANNELS, seed=7)[1600:]
    rows[:, 2] += 4 * trained().prepared.scale[2]
    later = series_pool(
        trained().prepared, rows, np.zeros(len(rows), np.uint8), np.arange(CONFIG.window - 1, len(rows)), 0, "test"
    )
    chosen = np.arange(0, 1500, 12)
    windows = bank_of_windows(later.bank.take(chosen).numpy())
    weights = []
    for seed in range(4):
        labels = np.zeros(len(chosen), dtype=np.uint8)
        labels[np.random.default_rng(seed).choice(len(chosen), 12, replace=False)] = 1
        weights.append(checked(pool_of_known(windows, labels, "operator")).weight)
    # then hardly any weight is given to them: beside the train part they would all have looked proven
    assert np.mean([weight > 0 for weight in weights]) < 0.5


def test_neighbouring_windows_of_one_fault_are_one_group() -> None:
    bank = bank_of_runs(np.zeros((1000, 1), np.float32), np.arange(7, 1000), 8)
    pool = pool_of_labels(bank, np.zeros(len(bank)), 10, "test")
    groups = fault_groups(np.array([10, 12, 40, 300, 310, 900]), pool, 32)
    assert groups.tolist() == [0, 0, 0, 1, 1, 2]


def test_near_by_hand() -> None:
    assert near(np.array([0, 4, 9]), np.array([5]), 2).tolist() == [False, True, False]
    assert near(np.array([0, 4]), np.zeros(0, dtype=np.int64), 2).tolist() == [False, False]


@pytest.mark.parametrize("beta", [3.0, 12.0])
def test_a_weight_given_by_hand_is_kept(beta: float) -> None:
    from wheeltapper.training.detectors.rl_vae.train import train_agent

    config = RlVaeConfig(
        window=8, hidden=24, latent=3, q_hidden=4, beta=beta, episodes=1, gradient_steps=1, walkers=16, pool_limit=100
    )
    pool = self_made_pool(trained().prepared, config, 0)
    assert train_agent(trained(), config, pool, seed=0).parameters["label_weight"] == pytest.approx(1 / beta)
