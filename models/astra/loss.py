"""Contrastive losses over two views of every clip of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor


def contrastive(first: Tensor, second: Tensor, temperature: float, labels: Tensor | None = None) -> Tensor:
    """Mean over the 2 B views of -log of the softmax that a view gives to its positives among all other views.

    Without labels a view's one positive is the other view of its clip (NT-Xent, Chen et al. 2020); with labels every view of the
    same label is one, and a view's loss is the mean over them (SupCon, Khosla et al. 2020, the sum outside of the logarithm).

    Args:
        first, second: [B, D] the two views' embeddings, of any length: they are compared by their cosine.
        labels: [B] int64, what clips have in common, e.g. machine and operating point.
    """
    views = functional.normalize(torch.cat([first, second]), dim=1, eps=1e-8)
    count = len(first)
    similarity = views @ views.T / temperature
    own = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    log_share = similarity - torch.logsumexp(similarity.masked_fill(own, -torch.inf), dim=1, keepdim=True)
    if labels is None:
        labels = torch.arange(count, device=views.device)
    both = torch.cat([labels, labels])
    positive = (both[:, None] == both[None, :]) & ~own
    return -(log_share.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()


def chance(clips: int) -> float:
    """The loss of embeddings that say nothing, for a batch of so many clips: what makes batches of any size comparable."""
    return float(torch.log(torch.tensor(max(2.0 * clips - 1.0, 1.0))))
