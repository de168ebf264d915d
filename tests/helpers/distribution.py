"""How tests are dealt out to the processes of `pytest -n N --dist loadgroup`.

Tests of one file share fixtures and caches, so they stay together, and so do those that a mark `xdist_group` puts together.
Those with a broker or killed workers mostly wait: they are dealt one by one, the longest first, in between those that compute.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def deal(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items in the order in which they should be handed out, each file of computing tests made a group."""
    slow, waiting, computing = [], [], []
    for item in items:
        if item.get_closest_marker("integration") is None:
            if item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
            computing.append(item)
        else:
            (slow if item.get_closest_marker("slow") else waiting).append(item)
    groups: dict[str, list[pytest.Item]] = {}
    for item in computing:
        mark = item.get_closest_marker("xdist_group")
        assert mark is not None
        groups.setdefault(str(mark.args[0]), []).append(item)
    return _interleaved([[item] for item in slow + waiting], list(groups.values()))


def _interleaved(first: list[list[pytest.Item]], second: list[list[pytest.Item]]) -> list[pytest.Item]:
    """Both lists spread evenly over the result, each in its order."""
    places = [((index + 0.5) / len(part), group) for part in (first, second) for index, group in enumerate(part)]
    return [item for _, group in sorted(places, key=lambda entry: entry[0]) for item in group]
