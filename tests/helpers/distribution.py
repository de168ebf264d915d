"""How tests are dealt out to the processes of `pytest -n N --dist loadscope --no-loadscope-reorder`.

Tests of one file share fixtures and caches, so they stay together; of the conformance battery, the tests of one detector.
Those with a broker or killed workers mostly wait: they are dealt one by one, the longest first, in between those that compute.

(The mark `xdist_group` would say it too, but pytest-xdist 3.8 loses it under pytest 9.2.)
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

from training.detectors import DETECTORS

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
    waiting, computing = {}, {}
    for item in sorted(items, key=lambda item: item.get_closest_marker("slow") is None):
        group = group_of(item.nodeid)
        (waiting if group == item.nodeid else computing).setdefault(group, []).append(item)
    return _interleaved(list(waiting.values()), list(computing.values()))


def _interleaved(first: list[list[pytest.Item]], second: list[list[pytest.Item]]) -> list[pytest.Item]:
    """Both lists spread evenly over the result, each in its order."""
    places = [((index + 0.5) / len(part), group) for part in (first, second) for index, group in enumerate(part)]
    return [item for _, group in sorted(places, key=lambda entry: entry[0]) for item in group]
