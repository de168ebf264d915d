"""ASTRA's back end against scikit-learn and against the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from wheeltapper.models.astra.backend import (
    USUAL,
    estimate_covariance,
    fit_domain,
    fit_domains,
    fused_score,
    time_blocks,
)
from wheeltapper.models.astra.config import AstraConfig


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def embeddings(count: int, width: int = 6, *, seed: int = 0, groups: int = 2, spread: float = 0.05) -> np.ndarray:
    """[count, width] of unit length about `groups` directions that take turns, so that every block of time has all."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(7).normal(size=(groups, width))
    return unit(directions[np.arange(count) % groups] + spread * generator.normal(size=(count, width)))


def config(**settings: Any) -> AstraConfig:
    return AstraConfig(**{"pca_variance": 0.98, **settings})


def test_distances_are_those_of_scikit_learns_pieces() -> None:
    # given two groups of 60 windows each
    z = embeddings(120)
    found = fit_domain("source", z, config(clusters=2, standardise="published"), seed=42)
    # when PCA, K-means and Ledoit-Wolf are put together by hand
    pca = PCA(0.98, svd_solver="full").fit(z)
    x = pca.transform(z)
    labels = KMeans(2, n_init=4, random_state=42).fit_predict(x)
    squared, cosine = [], []
    for k in range(2):
        precision = np.linalg.inv(LedoitWolf().fit(x[labels == k]).covariance_)
        apart = x - x[labels == k].mean(axis=0)
        squared.append(np.einsum("np,pq,nq->n", apart, precision, apart))
        direction = z[labels == k].mean(axis=0)
        cosine.append(1 - z @ (direction / np.linalg.norm(direction)))
    m, c = np.min(squared, axis=0), np.min(cosine, axis=0)
    # then distances and the score are the same
    np.testing.assert_allclose(found.distances(z), np.stack([m, c], axis=1), rtol=1e-6, atol=1e-9)
    wanted = 0.7 * (m - m.mean()) / m.std() + 0.3 * (c - c.mean()) / c.std()
    np.testing.assert_allclose(found.score(z), wanted, rtol=1e-6, atol=1e-9)


def test_standardised_by_windows_that_were_held_out() -> None:
    z = embeddings(24, 12, groups=1)
    fixed = fit_domain("source", z, config(), seed=0)
    published = fit_domain("source", z, config(standardise="published"), seed=0)
    # A window is further from what was fitted without it: new normal windows score about 0 only where that is counted in.
    new = embeddings(400, 12, groups=1, seed=1)
    assert abs(fixed.score(new).mean()) < 0.3
    assert published.score(new).mean() > fixed.score(new).mean() + 0.3


def test_clusters_follow_the_number_of_clips_unless_as_published() -> None:
    z = embeddings(12, groups=1)
    assert len(fit_domain("target", z, config(), seed=0).centroids) == 1
    assert len(fit_domain("target", z, config(target="published"), seed=0).centroids) == 5
    assert len(fit_domain("source", embeddings(60), config(), seed=0).centroids) == 5


def test_ten_target_clips_lean_on_the_sources_covariance() -> None:
    # given a source with many clips and a target with ten, elsewhere
    source, target = embeddings(200, groups=1), unit(embeddings(10, groups=1, seed=3) + np.array([0, 0, 0, 0, 0, 1.0]))
    z = np.concatenate([source, target])
    names = ["source"] * 200 + ["target"] * 10
    back_ends = fit_domains(z, names, config(), seed=0)
    assert [one.name for one in back_ends] == ["source", "target"]
    # then the target's covariance lies between its own and the source's, by its size over size and clips
    size = back_ends[0].axes.shape[0]
    alone = (target - back_ends[0].offset) @ back_ends[0].axes.T
    own = estimate_covariance(alone - alone.mean(axis=0), "ledoit-wolf")
    share = size / (size + 10)
    wanted = (1 - share) * own + share * back_ends[0].covariance.mean(axis=0)
    np.testing.assert_allclose(back_ends[1].covariance[0], wanted, rtol=1e-6, atol=1e-12)
    # and new windows of either domain are normal, what is of neither is not
    new_source = embeddings(50, groups=1, seed=5)
    new_target = unit(embeddings(50, groups=1, seed=6) + np.array([0, 0, 0, 0, 0, 1.0]))
    strange = unit(embeddings(50, groups=1, seed=7) + np.array([0, -1.0, 0, 0, 0, 0]))
    normal = np.concatenate([fused_score(back_ends, new_source), fused_score(back_ends, new_target)])
    assert fused_score(back_ends, strange).min() > np.quantile(normal, 0.95)
    np.testing.assert_allclose(
        fused_score(back_ends, new_target), USUAL + np.minimum(*(one.score(new_target) for one in back_ends))
    )


@pytest.mark.parametrize("clips", [1, 2, 3])
def test_a_handful_of_target_clips_is_enough_for_a_finite_score(clips: int) -> None:
    z = np.concatenate([embeddings(40, groups=1), embeddings(clips, groups=1, seed=9)])
    back_ends = fit_domains(z, [""] * 40 + ["target"] * clips, config(), seed=0)
    assert np.isfinite(fused_score(back_ends, embeddings(20, seed=4))).all()


def test_small_clusters_are_pooled_and_every_estimator_gives_a_finite_score() -> None:
    z = embeddings(30, 16, groups=4, spread=0.2)
    for kind in ("ledoit-wolf", "oas", "empirical", "diagonal"):
        back_end = fit_domain("source", z, config(covariance=kind, target="published", pca_variance=None), seed=0)
        assert np.isfinite(back_end.score(z)).all()
    # five clusters of 16 dimensions from 30 windows: each has taken in others, until there are 18
    assert len(back_end.covariance) == 5


def test_identical_windows_do_not_break_the_fit() -> None:
    z = np.repeat(embeddings(1), 8, axis=0)
    back_end = fit_domain("source", z, config(), seed=0)
    assert np.isfinite(back_end.score(np.concatenate([z, embeddings(3, seed=2)]))).all()


def test_blocks_are_consecutive_and_cover_everything_once() -> None:
    blocks = time_blocks(14, 6)
    assert len(blocks) == 6
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(14))
    assert len(time_blocks(3, 6)) == 3
