"""What the test suite itself rests on: profiles of property tests, SIGINT in a test process, the budget of CPU time."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.budget import BUDGET as COMMITTED
from tests.budget import REFERENCE_YARDSTICK_S, compare, read_run
from tests.helpers.covering import covering_part
from tests.helpers.interrupts import Interrupts
from tests.helpers.profiles import PROFILES, apply_profile

Group = dict[str, float]


def property_test() -> Any:
    """One with settings of its own."""

    @settings(derandomize=True, max_examples=80)
    @given(st.integers())
    def test(number: int) -> None: ...

    return test


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> Iterator[str]:
    before = settings.get_current_profile_name()
    settings.load_profile(request.param)
    yield str(request.param)
    settings.load_profile(before)


def test_a_profile_scales_the_examples_of_every_property_test(profile: str) -> None:
    # given a property test that asks for 80 examples, collected twice as parametrized tests are
    test = property_test()
    items: Any = [SimpleNamespace(nodeid="a", obj=test), SimpleNamespace(nodeid="b", obj=test)]
    # when a profile is applied
    apply_profile(items)
    # then its share of them is tried, and others every night
    found = test._hypothesis_internal_use_settings
    assert (found.max_examples, found.derandomize) == {
        "check": (20, True),
        "test": (32, True),
        "nightly": (640, False),
    }[profile]


@pytest.mark.parametrize(("sizes", "strength", "most"), [([6, 4], 1, 6), ([5, 4, 2], 2, 20), ([4, 4, 3, 2], 2, 20)])
def test_a_covering_part_holds_every_pair_or_value_and_little_more(sizes: list[int], strength: int, most: int) -> None:
    # when a part of a product is chosen
    part = covering_part(sizes, strength)
    # then every combination of so many axes is in it
    for axes in itertools.combinations(range(len(sizes)), strength):
        wanted = set(itertools.product(*(range(sizes[axis]) for axis in axes)))
        assert {tuple(places[axis] for axis in axes) for places in part} == wanted
    # and it is small
    assert len(part) <= most


class Interrupted:
    """Is interrupted while it is collected: Python drops that."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_was_dropped_ends_the_run() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        # given a test in which SIGINT comes while a finalizer runs
        around = Interrupts().pytest_runtest_protocol(SimpleNamespace(nodeid="test_x"))  # type: ignore[arg-type]
        next(around)
        interrupted = Interrupted()
        del interrupted
        # when the test ends, then the interrupt is raised again, and says where it came
        with pytest.raises(KeyboardInterrupt, match="test_x"):
            around.send(True)
    finally:
        signal.signal(signal.SIGINT, before)


def junit(path: Path, cases: Group, *, yardstick_s: float = REFERENCE_YARDSTICK_S) -> Path:
    """A run of ten tests a group, with so many CPU seconds together."""
    tests = "".join(
        f'<testcase classname="tests.{group.replace("/", ".")}.test_x" name="t{number}"><properties>'
        f'<property name="cpu_s" value="{seconds / 10}"/><property name="yardstick_s" value="{yardstick_s}"/>'
        "</properties></testcase>"
        for group, seconds in cases.items()
        for number in range(10)
    )
    path.write_text(f"<testsuites><testsuite>{tests}</testsuite></testsuites>")
    return path


BUDGET: dict[str, object] = {"tests": 20, "seconds": {"unit/stream": 60.0, "unit/schemas": 40.0}}


@pytest.mark.parametrize(
    ("cases", "said", "not_said"),
    [
        ({"unit/stream": 75, "unit/schemas": 40}, "+15%", "warning"),
        ({"unit/stream": 90, "unit/schemas": 40}, "unit/stream: 90, budget 60", "unit/schemas"),
        ({"unit/stream": 60, "unit/schemas": 40, "integration/x": 500}, "500 of them of tests with brokers", "warning"),
        ({"unit/stream": 500}, "a part of the tier", "warning"),
    ],
)
def test_the_budget_warns_where_tests_that_compute_grew(cases: Group, said: str, not_said: str, tmp_path: Path) -> None:
    text = "\n".join(compare(read_run(junit(tmp_path / "x.xml", cases)), BUDGET))
    assert said in text
    assert not_said not in text


def test_a_slower_machine_changes_no_judgement(tmp_path: Path) -> None:
    slow = {"unit/stream": 120.0, "unit/schemas": 80.0}
    run = read_run(junit(tmp_path / "x.xml", slow, yardstick_s=2 * REFERENCE_YARDSTICK_S))
    assert run.computing() == pytest.approx({"unit/stream": 60.0, "unit/schemas": 40.0})


def test_every_budget_is_of_a_tier() -> None:
    budgets = json.loads(COMMITTED.read_text())
    assert budgets.keys() <= {"check", "test", "nightly"}
