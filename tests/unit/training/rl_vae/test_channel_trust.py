"""A channel's error counts as far as windows that are known to be normal trust it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.training.detectors.rl_vae.channel_trust import channel_trust
from wheeltapper.training.detectors.rl_vae.pool import LabelPool
from wheeltapper.training.detectors.rl_vae.sources import choose_pool, self_made_pool, series_pool
from wheeltapper.training.detectors.rl_vae.train import TrainedVae, train_vae
from wheeltapper.training.detectors.rl_vae.windows import WindowBank, bank_of_runs
from wheeltapper.training.fitting.labels import LabelledWindows
from wheeltapper.training.fitting.trainer import TrainerOptions

CONFIG = RlVaeConfig(window=8, hidden=24, latent=3)
CHANNELS, DRIFTED = 6, 2


@cache
def trained() -> TrainedVae:
    rows = normal_rows(1600, CHANNELS, seed=7)
    return train_vae(
        make_series(rows), CONFIG, TrainerOptions(epochs=6, learning_rate=1e-3, batch_size=64, progress=False)
    )


def held_out() -> WindowBank:
    return bank_of_runs(trained().prepared.rows, trained().prepared.held_out_ends, CONFIG.window)


def later_rows(*, faults: bool) -> LabelPool:
    """Rows after the train part: one channel has drifted four deviations for good; faults are in another one."""
    prepared = trained().prepared
    rows = normal_rows(3200, CHANNELS, seed=7)[1600:]
    rows[:, DRIFTED] += 4 * prepared.scale[DRIFTED]
    labels = np.zeros(len(rows), dtype=np.uint8)
    if faults:
        labels[400:800] = 1
        rows[400:800, 0] += 30 * prepared.scale[0]
    ends = np.arange(CONFIG.window - 1, len(rows))
    return series_pool(prepared, rows, labels, ends, 400, "test")


def test_a_channel_that_has_drifted_is_trusted_less_than_the_others() -> None:
    # given a pool in which one channel has drifted, when 100 windows have been labelled
    pool = later_rows(faults=False)
    pool.buy(np.arange(0, 1000, 10))
    trust = channel_trust(trained().vae, pool, held_out())
    # then that channel counts for a fraction of the others; it has drawn the reconstruction of all of them away
    assert trust is not None
    assert trust.dtype == np.float32
    assert int(trust.argmin()) == DRIFTED
    assert trust[DRIFTED] < np.delete(trust, DRIFTED).min() / 3


def test_anomalous_labels_do_not_cost_the_channels_of_the_fault_their_trust() -> None:
    # given labels of which a third are of faults in channel 0
    pool = later_rows(faults=True)
    pool.buy(np.arange(0, 1200, 10))
    assert (pool.known == 1).sum() > 30
    # then channel 0 is trusted as if there had been none
    trust = channel_trust(trained().vae, pool, held_out())
    assert trust is not None
    assert trust[0] > 0.5


def test_a_handful_of_labels_moves_little() -> None:
    pool = later_rows(faults=False)
    pool.buy(np.arange(4))
    few = channel_trust(trained().vae, pool, held_out())
    pool.buy(np.arange(0, 1000, 10))
    many = channel_trust(trained().vae, pool, held_out())
    assert few is not None
    assert many is not None
    assert few[DRIFTED] > 2 * many[DRIFTED]


def test_an_operator_who_only_ever_says_normal_is_heard() -> None:
    # given 60 windows after the drift that an operator called normal, and no fault that was ever labelled
    later = later_rows(faults=False)
    windows = later.bank.take(np.arange(0, 600, 10)).numpy()
    raw = (windows * trained().prepared.scale + trained().prepared.mean).astype(np.float32)
    answers = LabelledWindows(raw, np.zeros(len(raw), np.uint8), np.arange(len(raw)))
    # when the missing faults are made up
    pool, warnings = choose_pool(trained().prepared, CONFIG, answers, seed=0)
    assert "none of the 60 labelled windows is anomalous" in warnings[0]
    # then the drifted channel is trusted less all the same
    trust = channel_trust(trained().vae, pool, held_out())
    assert trust is not None
    assert trust[DRIFTED] < np.delete(trust, DRIFTED).min() / 3


@pytest.mark.parametrize("bought", ["made up", "nothing"])
def test_without_a_label_of_later_normal_operation_all_channels_count_alike(bought: str) -> None:
    pool = later_rows(faults=False)
    if bought == "made up":
        pool = self_made_pool(trained().prepared, CONFIG, 0)
        pool.buy(np.arange(20))
    assert channel_trust(trained().vae, pool, held_out()) is None
