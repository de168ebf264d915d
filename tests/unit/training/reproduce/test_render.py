"""A reproduction on the terminal and in its reports, and the command around it."""

from __future__ import annotations

import importlib
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from tests.unit.training.compare.test_document import PNG, Page
from wheeltapper.cli import main
from wheeltapper.commands.reproduce import SYSTEMS
from wheeltapper.training.lab.reproduce import ReproduceOptions, Reproduction, Table
from wheeltapper.training.lab.reproduce.render import print_reproduction, write_reproduction

FOUND = Reproduction(
    "made-up",
    "Made up: published and measured",
    (
        Table(
            "F1, oracle",
            ["score", "protocol", "ours", "published"],
            [["net", "oracle", 0.12345, 0.9], ["random", "oracle", "0.5 ± 0.1", None]],
        ),
    ),
    ("Theirs sees the test set.",),
    {"curve.png": PNG},
)


def test_tables_and_reasons_are_shown_on_the_terminal() -> None:
    text = StringIO()
    print_reproduction(FOUND, Console(file=text, width=100))
    shown = text.getvalue()
    for expected in (
        "Made up: published and measured",
        "F1, oracle",
        "0.123",
        "0.900",
        "0.5 ± 0.1",
        "- Theirs sees the test set.",
    ):
        assert expected in shown, expected


def test_reports_hold_tables_reasons_and_figures(tmp_path: Path) -> None:
    html, markdown = write_reproduction(FOUND, tmp_path, "wheeltapper reproduce made-up")
    text = markdown.read_text()
    # Text columns stand on the left, numbers on the right
    assert "| score | protocol | ours | published |\n|---|---|--:|--:|\n| net | oracle | 0.123 | 0.900 |" in text
    assert "| random | oracle | 0.5 ± 0.1 | - |" in text
    assert "- Theirs sees the test set." in text
    assert "![curve](figures/curve.png)" in text
    assert (tmp_path / "figures" / "curve.png").read_bytes() == PNG
    page = Page(html.read_text())
    assert page.open == []
    assert page.cells[4:8] == ["net", "oracle", "0.123", "0.900"]


def test_the_command_hands_over_its_options_and_writes_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[ReproduceOptions] = []
    module = ModuleType("made_up_system")

    def reproduce(options: ReproduceOptions) -> Reproduction:
        seen.append(options)
        return FOUND

    module.reproduce = reproduce  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_system", module)
    monkeypatch.setitem(SYSTEMS, "alora", "made_up_system")
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path), "--out", str(out), "--seeds", "2", "--budget", "1.5"]
    assert main(["reproduce", "alora", *arguments]) == 0
    assert seen == [ReproduceOptions(data=tmp_path, out=out, seeds=(0, 1), budget_s=90.0, progress=True)]
    assert "wheeltapper reproduce alora --seeds 2 --budget 1.5" in (out / "made-up.md").read_text()
    assert "made-up.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "--budget is 0 minutes"),
        (["--data", "nowhere"], "no such folder"),
        (["--seeds", "x"], "--seeds x"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "alora", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_smd_alora_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "alora", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "reproducing ALoRa needs SMD" in capsys.readouterr().err


def test_the_oracle_sweep_is_the_best_of_the_percentiles() -> None:
    alora = importlib.import_module("wheeltapper.training.lab.reproduce.alora")
    labels = np.zeros(1000, np.uint8)
    labels[500:550] = 1
    # A score that is the label itself: above the 95th percentile lie exactly the labelled rows
    curve = alora.affiliation_curve(labels, labels + np.linspace(0, 1e-3, 1000))
    assert curve.shape == (200,)
    assert curve.max() == pytest.approx(1.0, abs=0.01)
    assert curve[-1] == 0.0  # nothing lies above the largest score
    # Random scores reach most of it, which is why they stand beside
    random = alora.affiliation_curve(labels, np.random.default_rng(0).random(1000))
    assert 0.5 < random.max() < 0.9
