"""The page of faults names tests: they are there, and those marked as of the night, or of both brokers, are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

PAGE = CHECKOUT / "docs" / "faults.md"
ROWS = [
    cells
    for line in PAGE.read_text().splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    and cells[1] not in ("", "---", "`direct`")
]


@pytest.mark.parametrize("cells", ROWS, ids=[cells[0][:60] for cells in ROWS])
def test_every_fault_names_a_test_that_is_there(cells: list[str]) -> None:
    named = re.search(r"`(\S+)::(\S+)`", cells[3])
    if named is None:
        assert cells[3] == "the same test"
        return
    file = Path(CHECKOUT / "tests" / named[1])
    before, found, _ = file.read_text().partition(f"def {named[2]}(")
    assert found, f"{file} has no test {named[2]}"
    marks = before[before.rfind("\n\n\n") :] + re.search(r"pytestmark = .*|$", file.read_text())[0]  # type: ignore[index]
    assert cells[3].startswith("N ") == bool(re.search(r"mark\.nightly(?!\))|mark\.nightly\n", marks)), marks
