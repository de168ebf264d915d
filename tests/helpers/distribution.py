"""How tests are dealt out to the processes of `pytest -n N --dist loadscope --no-loadscope-reorder`.

Tests of one file share fixtures and caches, so they stay together; of the conformance battery, the tests of one detector.
Those with a broker, killed workers or commands of the docs mostly wait: they are dealt one by one. As many processes as there are
cores, but at most half of them, begin with the tests that compute, and load what these need; the others with those that wait. Of a
run of all tests the others do not even collect those that compute, as that takes as long as ten of them: on two cores, torch, scipy
and the like are loaded by two processes instead of five. Who is done with its own kind takes from the other what it has collected.

(The mark `xdist_group` would say it too, but pytest-xdist 3.8 loses it under pytest 9.2.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from wheeltapper.training.detectors.registry import DETECTORS

TESTS = Path(__file__).resolve().parents[1]
WAITING = ("tests/integration/", "tests/chaos/", "tests/docs/test_commands.py::test_the_commands_of_a_page")
FOLDERS_OF_WAITING = frozenset(start.split("/")[1] for start in WAITING)
# With fewer, every process is needed for everything; and the tier `check` has no tests that wait.
FEWEST_THAT_SHARE = 4


def waits(process: str, processes: int) -> bool:
    """Whether a process of xdist (gw0, gw1, ..) begins with the tests that wait; one that stands in for a crashed one does not."""
    computing = min(max(2, len(os.sched_getaffinity(0))), processes // 2)
    return computing <= int(process.removeprefix("gw")) < processes


def leaves_out(path: Path, config: pytest.Config) -> bool:
    """Whether this process need not collect a folder of tests, as it begins with others and all tests are run."""
    process, processes = os.environ.get("PYTEST_XDIST_WORKER"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if process is None or path.parent != TESTS or not path.is_dir() or path.name in FOLDERS_OF_WAITING:
        return False
    runs_all = [Path(argument).resolve() for argument in config.args] == [TESTS]
    shared = processes >= FEWEST_THAT_SHARE and config.getoption("--hypothesis-profile") != "check"
    return runs_all and shared and waits(process, processes)


class Scheduling(LoadScopeScheduling):
    """Hands out groups of tests in the order in which they were collected, to each process of its kind first."""

    def schedule(self) -> None:
        """Hand out what is there; at the first time by the longest list, which has what is in the others."""
        if self.collection is None:
            by_length = sorted(self.registered_collections.items(), key=lambda item: -len(item[1]))
            self.registered_collections = type(self.registered_collections)(by_length)
        super().schedule()

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """What a process has collected, also one that comes later in place of one that crashed."""
        self.registered_collections[node] = list(collection)

    def _check_nodes_have_same_collection(self) -> bool:
        longest, *others = map(set, self.registered_collections.values())
        return all(other <= longest for other in others) or super()._check_nodes_have_same_collection()

    def _assign_work_unit(self, node: WorkerController) -> None:
        collected = set(self.registered_collections[node])
        groups = [group for group, tests in self.workqueue.items() if next(iter(tests)) in collected]
        if not groups:
            node.shutdown()
            return
        kind = waits(node.gateway.id, self.numnodes)
        chosen = next((group for group in groups if group.startswith(WAITING) == kind), groups[0])
        self.workqueue.move_to_end(chosen, last=False)
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
