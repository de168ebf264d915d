"""Where labels come from: an operator, a labelled series, or disturbances of normal windows that nobody had to judge."""

from __future__ import annotations

import numpy as np

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.rl_vae.pool import LabelPool, pool_of_known, pool_of_labels
from wheeltapper.training.detectors.rl_vae.windows import WindowBank, bank_of_runs, bank_of_windows, joined
from wheeltapper.training.fitting.disturbances import disturbed_pool
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, LabelledWindows
from wheeltapper.training.fitting.prepared import PreparedSeries

# Of the pool that is made here: as many windows, of which that share may be bought. They cost nobody anything.
SELF_MADE_WINDOWS = 2000
SELF_MADE_SHARE = 0.25
LABEL_SHARE = 0.01


def choose_pool(
    prepared: PreparedSeries, config: RlVaeConfig, labelled: LabelledWindows | None, *, seed: int
) -> tuple[LabelPool, tuple[str, ...]]:
    """The operator's labels where there are some, else a self-made pool; and what the user should know of it.

    Raises:
        InputError: labelled windows that are shorter than the detector's, or of other channels.
    """
    if labelled is None or not len(labelled):
        return self_made_pool(prepared, config, seed), (
            "no labels were given: the Q-network learned from normal windows that were disturbed on purpose; it knows no "
            "real fault of this machine",
        )
    windows = operator_windows(prepared, labelled, config.window)
    labels = labelled.labels.astype(np.int8)
    origin = f"{len(labels)} windows that an operator judged"
    missing = [name for name, value in (("normal", NORMAL), ("anomalous", ANOMALOUS)) if not (labels == value).any()]
    if not missing:
        return pool_of_known(bank_of_windows(windows), labels, origin), ()
    # One class alone teaches to say always the same: the other comes from disturbances.
    made = self_made_pool(prepared, config, seed)
    bank = joined([bank_of_windows(windows), made.bank])
    count = len(labels)
    known = np.concatenate([labels, made.known])
    pool = LabelPool(
        bank,
        lambda index: made.oracle(index - count),
        made.budget,
        f"{origin}; {made.origin}",
        known,
        mostly_normal=False,
        made_up=True,
        judged=count,
    )
    return pool, (
        f"none of the {count} labelled windows is {missing[0]}: disturbed normal windows were learned from as well",
    )


def self_made_pool(prepared: PreparedSeries, config: RlVaeConfig, seed: int) -> LabelPool:
    """Normal windows of the train part, every other one disturbed."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(prepared.train_ends))[:SELF_MADE_WINDOWS])
    normal = bank_of_runs(prepared.rows, prepared.train_ends[chosen], config.window)
    windows, labels = disturbed_pool(normal.take(np.arange(len(normal))).numpy(), prepared.moving, random)
    budget = config.label_budget or max(2, round(SELF_MADE_SHARE * len(windows)))
    origin = f"{len(windows)} windows, half of them disturbed"
    return pool_of_labels(bank_of_windows(windows), labels, budget, origin, made_up=True)


def series_pool(
    prepared: PreparedSeries, values: np.ndarray, labels: np.ndarray, ends: np.ndarray, budget: int, origin: str
) -> LabelPool:
    """A pool over windows of labelled rows, e.g. an early stretch of a test part.

    Args:
        values: [n, C] raw units, without NaN. labels: [n]. ends: last rows of the windows.
        budget: labels that may be bought.
    """
    bank: WindowBank = bank_of_runs(to_z(prepared, values), ends, prepared.window)
    return pool_of_labels(bank, labels[ends], budget, origin)


def to_z(prepared: PreparedSeries, values: np.ndarray, clip: float = 1000.0) -> np.ndarray:
    """[.., C] raw units to z-scores by the train part alone, NaN to 0: what the graph does."""
    rows = np.clip((values - prepared.mean) / prepared.scale, -clip, clip)
    return np.nan_to_num(rows).astype(np.float32)


def operator_windows(prepared: PreparedSeries, labelled: LabelledWindows, window: int) -> np.ndarray:
    """[n, W, C] z-scores: the last W rows of each."""
    shape = labelled.windows.shape
    if len(shape) != 3 or shape[1] < window or shape[2] != prepared.channels:
        raise InputError(
            f"labelled windows are {list(shape)}, expected [n, {window} rows or more, {prepared.channels} channels]; train "
            "with the window that they were labelled with (--window), or ask for new labels"
        )
    return to_z(prepared, labelled.windows[:, -window:])
