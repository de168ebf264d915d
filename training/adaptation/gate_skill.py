"""Recall and AUROC over windows that are not independent, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Skill:
    """Recall and AUROC over windows, each with its disturbed copies.

    Attributes:
        recall: [m] share of each window's faults at or above the level.
        area: [m] each window's part in the AUROC, so that their mean is twice the AUROC (DeLong's placements, Biometrics 44, 1988).
    """

    recall: np.ndarray
    area: np.ndarray

    @property
    def auroc(self) -> float:
        return float(self.area.mean()) / 2


def skill_of(normal: np.ndarray, faults: Mapping[str, np.ndarray], level: float) -> Skill:
    """
    Args:
        normal: [m]; faults: kind -> [m].
    """
    disturbed = np.stack(list(faults.values()), axis=1)  # [m, kinds]
    recall = (disturbed >= level).mean(axis=1)
    above = share_below(normal, disturbed.ravel()).reshape(disturbed.shape).mean(axis=1)
    below = 1 - share_below(disturbed.ravel(), normal)
    return Skill(recall, above + below)


def share_below(others: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[k]: for each of `values` the share of `others` below it; equal ones count half."""
    ordered = np.sort(others)
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    share: np.ndarray = (left + right) / (2 * len(ordered))
    return share


def margin(values: np.ndarray, blocks: np.ndarray, z: float) -> float:
    """How far the mean of [m] values may be from the true one, to one side.

    Values of one block count as one witness, however they depend on each other. Where blocks are few, the error itself is uncertain:
    the normal quantile `z` becomes Student's (Cornish-Fisher).

    Args:
        blocks: [m]; empty: each value is its own block.
        z: in standard errors.
    """
    if len(blocks):
        _, places = np.unique(blocks, return_inverse=True)
        sums = np.bincount(places, weights=values - values.mean())
    else:
        sums = values - values.mean()
    count = len(sums)
    if count < 2:
        return math.inf
    error = math.sqrt(float((sums**2).sum()) * count / (count - 1)) / len(values)
    freedom = count - 1
    student = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return student * error


def most_share(share: float, count: int, z: float) -> float:
    """Wilson's upper bound of a share that was found among `count`."""
    middle = share + z**2 / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (middle + spread) / (1 + z**2 / count)


def enough_to_bound(share: float, z: float) -> int:
    """Trials without a loss that show that the true share of losses is not above `share`, by Wilson's bound."""
    return math.ceil(z**2 * (1 - share) / share)
