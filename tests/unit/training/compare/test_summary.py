"""Means over seeds and entities, findings in words, and the tables made of them."""

from __future__ import annotations

from typing import Any

import pytest

from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.document import cell_text
from wheeltapper.training.lab.compare.findings import default_findings, floor_findings, localization_findings
from wheeltapper.training.lab.compare.results import METRICS
from wheeltapper.training.lab.compare.summary import Summary, comparable
from wheeltapper.training.lab.compare.tables import (
    entity_table,
    headline_table,
    overview_table,
    trouble_table,
)


def row(dataset: str, entity: str, detector: str, vus: float | None, seed: int = 0, **more: Any) -> dict[str, Any]:
    role = "floor" if detector.startswith("floor:") else "auto" if detector == "auto" else "detector"
    named = {"dataset": dataset, "entity": entity, "detector": detector, "role": role, "seed": seed}
    return {**named, **dict.fromkeys(METRICS), "vus_pr": vus, "error": None, "cut": False, **more}


ROWS = [
    row("smd", "m1", "floor:random", 0.1, hit_rate_100=0.2),
    row("smd", "m1", "floor:l2", 0.3, hit_rate_100=0.5),
    row("smd", "m1", "good", 0.6, 0, hit_rate_100=0.7, vus_pr_leak=0.7),
    row("smd", "m1", "good", 0.8, 1),
    row("smd", "m1", "bad", 0.2, hit_rate_100=0.4),
    row("smd", "m1", "auto", 0.2, chosen="bad"),
    row("smd", "m2", "floor:random", 0.1),
    row("smd", "m2", "floor:l2", 0.5),
    row("smd", "m2", "good", 0.4, 0),
    row("smd", "m2", "good", 0.6, 1),
    row("smd", "m2", "bad", None, error="too short"),
    row("nab", "a", "floor:random", 0.2),
    row("nab", "a", "floor:l2", 0.2),
    row("nab", "a", "good", 0.4, 0, cut=True, budget_s=60.0),
    row("nab", "a", "good", 0.2, 1),
    row("nab", "a", "bad", 0.1),
]


@pytest.fixture
def summary() -> Summary:
    return Summary(ROWS)


def test_seeds_are_averaged_first_then_entities(summary: Summary) -> None:
    mean = summary.mean("smd", "good", "vus_pr")
    # Means 0.7 and 0.5 by entity; over entities 0.5 with seed 0 and 0.7 with seed 1
    assert mean is not None
    assert (mean.value, mean.entities, mean.seeds) == (pytest.approx(0.6), 2, 2)
    assert mean.deviation == pytest.approx(0.1414, abs=1e-4)
    assert summary.per_entity("smd", "good", "vus_pr")["m1"] == (pytest.approx(0.7), pytest.approx(0.1414, abs=1e-4))


def test_without_a_value_there_is_no_mean(summary: Summary) -> None:
    assert summary.mean("smd", "good", "range_f1") is None
    bad = summary.mean("smd", "bad", "vus_pr")
    assert bad is not None
    assert (bad.value, bad.deviation, bad.entities) == (0.2, None, 1)


def test_two_are_compared_where_both_have_results(summary: Summary) -> None:
    assert summary.difference("smd", "bad", "floor:l2", "vus_pr") == (0.2, 0.3, 1)
    assert summary.difference("smd", "bad", "nobody", "vus_pr") is None


def test_who_does_not_beat_the_floors_is_named(summary: Summary) -> None:
    assert floor_findings(summary, "smd") == [
        "smd: bad does not beat the L2 norm (VUS-PR 0.200 against 0.300 on 1 entity).",
        "smd: above random scores and the L2 norm: good.",
    ]
    assert floor_findings(summary, "nab")[0] == (
        "nab: bad does not beat random scores (VUS-PR 0.100 against 0.200 on 1 entity) nor the L2 norm (VUS-PR 0.100 against "
        "0.200 on 1 entity)."
    )
    assert localization_findings(summary, "smd") == [
        "smd: by HitRate@100, these blame worse than the squared error alone: bad (0.400 against 0.500)."
    ]


def test_the_default_is_held_against_the_best(summary: Summary) -> None:
    found = default_findings(summary, {("smd", "m1"): (Contender("bad"), "because")})
    assert found == [
        "smd: bad on 1 of 1 entity (because).",
        "smd: the best is good with VUS-PR 0.700, the default has 0.200 on 1 entity: more than 0.02 behind it.",
    ]


def test_the_overview_says_how_many_entities_lie_behind_a_mean(summary: Summary) -> None:
    grid = overview_table(summary)
    assert grid.columns == ["detector", "smd (2)", "nab (1)", "mean over data sets"]
    cells = {str(cells[0]): [cell_text(cell) for cell in cells[1:]] for cells in grid.rows}
    assert cells["good"] == ["0.600 ± 0.141", "0.300 ± 0.141", "0.450"]
    assert cells["bad"] == ["0.200 (1)", "0.100", "0.150"]
    assert cells["floor: L2 norm"] == ["0.400", "0.200", "0.300"]
    assert cells["auto"] == ["0.200 (1)", "-", "-"]
    # The best real detector stands out, floors step back
    position = [cells[0] for cells in grid.rows].index("good")
    assert grid.strong == {(position, 1), (position, 2), (position, 3)}
    assert {str(grid.rows[index][0]) for index in grid.muted} == {"floor: L2 norm", "floor: random"}


def test_the_leak_stands_beside_the_honest_value_of_the_same_seed(summary: Summary) -> None:
    grid = headline_table(summary, "smd")
    column = list(grid.columns).index("VUS-PR with the leak")
    assert {str(cells[0]): cells[column] for cells in grid.rows}["good"] == "0.700 (+0.100)"
    assert "VUS-PR with the leak" not in headline_table(summary, "nab").columns


def test_each_entity_has_its_row(summary: Summary) -> None:
    grid = entity_table(summary, "smd")
    assert [cells[0] for cells in grid.rows] == ["m1", "m2"]
    assert "auto" not in grid.columns
    assert grid.rows[1][list(grid.columns).index("bad")] is None
    # What auto chose is shown where it has no row of its own
    alone = entity_table(Summary([row for row in ROWS if row["detector"] != "bad"]), "smd")
    assert "auto (bad)" in alone.columns


def test_trouble_is_listed_with_its_reason(summary: Summary) -> None:
    grid = trouble_table(summary)
    assert grid is not None
    assert [list(cells) for cells in grid.rows] == [
        ["smd", "m2", "bad", 0, "too short"],
        ["nab", "a", "good", 0, "training stopped at its budget of 1.0 min"],
    ]
    assert trouble_table(Summary([ROWS[0]])) is None


def test_a_detector_with_few_results_does_not_shrink_the_comparison() -> None:
    full = {str(index): float(index) for index in range(20)}
    names, entities, scores = comparable({"a": full, "b": full | {}, "few": {"1": 1.0}})
    assert names == ["a", "b"]
    assert len(entities) == 20
    assert scores.shape == (20, 2)
    # One that lacks a single entity takes part on those that it has
    names, entities, _ = comparable({"a": full, "b": {key: value for key, value in full.items() if key != "3"}})
    assert (names, len(entities)) == (["a", "b"], 19)
    assert comparable({})[0] == []
