"""The back end: distances of an embedding to the centroids of normal operation, one set a domain, fused by the least.

z of unit length; x = PCA(z); m(z) = min_k (x - mu_k)' P_k (x - mu_k); c(z) = min_k (1 - z . u_k); the score of a domain is
w (m - mean_m) / std_m + (1 - w) (c - mean_c) / std_c, the score of a clip the least of its domains' scores: which domain a clip is
of, nobody knows in operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wheeltapper.models.astra.config import AstraConfig

SOURCE, TARGET = "source", "target"
# Clips a cluster is worth, where the number of clusters follows the number of clips.
CLIPS_PER_CLUSTER = 10
# Score of what is usual. At 0 a difference of two distances would be all rounding.
USUAL = 10.0
# A distance that hardly varied while fitting does not make everything else infinitely far.
LEAST_DEVIATION = 1e-2
# No direction of an embedding of unit length is known better than to that variance.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Domain:
    """What is normal in one domain.

    Attributes:
        name: 'source' or 'target'.
        offset, axes: [D] and [p, D] of the PCA.
        centroids: [K, p].
        covariance, whitening: [K, p, p]; m is |(x - mu_k) whitening_k|^2 of the nearest.
        directions: [K, D], of unit length.
        center, scale: of m and of c, two numbers each.
        weight: of m in the score.
    """

    name: str
    offset: np.ndarray
    axes: np.ndarray
    centroids: np.ndarray
    covariance: np.ndarray
    whitening: np.ndarray
    directions: np.ndarray
    center: tuple[float, float]
    scale: tuple[float, float]
    weight: float

    def distances(self, embedding: np.ndarray) -> np.ndarray:
        """[n, D] of unit length -> [n, 2]: m and c."""
        reduced = (embedding - self.offset) @ self.axes.T
        apart = np.einsum("nkp,kpq->nkq", reduced[:, None] - self.centroids, self.whitening)
        cosine = embedding @ self.directions.T
        return np.stack([np.square(apart).sum(axis=2).min(axis=1), 1 - cosine.max(axis=1)], axis=1)

    def score(self, embedding: np.ndarray) -> np.ndarray:
        """[n, D] -> [n]."""
        standard = (self.distances(embedding) - np.array(self.center)) / np.array(self.scale)
        return np.asarray(standard @ np.array([self.weight, 1 - self.weight]))


def fused_score(domains: Sequence[Domain], embedding: np.ndarray) -> np.ndarray:
    """[n, D] -> [n]: the least of the domains' scores, plus `USUAL`."""
    return np.asarray(USUAL + np.min([domain.score(embedding) for domain in domains], axis=0))


def fit_domains(embedding: np.ndarray, domain: Sequence[str], config: AstraConfig, seed: int) -> tuple[Domain, ...]:
    """Back ends of the source and, where there are clips of it, of the target.

    Args:
        embedding: [n, D] of normal windows in the order of time, of unit length.
        domain: [n] 'source', 'target' or '', which counts as source.
    """
    is_target = np.array([name == TARGET for name in domain])
    if not is_target.any() or is_target.all():
        return (fit_domain(SOURCE, embedding, config, seed),)
    source = fit_domain(SOURCE, embedding[~is_target], config, seed)
    alike = None if config.target == "published" else source
    return source, fit_domain(TARGET, embedding[is_target], config, seed, source=alike)


def fit_domain(
    name: str, embedding: np.ndarray, config: AstraConfig, seed: int, source: Domain | None = None
) -> Domain:
    """One domain's back end, its m and c standardised by windows that it was not fitted on.

    Args:
        embedding: [n, D], in the order of time.
        source: whose PCA is taken and whose covariance the own one is drawn to, where this domain has few clips.
    """
    fitted = _fit(name, embedding, config, seed, source)
    if source is not None and len(embedding) == 1 and config.standardise == "held-out":
        return replace(fitted, center=source.center, scale=source.scale)
    if config.standardise == "published" or len(embedding) == 1:
        distances = fitted.distances(embedding)
    else:
        distances = np.concatenate(
            [
                _fit(name, np.delete(embedding, block, axis=0), config, seed, source).distances(embedding[block])
                for block in time_blocks(len(embedding), config.folds)
            ]
        )
    center, deviation = distances.mean(axis=0), distances.std(axis=0)
    scale = np.maximum(deviation, LEAST_DEVIATION * np.maximum(np.abs(center), LEAST_DEVIATION))
    return replace(fitted, center=(float(center[0]), float(center[1])), scale=(float(scale[0]), float(scale[1])))


def time_blocks(count: int, folds: int) -> list[np.ndarray]:
    """Indices 0 .. count - 1 in consecutive blocks, as many as there are folds, or one each."""
    return np.array_split(np.arange(count), min(folds, count))


def _fit(name: str, embedding: np.ndarray, config: AstraConfig, seed: int, source: Domain | None) -> Domain:
    offset, axes = (source.offset, source.axes) if source is not None else _principal(embedding, config.pca_variance)
    reduced = (embedding - offset) @ axes.T
    label = _clusters(reduced, config, seed)
    count = label.max() + 1
    centroids = np.stack([reduced[label == k].mean(axis=0) for k in range(count)])
    directions = np.stack([embedding[label == k].mean(axis=0) for k in range(count)])
    covariance = _covariances(reduced - centroids[label], label, centroids, config)
    if source is not None:
        size = reduced.shape[1]
        share = size / (size + len(reduced))
        covariance = (1 - share) * covariance + share * source.covariance.mean(axis=0)
    values, vectors = np.linalg.eigh(covariance)
    return Domain(
        name=name,
        offset=offset,
        axes=axes,
        centroids=centroids,
        covariance=covariance,
        whitening=vectors / np.sqrt(np.maximum(values, LEAST_VARIANCE))[:, None, :],
        directions=directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12),
        center=(0.0, 0.0),
        scale=(1.0, 1.0),
        weight=config.mahalanobis_weight,
    )


def _principal(embedding: np.ndarray, variance: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Offset [D] and axes [p, D] that keep `variance` of it; all D where that is None."""
    from sklearn.decomposition import PCA

    width = embedding.shape[1]
    if variance is None:
        return embedding.mean(axis=0), np.eye(width)
    if len(embedding) < 2 or float(np.ptp(embedding, axis=0).max()) < 1e-9:
        return embedding.mean(axis=0), np.eye(1, width)
    fitted = PCA(n_components=variance, svd_solver="full").fit(embedding)
    return fitted.mean_, fitted.components_


def _clusters(reduced: np.ndarray, config: AstraConfig, seed: int) -> np.ndarray:
    """[n] labels from 0 on, without a gap."""
    from sklearn.cluster import KMeans

    wanted = min(config.clusters, len(np.unique(reduced.round(9), axis=0)))
    if config.target == "fixed":
        wanted = min(wanted, max(1, len(reduced) // CLIPS_PER_CLUSTER))
    if wanted < 2:
        return np.zeros(len(reduced), dtype=np.int64)
    label = KMeans(wanted, n_init=4, random_state=seed).fit_predict(reduced)
    return np.unique(label, return_inverse=True)[1]


def _covariances(residual: np.ndarray, label: np.ndarray, centroids: np.ndarray, config: AstraConfig) -> np.ndarray:
    """[K, p, p]; a cluster of fewer than p + 2 windows is pooled with its nearest neighbours until there are enough."""
    least = residual.shape[1] + 2
    found = []
    for k in range(len(centroids)):
        pooled = label == k
        for near in np.argsort(np.linalg.norm(centroids - centroids[k], axis=1), kind="stable"):
            if pooled.sum() >= least:
                break
            pooled |= label == near
        found.append(estimate_covariance(residual[pooled], config.covariance))
    return np.stack(found)


def estimate_covariance(residual: np.ndarray, kind: str) -> np.ndarray:
    """[n, p] about 0 -> [p, p]."""
    from sklearn.covariance import OAS, LedoitWolf

    empirical = residual.T @ residual / max(len(residual), 1)
    if kind == "diagonal":
        return np.diag(np.diag(empirical))
    if kind == "empirical" or len(residual) < 2:
        return empirical
    estimator = OAS if kind == "oas" else LedoitWolf
    return np.asarray(estimator(assume_centered=True, store_precision=False).fit(residual).covariance_)
