"""What is measured, and that every reference row is always there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.models.domain_adaptation.config import METHODS
from wheeltapper.training.detectors.domain_adaptation.domains import WindowDomain
from wheeltapper.training.lab.domain_experiment import Outcome, gap_closed, proxy_a_distance, run_pair
from wheeltapper.training.lab.domain_pairs import SETTINGS, Pair, generated_pairs
from wheeltapper.training.lab.reproduce.domain_adaptation import tables


def outcomes(**values: float) -> list[Outcome]:
    """One of each method; values by method with '_' for '-'."""
    return [
        Outcome(
            "generated", "a > b", method, 0, *(3 * (values.get(method.replace("-", "_"), 0.5),)), 0.5, 1.0, 10, False
        )
        for method in METHODS
    ]


def test_source_only_and_target_supervised_stand_in_every_table() -> None:
    shown = tables(outcomes(), seeds=1)
    by_group, by_pair = shown[0], shown[-1]
    assert {"source-only", "adanorm", "target-supervised"} <= {str(row[0]) for row in by_group.rows}
    assert {"source-only", "adanorm", "target-supervised"} <= set(by_pair.columns)
    assert any("illustration" in str(cell) for row in by_group.rows for cell in row)


def test_run_measures_every_method_by_default_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    # given a tiny pair
    random = np.random.default_rng(0)
    labels = np.tile([0, 0, 0, 1], 10).astype(np.int8)

    def domain(name: str) -> WindowDomain:
        return WindowDomain(name, random.standard_normal((40, 8, 2)).astype(np.float32), labels)

    pair = Pair("generated", "a > b", (domain("a"),), domain("b"), domain("b"), vus_buffer=1)
    config = replace(
        SETTINGS["generated"], window=8, pool=2, channels=4, hidden=2, latent=4, iterations=2, batch_size=8
    )
    first = run_pair(pair, config, kept=tmp_path / "kept.jsonl")
    assert [item.method for item in first] == list(METHODS)
    # when it is run again, nothing is trained a second time
    said: list[str] = []
    assert run_pair(pair, config, kept=tmp_path / "kept.jsonl", progress=said.append) == first
    assert not said


def test_gap_closed_is_the_share_between_source_only_and_target_supervised() -> None:
    found = outcomes(source_only=0.6, target_supervised=1.0, mmd=0.9)
    assert gap_closed(found, "mmd", "auroc") == pytest.approx(0.75)
    assert gap_closed(found, "target-supervised", "auroc") == 1.0
    assert gap_closed(outcomes(), "mmd", "auroc") is None


def test_proxy_a_distance_is_2_for_domains_that_a_line_separates_and_near_0_for_equal_ones() -> None:
    random = np.random.default_rng(0)
    source, target = random.standard_normal((200, 3)), random.standard_normal((100, 3))
    assert proxy_a_distance(source, target + np.array([10, 0, 0])) == pytest.approx(2.0)
    assert proxy_a_distance(source, target) < 0.4


def test_generated_pairs_judge_later_rows_than_they_adapt_on() -> None:
    for pair in generated_pairs():
        assert pair.test.order.min() - pair.target.order.max() >= pair.window
        assert 0.02 < pair.target.anomalous_share < 0.2
