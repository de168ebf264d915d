"""How tests are dealt out to the processes of `pytest -n N --dist loadscope --no-loadscope-reorder`.

Tests of one file share fixtures and caches, so they stay together; of the conformance battery, the tests of one detector.
Those with a broker or killed workers mostly wait: they are dealt one by one, in between those that compute.

(The mark `xdist_group` would say it too, but pytest-xdist 3.8 loses it under pytest 9.2.)
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

from wheeltapper.training.detectors.registry import DETECTORS

WAITING = ("tests/integration/", "tests/chaos/")


class Scheduling(LoadScopeScheduling):
    """Hands out groups of tests in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The name of the group that one process runs: file::test[parameters] -> test, file, or detector."""
    if nodeid.startswith(WAITING):
        return nodeid
    file, _, test = nodeid.partition("::")
    if file.startswith("tests/conformance/"):
        parameters = test.partition("[")[2].removesuffix("]")
        found = [name for name in DETECTORS if f"{parameters}-".startswith(f"{name}-")]
        if found:
            return f"detector {max(found, key=len)}"
    return file


def deal(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items in the order in which they should be handed out, group after group."""
    slow, waiting, computing = {}, {}, {}
    for item in items:
        group = group_of(item.nodeid)
        kind = computing if group != item.nodeid else slow if item.get_closest_marker("slow") else waiting
        kind.setdefault(group, []).append(item)
    # Each kind evenly over the run, so that not all that is heavy comes at once, but nothing long near its end.
    return _interleaved((list(slow.values()), 0.6), (list(waiting.values()), 1.0), (list(computing.values()), 0.9))


def _interleaved(*parts: tuple[list[list[pytest.Item]], float]) -> list[pytest.Item]:
    """Lists of groups, each spread evenly from the beginning to that share of the result, in its order."""
    places = [
        ((index + 0.5) / len(groups) * share, group) for groups, share in parts for index, group in enumerate(groups)
    ]
    return [item for _, group in sorted(places, key=lambda entry: entry[0]) for item in group]
