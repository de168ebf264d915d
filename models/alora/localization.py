"""ALoRa-Loc: which channels caused the error, from the weights alone.

Rows of attention sum to 1, so attention moves mass along time and leaves the path between channels to the linear
maps: with row vectors, B = prod_l (I + W_V W_O), E = W' B and K = E W_dec. K[s, j] is what input channel s adds to
output channel j. LayerNorms and biases are ignored by construction.
"""

from __future__ import annotations

import numpy as np
import torch

from wheeltapper.models.alora.config import Localization
from wheeltapper.models.alora.model import AloraNetwork


def contribution_matrix(network: AloraNetwork) -> np.ndarray:
    """K, [C, C] float64: input channel (row) to output channel (column)."""
    with torch.no_grad():
        path = network.embedding.mixing().double()  # [C, d]; the moving average's taps sum to 1
        for layer in network.layers:
            attention = layer.attention
            path = path + path @ attention.value.weight.double().T @ attention.out.weight.double().T
        return np.asarray((path @ network.decoder.weight.double().T).cpu().numpy())


def blame_matrix(contributions: np.ndarray, direction: Localization, top: int = 2) -> np.ndarray:
    """M, [C, C] with rows that sum to 1: localization = q M, q the squared error by output channel.

    'paper': row s of |K|, its `top` largest entries, normalised; q is indexed by output channel although the rows
    are input channels, as published. 'backward': the error of output j goes to the inputs that feed it, in
    proportion to column j of |K|. 'error': the identity. A channel without any entry (constant in training, so
    in no pair) keeps its own error.

    Args:
        contributions: K.
        top: entries kept a row (of M); 0 keeps all.
    """
    size = len(contributions)
    if direction == "error":
        return np.eye(size)
    strength = np.abs(contributions if direction == "paper" else contributions.T)
    if 0 < top < size:
        # Stable and descending: of equal entries the first channel stays.
        order = np.argsort(-strength, axis=1, kind="stable")
        np.put_along_axis(strength, order[:, top:], 0.0, axis=1)
    total = strength.sum(axis=1, keepdims=True)
    empty = ~(total[:, 0] > 0)
    blame = strength / np.where(total > 0, total, 1.0)
    blame[empty] = np.eye(size)[empty]
    return blame
