"""What the agent is paid, and the schedules of what it is paid for.

R(a) = R1(y, a) [known labels only] + lambda * g * (2 a - 1),   g = clip((log e - median) / IQR, -1, 3)

R1: normal called normal +1, called anomalous -1; anomaly found +r, missed -r. e is the VAE's error, median and IQR are of
windows that are normal or nearly all so: a window that the VAE finds strange pays for being called so, one that it finds
ordinary costs. The logarithm, because errors spread over decades. Where a person has said what the window is, g is 0: a
hint must not outvote the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.training.detectors.rl_vae.pool import UNKNOWN
from wheeltapper.training.fitting.labels import ANOMALOUS

SURPRISE_LEAST, SURPRISE_MOST = -1.0, 3.0
LEAST_ERROR, LEAST_SPREAD = 1e-6, 1e-3
# Of a run: exploration ends there, and the intrinsic reward is down to its least.
EXPLORING_SHARE = 0.8


@dataclass(frozen=True)
class Surprise:
    """g as a function of the VAE's error, by median and interquartile range of its logarithm over usual windows."""

    median: float
    spread: float

    @classmethod
    def of(cls, normal_errors: np.ndarray) -> Surprise:
        low, median, high = np.percentile(np.log(normal_errors + LEAST_ERROR), [25, 50, 75])
        return cls(float(median), float(max(high - low, LEAST_SPREAD)))

    def __call__(self, errors: np.ndarray) -> np.ndarray:
        """[n] errors to [n] float32 in [-1, 3]."""
        scaled = (np.log(errors + LEAST_ERROR) - self.median) / self.spread
        return np.clip(scaled, SURPRISE_LEAST, SURPRISE_MOST).astype(np.float32)


def extrinsic_rewards(labels: np.ndarray, reward_anomaly: float) -> np.ndarray:
    """[n] labels, `UNKNOWN` among them, to [n, 2] float32: R1 of calling each normal, anomalous; 0 where unknown."""
    worth = np.select([labels == UNKNOWN, labels == ANOMALOUS], [0.0, -reward_anomaly], 1.0)
    return np.stack([worth, -worth], axis=1).astype(np.float32)


def total_rewards(extrinsic: np.ndarray, surprise: np.ndarray, weight: float) -> np.ndarray:
    """[n, 2] R1 and [n] g to [n, 2] float32: R of both actions."""
    return (extrinsic + weight * surprise[:, None] * np.array([-1.0, 1.0])).astype(np.float32)


@dataclass
class IntrinsicWeight:
    """lambda <- clip(lambda + rate * (target - mean reward of a step), least, ceiling).

    It is the mean, not the sum, so that the rate does not depend on how many windows an episode has. The target is a share of
    the largest mean reward that the labels allow: once the agent earns more, lambda falls. The ceiling falls from `most` to
    `least` over the run, as labels come in: the VAE's word is in the score already, the last word here is the labels'.
    """

    value: float
    least: float
    most: float
    rate: float
    target_share: float

    def update(self, extrinsic: np.ndarray, actions: np.ndarray, done: float = 0.0) -> float:
        """Args:
        extrinsic: [n, 2], of the steps with a known label. actions: [n], what the policy does.
        done: share of the run that lies behind, 0 to 1.
        """
        if len(extrinsic):
            earned = float(extrinsic[np.arange(len(actions)), actions].mean())
            target = self.target_share * float(extrinsic.max(axis=1).mean())
            self.value += self.rate * (target - earned)
        ceiling = self.most + (self.least - self.most) * min(max(done, 0.0), 1.0)
        self.value = float(np.clip(self.value, self.least, ceiling))
        return self.value


@dataclass(frozen=True)
class Exploration:
    """Share of random actions: linear from `start` to `end` over the first `share` of the steps that will be made."""

    start: float
    end: float
    steps: int
    share: float = EXPLORING_SHARE

    def __call__(self, step: int) -> float:
        done = min(step / max(self.share * self.steps, 1.0), 1.0)
        return self.start + (self.end - self.start) * done
