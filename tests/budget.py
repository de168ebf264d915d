"""Compare the CPU seconds of a test run with the committed budget: `python -m tests.budget JUNIT_FILE TIER [--write]`.

Only tests that compute are judged, not those in tests/integration and tests/chaos: what a waiting process spends depends on
how long it waits. Seconds are divided by the speed of the machine during the run (`tests.helpers.spent`), so that a slower
machine gives about the same number. It warns and never fails: on a machine that others keep busy (load 6 on 2 cores), the same
tests took 14 to 23 % more than at load 4 even so, as caches are shared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

BUDGET = Path(__file__).with_name("budget.json")
# CPU seconds of the yardstick on the machine on which budgets were first measured.
REFERENCE_YARDSTICK_S = 0.0060
WARN_ABOVE = 1.25
# A run of fewer tests than this share of the budget's is a part of the tier, and proves nothing about it.
WHOLE = 0.95
# Groups below this are not shown one by one.
SMALL_S = 1.0
WAITING = ("integration", "chaos")


@dataclass(frozen=True)
class Run:
    """What a JUnit file says: group of tests -> CPU seconds, and how fast the machine was (1: as the reference)."""

    tests: int
    seconds: dict[str, float]
    speed: float

    def computing(self) -> dict[str, float]:
        """Group -> seconds at the reference's speed, of the groups that are judged."""
        return {
            group: seconds * self.speed for group, seconds in self.seconds.items() if group.split("/")[0] not in WAITING
        }


def read_run(path: Path) -> Run:
    """The run of a JUnit file.

    Raises:
        SystemExit: the file was not written by a run of these tests.
    """
    seconds: dict[str, float] = defaultdict(float)
    yardsticks: list[float] = []
    tests = 0
    for case in ElementTree.parse(path).iter("testcase"):
        folders = case.get("classname", "").removeprefix("tests.").split(".")[:-1]
        properties = [(entry.get("name"), float(entry.get("value", "nan"))) for entry in case.iter("property")]
        seconds["/".join(folders[:2])] += sum(value for name, value in properties if name == "cpu_s")
        yardsticks += [value for name, value in properties if name == "yardstick_s"]
        tests += folders[0] not in WAITING
    if not yardsticks:
        sys.exit(f"{path}: no test with the property yardstick_s; expected the --junitxml file of a run of these tests")
    return Run(tests, dict(seconds), REFERENCE_YARDSTICK_S / statistics.median(yardsticks))


def compare(run: Run, budget: dict[str, object]) -> list[str]:
    """What to print: the sum, and where it grew if it is more than a quarter over the budget."""
    allowed: dict[str, float] = budget["seconds"]  # type: ignore[assignment]
    found = run.computing()
    total, most = sum(found.values()), sum(allowed.values())
    raw = sum(run.seconds.values())
    lines = [
        f"CPU seconds of tests: {raw:.0f}, {raw - total / run.speed:.0f} of them of tests with brokers; "
        f"the others at the reference's speed ({run.speed:.2f} times it): {total:.0f}, budget {most:.0f} ({total / most - 1:+.0%})"
    ]
    if run.tests < WHOLE * int(budget["tests"]):  # type: ignore[call-overload]
        return [
            *lines,
            f"{run.tests} of {budget['tests']} tests: a part of the tier, which says nothing about the whole",
        ]
    if total <= WARN_ABOVE * most:
        return lines
    lines.append(
        f"warning: tests need {total / most - 1:.0%} more CPU time than tests/budget.json allows; make them cheaper, move "
        "what guards no landing to `make nightly` (mark: nightly), or write a new budget with the reason in the commit: "
        "python -m tests.budget FILE TIER --write. What grew:"
    )
    grown = sorted(found, key=lambda group: allowed.get(group, 0.0) - found[group])
    return lines + [
        f"  {group}: {found[group]:.0f}, budget {allowed.get(group, 0.0):.0f}"
        for group in grown[:5]
        if found[group] - allowed.get(group, 0.0) > SMALL_S
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.budget", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JUnit file of the run")
    parser.add_argument("tier", help="name of the budget in tests/budget.json")
    parser.add_argument("--write", action="store_true", help="make this run the budget")
    asked = parser.parse_args(arguments)
    run = read_run(asked.file)
    budgets = json.loads(BUDGET.read_text())
    if asked.write:
        seconds = {group: round(value, 1) for group, value in sorted(run.computing().items())}
        budgets[asked.tier] = {"tests": run.tests, "seconds": seconds}
        BUDGET.write_text(json.dumps(budgets, indent=2, sort_keys=True) + "\n")
    if asked.tier not in budgets:
        print(
            f"tests/budget.json has no budget for {asked.tier}; write one: python -m tests.budget FILE {asked.tier} --write"
        )
        return 0
    print("\n".join(compare(run, budgets[asked.tier])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
