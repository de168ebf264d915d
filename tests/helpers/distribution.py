"""How tests are dealt out to the processes of `pytest -n N --dist loadscope --no-loadscope-reorder`.

Tests of one file share fixtures and caches, so they stay together; of the conformance battery, the tests of one detector.
Those with a broker, killed workers or commands of the docs mostly wait: they are dealt one by one. Two processes, or half of them
where there are fewer than four, begin with the tests that compute, and load what these need; the others with those that wait. Who
is done with its own kind takes from the other.

(The mark `xdist_group` would say it too, but pytest-xdist 3.8 loses it under pytest 9.2.)
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from wheeltapper.training.detectors.registry import DETECTORS

WAITING = ("tests/integration/", "tests/chaos/", "tests/docs/test_commands.py::test_the_commands_of_a_page")
COMPUTING_PROCESSES = 2


class Scheduling(LoadScopeScheduling):
    """Hands out groups of tests in the order in which they were collected, to each process of its kind first."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        waits = self.nodes.index(node) >= min(COMPUTING_PROCESSES, len(self.nodes) // 2)
        of_its_kind = next((group for group in self.workqueue if group.startswith(WAITING) == waits), None)
        if of_its_kind is not None:
            self.workqueue.move_to_end(of_its_kind, last=False)
        super()._assign_work_unit(node)

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
    """The items in the order in which they should be handed out, group after group: nothing long near the end."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(item.nodeid), []).append(item)
    ordered = sorted(groups.values(), key=lambda group: not any(map(_takes_long, group)))
    return [item for group in ordered for item in group]


def _takes_long(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(mark) for mark in ("slow", "export"))
