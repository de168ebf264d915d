"""The trees as arrays: grown by scikit-learn, read by graph and twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Leaf marker in `channel`.
LEAF = -1


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees, one after the other; node 0 of each tree is its root.

    Attributes:
        roots: [trees] int64, where each tree begins.
        left, right: [nodes] int64, children, counted from the first node of all; a leaf's are itself.
        channel: [nodes] int64, what a node cuts; `LEAF` for leaves.
        threshold: [nodes] float32: x <= threshold goes left. Rounded down from double, which decides alike for every
            float32 x.
        depth: [nodes] float64, v: mean depth in cuts of the train rows that pass the node; of a leaf, its own.
        levels: cuts from a root to the deepest leaf.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    channel: np.ndarray
    threshold: np.ndarray
    depth: np.ndarray
    levels: int


def average_depth(rows: int) -> float:
    """c: mean depth of an unsuccessful search in a binary tree of so many rows."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)


def grow(values: np.ndarray, *, trees: int, samples: int, seed: int) -> Trees:
    """Grow a forest on [n, C] float32 rows without NaN; needs scikit-learn."""
    from sklearn.ensemble import IsolationForest as Forest

    forest = Forest(n_estimators=trees, max_samples=samples, random_state=seed).fit(values)
    parts = [_tree(estimator.tree_) for estimator in forest.estimators_]
    sizes = [len(part.channel) for part in parts]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return Trees(
        roots=starts,
        left=np.concatenate([part.left + start for part, start in zip(parts, starts, strict=True)]),
        right=np.concatenate([part.right + start for part, start in zip(parts, starts, strict=True)]),
        channel=np.concatenate([part.channel for part in parts]),
        threshold=np.concatenate([part.threshold for part in parts]),
        depth=np.concatenate([part.depth for part in parts]),
        levels=max(part.levels for part in parts),
    )


def _tree(tree: object) -> Trees:
    """One of scikit-learn's trees; children are counted from its root."""
    left = np.asarray(tree.children_left, dtype=np.int64)  # type: ignore[attr-defined]
    right = np.asarray(tree.children_right, dtype=np.int64)  # type: ignore[attr-defined]
    rows = np.asarray(tree.n_node_samples)  # type: ignore[attr-defined]
    leaf = left < 0
    itself = np.arange(len(left))
    level = np.zeros(len(left), dtype=np.int64)
    for node in np.flatnonzero(~leaf):  # parents come before their children
        level[left[node]] = level[right[node]] = level[node] + 1
    depth = level + np.array([average_depth(int(count)) for count in rows])
    for node in np.flatnonzero(~leaf)[::-1]:
        children = [left[node], right[node]]
        depth[node] = np.average(depth[children], weights=rows[children])
    return Trees(
        roots=np.zeros(1, dtype=np.int64),
        left=np.where(leaf, itself, left),
        right=np.where(leaf, itself, right),
        channel=np.where(leaf, LEAF, np.asarray(tree.feature, dtype=np.int64)),  # type: ignore[attr-defined]
        threshold=np.where(leaf, 0, _rounded_down(np.asarray(tree.threshold))).astype(np.float32),  # type: ignore[attr-defined]
        depth=depth,
        levels=int(level.max()),
    )


def _rounded_down(values: np.ndarray) -> np.ndarray:
    """[n] float64 to the largest float32 that is not above."""
    near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)
