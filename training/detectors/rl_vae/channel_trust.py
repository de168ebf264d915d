"""How far each channel's error is to be trusted, by windows that are known to be normal.

A channel that the VAE explains badly even where somebody has said "normal" has drifted since it was trained, or was never
explained; its error says little. So a channel's squared residual counts 1 / (1 + u / k): u is what is usual for it among
labelled normal windows and held-out ones of the train part, k one variance of the train part. Anomalous labels play no
part here, and no later row does.
"""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.rl_vae.vae import Vae
from wheeltapper.training.detectors.rl_vae.pool import LabelPool
from wheeltapper.training.detectors.rl_vae.queries import spread_indices
from wheeltapper.training.detectors.rl_vae.windows import WindowBank
from wheeltapper.training.fitting.labels import NORMAL

# Of the windows: the mean would be that of the few that no label should judge a channel by.
USUAL_QUANTILE = 0.8
HALF_TRUSTED = 1.0
# Held-out windows that stand beside the labelled ones: as many, but so many at least, so that few labels move little.
LEAST_HELD_OUT = 50
_BATCH = 512


def channel_trust(vae: Vae, pool: LabelPool, held_out: WindowBank) -> np.ndarray | None:
    """[C] float32 in (0, 1]: share of each channel's squared residual that counts.

    Args:
        held_out: windows of the train part that the VAE was not trained on.

    Returns:
        None where no label tells of later normal operation; windows of the train part that were disturbed do not.
    """
    normal = np.flatnonzero(pool.known[: pool.judged] == NORMAL)
    if not len(normal):
        return None
    beside = held_out.subset(spread_indices(len(held_out), max(len(normal), LEAST_HELD_OUT)))
    squares = np.concatenate([_mean_squares(vae, pool.bank.subset(normal)), _mean_squares(vae, beside)])
    usual = np.quantile(squares, USUAL_QUANTILE, axis=0)
    return np.asarray(1 / (1 + usual / HALF_TRUSTED), dtype=np.float32)


def _mean_squares(vae: Vae, bank: WindowBank) -> np.ndarray:
    """[m, C]: mean squared residual of each window and channel, z-scores."""
    parts = []
    with torch.no_grad():
        for part in np.array_split(np.arange(len(bank)), max(1, -(-len(bank) // _BATCH))):
            rows = bank.take(part)
            parts.append(((rows - vae(rows).reconstruction) ** 2).mean(dim=1).numpy())
    return np.concatenate(parts)
