"""Windows of several sources, the account of labels, and which ones are bought."""

from __future__ import annotations

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN, pool_of_known, pool_of_labels
from wheeltapper.training.detectors.rl_vae.queries import first_queries, least_certain, spread_labels, spread_out
from wheeltapper.training.detectors.rl_vae.windows import NOTHING_FOLLOWS, bank_of_runs, bank_of_windows, joined
from wheeltapper.training.fitting.disturbances import DISTURBANCES, disturbed_pool


def numbered_bank(count: int = 40, window: int = 4):  # type: ignore[no-untyped-def]
    rows = np.arange(count + window - 1, dtype=np.float32)[:, None]
    return bank_of_runs(rows, np.arange(window - 1, len(rows)), window)


def test_no_window_of_one_source_follows_one_of_another() -> None:
    # Bug 5, 9: train, pool and the end of a run are ends of an episode. Given a run with a gap and windows that stand alone
    rows = np.arange(20, dtype=np.float32)[:, None]
    run = bank_of_runs(rows, np.array([3, 4, 5, 12, 13]), 4)
    alone = bank_of_windows(np.zeros((2, 4, 1)))
    both = joined([run, alone])
    # then only neighbours of the run follow each other
    assert both.next.tolist() == [1, 2, NOTHING_FOLLOWS, 4, NOTHING_FOLLOWS, NOTHING_FOLLOWS, NOTHING_FOLLOWS]
    assert both.take(np.array([1]))[0, :, 0].tolist() == [1, 2, 3, 4]
    assert both.take(np.array([6]))[0, :, 0].tolist() == [0, 0, 0, 0]


def test_subset_keeps_successors_that_were_taken_too() -> None:
    part = numbered_bank().subset(np.array([3, 4, 9]))
    assert part.next.tolist() == [1, NOTHING_FOLLOWS, NOTHING_FOLLOWS]


def test_budget_is_global_and_never_exceeded() -> None:
    # Bug 7: the authors buy anew each episode. Given a budget of 7 and buyers that want 5 again and again
    bank = numbered_bank()
    pool = pool_of_labels(bank, np.arange(len(bank)) % 2, 7, "test")
    bought = [len(pool.buy(np.arange(start, start + 5))) for start in (0, 0, 5, 10, 15)]
    assert bought == [5, 0, 2, 0, 0]
    assert (pool.spent, pool.left) == (7, 0)
    assert np.count_nonzero(pool.known != UNKNOWN) == 7
    assert pool.known[:7].tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_a_label_wanted_twice_is_paid_once() -> None:
    bank = numbered_bank()
    pool = pool_of_labels(bank, np.zeros(len(bank)), 10, "test")
    assert pool.buy(np.array([3, 3, 2, 3])).tolist() == [3, 2]
    assert pool.spent == 2


def test_copies_of_an_environment_share_no_labels() -> None:
    # Bugs 5 and 6: the authors' test environment is their training environment, labels and reward included.
    bank = numbered_bank()
    pool = pool_of_labels(bank, np.ones(len(bank)), 10, "test")
    pool.buy(np.arange(4))
    copy = pool.fresh()
    assert copy.spent == 0
    assert (copy.known == UNKNOWN).all()
    copy.buy(np.array([20]))
    assert pool.known[20] == UNKNOWN
    assert pool.spent == 4


def test_labels_that_an_operator_gave_cost_nothing() -> None:
    bank = bank_of_windows(np.zeros((3, 4, 1)))
    pool = pool_of_known(bank, np.array([0, 1, 0]), "operator")
    assert pool.left == 0
    assert len(pool.buy(np.arange(3))) == 0


@pytest.mark.parametrize("labels", [np.zeros(3), np.full(40, 2)])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="label"):
        pool_of_labels(numbered_bank(), labels, 5, "test").buy(np.arange(5))


def test_least_certain_windows_are_bought_first_and_apart() -> None:
    advantage = np.abs(np.arange(40) - 20.0)
    known = np.full(40, UNKNOWN, dtype=np.int8)
    assert least_certain(advantage, known, 3, apart=4).tolist() == [20, 16, 24]
    # what is known is neither bought nor crowded
    known[20] = 0
    assert least_certain(advantage, known, 2, apart=4).tolist() == [16, 24]


def test_windows_too_close_are_taken_only_where_others_run_out() -> None:
    assert spread_out(np.arange(6), 4, apart=3).tolist() == [0, 3, 1, 2]


def test_isolation_forest_buys_the_strangest_first() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((400, 3))
    features[123] += 50
    features[300] -= 50
    # and of two windows that stand apart, the one that the VAE explains worse than most
    found = first_queries(features, features[:, 0], 6, limit=1000, apart=5, seed=0)
    assert found[0] == 123
    assert 300 not in found


def test_labels_spread_to_neighbours_in_latent_space() -> None:
    # Given two clouds of windows and one label of each
    random = np.random.default_rng(0)
    latent = np.concatenate([random.normal(0, 1, (100, 2)), random.normal(20, 1, (100, 2))])
    known = np.full(200, UNKNOWN, dtype=np.int8)
    known[[0, 100]] = 0, 1
    windows, labels = spread_labels(latent, known, count=50, neighbours=10, limit=5000, random=random)
    assert len(windows) == 50
    assert (labels == (windows >= 100)).all()
    assert not np.isin(windows, [0, 100]).any()


def test_spreading_looks_at_no_more_windows_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bug 8: a dense kernel over a whole pool needs n^2 memory.
    import sklearn.semi_supervised

    seen = {}

    class Watched(sklearn.semi_supervised.LabelSpreading):  # type: ignore[misc]
        def fit(self, points: np.ndarray, labels: np.ndarray):  # type: ignore[no-untyped-def]
            seen["kernel"], seen["neighbours"], seen["points"] = self.kernel, self.n_neighbors, len(points)
            return super().fit(points, labels)

    monkeypatch.setattr(sklearn.semi_supervised, "LabelSpreading", Watched)
    known = np.full(3000, UNKNOWN, dtype=np.int8)
    known[:40] = np.arange(40) % 2
    latent = np.random.default_rng(0).standard_normal((3000, 2))
    spread_labels(latent, known, count=20, neighbours=10, limit=300, random=np.random.default_rng(1))
    assert seen == {"kernel": "knn", "neighbours": 10, "points": 300}


def test_one_class_alone_does_not_spread() -> None:
    known = np.full(50, UNKNOWN, dtype=np.int8)
    known[:5] = 0
    latent = np.random.default_rng(0).standard_normal((50, 2))
    windows, labels = spread_labels(latent, known, count=9, neighbours=5, limit=50, random=np.random.default_rng(0))
    assert len(windows) == len(labels) == 0


def test_made_up_faults_reach_the_last_row_and_are_labelled() -> None:
    normal = np.random.default_rng(0).standard_normal((60, 16, 4)).astype(np.float32)
    moving = np.array([True, True, True, False])
    windows, labels = disturbed_pool(normal, moving, np.random.default_rng(1))
    changed = (windows != normal).any(axis=(1, 2))
    assert (changed == (labels == 1)).all()
    assert changed.mean() == 0.5
    assert (windows[changed][:, -1] != normal[changed][:, -1]).any(axis=1).all()
    # a channel that never moves is left alone, and the given windows as they were
    assert (windows[:, :, 3] == normal[:, :, 3]).all()


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda one: one.__name__)
def test_each_kind_of_fault_is_visible_in_one_channel(disturb) -> None:  # type: ignore[no-untyped-def]
    still = np.zeros((25, 1), dtype=np.float32)
    found = disturb(still.copy(), np.random.default_rng(0))
    assert np.abs(found[-1]).max() > 0.5
