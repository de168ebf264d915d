"""How much the labels may say beside the VAE: as much as helps to find faults whose labels were held back.

Labels of a few faults tell of the next one where faults are alike, and mislead where they are not. So the bought labels are
cross-checked: known anomalies are put into groups, one group a fault; a stand-in for the Q-network, a linear classifier of
the very states, learns from all labels but those of one group; and that group's windows are ranked among the presumed normal
ones by log e + w * clip(z) for several weights w. The best weight is taken; where none is clearly better than 0, the VAE's
error stands alone. Nothing but the pool and the train part is looked at.

An operator's pool has no windows that one could presume normal: there a part of those called normal is held back with each group,
and the group is ranked among them. Windows of the train part would not do: whatever tells later from earlier would pass for skill.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from wheeltapper.models.rl_vae.qnetwork import LEAST_SPREAD, STATE_CLIP
from wheeltapper.models.rl_vae.vae import Vae
from wheeltapper.training.detectors.rl_vae.agent import look, states_of
from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN, LabelPool
from wheeltapper.training.detectors.rl_vae.queries import spread_indices
from wheeltapper.training.detectors.rl_vae.windows import WindowBank
from wheeltapper.training.fitting.labels import ANOMALOUS

# 1 / beta. A ratio of 1.5 or so between neighbours is as fine as a handful of faults can tell.
WEIGHTS = (0.0, 1 / 12, 1 / 6, 1 / 4, 1 / 3)
# Gain in mean -log(share of normal windows that rank above a fault) that is no accident.
LEAST_GAIN = 0.03
# Where faults were made up, or nothing can be cross-checked: next to nothing.
UNPROVEN_WEIGHT = 0.03
MOST_GROUPS = 5
# Windows of one fault are no farther apart than that many window lengths; so near to a known one, others are no normal ones.
GROUP_GAP, SHADOW = 4, 2.5
NORMAL_WINDOWS, LEAST_BACKGROUND = 2000, 200
# Of windows that an operator judged: with fewer normal ones nothing can be cross-checked, with fewer faults it would be luck.
LEAST_CALLED_NORMAL, LEAST_CALLED_ANOMALOUS = 20, 8
LEAST_SHARE = 0.002
INVERSE_PENALTY = 0.01


@dataclass(frozen=True)
class Evidence:
    """
    Attributes:
        weight: chosen, 1 / beta.
        gains: by weight, against the VAE alone; empty where nothing could be cross-checked.
    """

    weight: float
    gains: dict[float, float] = field(default_factory=dict)


def cross_check(
    vae: Vae, pool: LabelPool, normal: WindowBank, held_out: WindowBank, clip: float, trust: np.ndarray | None = None
) -> Evidence:
    """Choose the weight of the advantage.

    Args:
        normal: windows of the train part that the stand-in learns from.
        held_out: windows of the train part that faults are ranked among where the pool has too few for that.
        clip: of the advantage, deviations.
        trust: [C], weights of the channels in the VAE's error.
    """
    known = np.flatnonzero(pool.known != UNKNOWN)
    anomalous = np.flatnonzero(pool.known == ANOMALOUS)
    groups = fault_groups(anomalous, pool, GROUP_GAP * pool.bank.window)
    if pool.made_up or not len(anomalous) or groups.max() < 1:
        return Evidence(UNPROVEN_WEIGHT if len(anomalous) else 0.0)
    reach = round(SHADOW * pool.bank.window) if pool.mostly_normal else 0
    chosen = np.union1d(known, spread_indices(len(pool), NORMAL_WINDOWS)) if pool.mostly_normal else known
    background = chosen[~near(chosen, anomalous, max(reach, 1))]
    if not pool.mostly_normal and (len(background) < LEAST_CALLED_NORMAL or len(anomalous) < LEAST_CALLED_ANOMALOUS):
        return Evidence(UNPROVEN_WEIGHT)
    # Rows of the pool where there are enough: all are later than the train part, and that must not pass for a fault.
    quiet = held_out.subset(spread_indices(len(held_out), 1 if len(background) >= LEAST_BACKGROUND else NORMAL_WINDOWS))
    learnt = _summary(vae, normal.subset(spread_indices(len(normal), NORMAL_WINDOWS)))
    sold, rest = _summary(vae, pool.bank.subset(chosen)), _summary(vae, quiet)
    errors = [look(vae, bank, trust).error for bank in (pool.bank.subset(chosen), quiet)]
    log_error = np.log(np.concatenate(errors))
    everything = np.concatenate([sold, rest])
    usual = np.concatenate([np.searchsorted(chosen, background), np.arange(len(chosen), len(everything))])
    found: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for group in range(groups.max() + 1):
        held_back = anomalous[groups == group]
        kept = known[~near(known, held_back, max(reach, 1))]
        if not pool.mostly_normal:
            called_normal = background[np.arange(len(background)) % (groups.max() + 1) == group]
            usual = np.searchsorted(chosen, called_normal)
            kept = np.setdiff1d(kept, called_normal)
        if not (pool.known[kept] == ANOMALOUS).any():
            continue
        advantage = _stand_in(sold[np.searchsorted(chosen, kept)], pool.known[kept] == ANOMALOUS, learnt, everything)
        places = np.searchsorted(chosen, held_back)
        for weight in WEIGHTS:
            scores = log_error + weight * np.clip(advantage, -clip, clip)
            ordered = np.sort(scores[usual])
            above = 1 - np.searchsorted(ordered, scores[places]) / len(ordered)
            found[weight] += (-np.log(above + LEAST_SHARE)).tolist()
    gains = {weight: float(np.mean(values) - np.mean(found[0.0])) for weight, values in found.items() if values}
    best = max(gains, key=lambda weight: gains[weight], default=0.0)
    least = LEAST_GAIN
    if not pool.mostly_normal and gains:
        # A few faults among a few normal windows: what is less than its own standard error is an accident.
        least = max(least, float(np.std(np.subtract(found[best], found[0.0])) / np.sqrt(len(found[best]))))
    return Evidence(best if gains.get(best, 0.0) >= least else 0.0, gains)


def fault_groups(anomalous: np.ndarray, pool: LabelPool, gap: int) -> np.ndarray:
    """[k] group of each known anomaly, at most `MOST_GROUPS`: of a series one a fault, of windows that stand alone by order."""
    if not pool.mostly_normal:
        return np.arange(len(anomalous)) * min(MOST_GROUPS, len(anomalous)) // max(len(anomalous), 1)
    fault = np.cumsum(np.diff(anomalous, prepend=anomalous[:1]) > gap)
    return np.asarray(fault % MOST_GROUPS)


def near(indices: np.ndarray, others: np.ndarray, reach: int) -> np.ndarray:
    """[n] bool: which of `indices` are less than `reach` away from one of `others`."""
    return np.asarray((np.abs(indices[:, None] - others[None, :]) < reach).any(axis=1))


def _summary(vae: Vae, bank: WindowBank) -> np.ndarray:
    """[m, 2 F]: mean and last row of the states, the flag column left out; what the Q-network's linear path sees."""
    parts = []
    for part in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // 512))):
        states = states_of(vae, bank.take(part))[:, :, :-1]
        parts.append(torch.cat([states.mean(dim=1), states[:, -1]], dim=1).numpy())
    return np.concatenate(parts)


def _stand_in(sold: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """z of a linear classifier's decision on `judged`, by normal windows; labels weigh as much as the train part."""
    from sklearn.linear_model import LogisticRegression

    usual = np.concatenate([normal, judged])
    center, spread = usual.mean(axis=0), usual.std(axis=0) + LEAST_SPREAD

    def scaled(features: np.ndarray) -> np.ndarray:
        return np.clip((features - center) / spread, -STATE_CLIP, STATE_CLIP)

    target = np.concatenate([anomalous, np.zeros(len(normal), dtype=bool)])
    weight = np.concatenate([np.full(len(sold), len(normal) / len(sold)), np.ones(len(normal))])
    weight[target] *= weight[~target].sum() / weight[target].sum()
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=200)
    model.fit(scaled(np.concatenate([sold, normal])), target, sample_weight=weight / weight.mean())
    quiet = model.decision_function(scaled(normal))
    return np.asarray((model.decision_function(scaled(judged)) - quiet.mean()) / max(quiet.std(), 1e-6))
