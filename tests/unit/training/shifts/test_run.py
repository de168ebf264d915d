"""A laboratory run: machines, files, failures, the command."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wheeltapper.cli import main
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.shifts.machines import find_machines
from wheeltapper.training.lab.shifts.motors import (
    DATASET,
    FAULT,
    LOAD,
    MOTOR_KINDS,
    SPEED,
    fault_kind,
    load_frames,
    make_motor_scenario,
    motor_entities,
)
from wheeltapper.training.lab.shifts.run import ShiftOptions, jobs_of


def test_a_run_writes_reports_and_one_row_for_each_course(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given two scenarios and two strategies, when the command runs them
    arguments = ["shifts", "--entity", "pump-1", "--detector", "pca", "--scenario", "none", "step-fault-6"]
    arguments += ["--strategy", "none", "--out", str(tmp_path), "--processes", "1"]
    assert main(arguments) == 0
    # then there is a row for each, and the reports name them
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["scenario"], row["strategy"], row["kind"]) for row in rows] == [
        ("none", "none", "none"),
        ("step-fault-6", "none", "fault"),
    ]
    assert rows[1]["adapted_away"] == "False"
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "step-fault-6: a lasting step of 6 sd" in text
    assert "wheeltapper shifts --dataset simulated --entity pump-1" in text
    assert (tmp_path / "report.html").stat().st_size > 5000
    assert "false/day before" in capsys.readouterr().out
    # and the rows alone give the same report
    (tmp_path / "report.md").unlink()
    assert main([*arguments, "--report-only"]) == 0
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text


def test_every_machine_meets_every_scenario_and_a_swap_needs_two() -> None:
    machines, _ = find_machines(["simulated"], None, full=True)
    options = ShiftOptions(Path("out"), detectors=("pca",), scenarios=("machine-swap", "none"))
    parents, scenarios = jobs_of(machines, options)
    assert [job.entity for job in parents] == ["pump-1", "pump-2", "pump-3", "pump-4"]
    assert [(job.entity, job.other) for job in scenarios if job.scenario == "machine-swap"] == [
        ("pump-1", "pump-2"),
        ("pump-2", "pump-3"),
        ("pump-3", "pump-4"),
        ("pump-4", "pump-1"),
    ]
    assert len({job.title for job in scenarios}) == len(scenarios) == 8


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--scenario", "flood"], "--scenario flood: no such one; expected some of none"),
        (["--strategy", "pray"], "--strategy pray: no such one; expected some of none"),
        (["--entity", "pump-9"], "--entity pump-9: no such machine in simulated; there are pump-1"),
        (["--detector", "pac"], "no detector 'pac'"),
        (["--processes", "0"], "--processes is 0, expected 1 or more"),
        (["--scenario", "motor-load"], "none of the scenarios fits the data set"),
        (["--budget", "0"], "--budget is 0 minutes, expected above 0"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shifts", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert line in capsys.readouterr().err


def test_without_rows_there_is_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shifts", "--out", str(tmp_path), "--report-only"]) == 2
    assert "rows.csv: cannot be read" in capsys.readouterr().err
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert main(["shifts", "--out", str(tmp_path), "--report-only"]) == 2
    assert "its columns are not those of a laboratory run" in capsys.readouterr().err


def test_states_of_the_motor_have_six_kinds() -> None:
    states = ["GoB_GS_BaLo_WA", "LIR_GS_BaLo_WA", "HOR_GS_BaLo_WA", "HBF_GS_BaLo_WA", "GoB_BS_BaLo_WA"]
    states += ["GoB_GS_BaLo_MA", "GoB_GS_VLIL_WA"]
    kinds = ["", "inner-race", "outer-race", "ball", "bent-shaft", "misalignment", "imbalance"]
    assert [fault_kind(state) for state in states] == kinds


@pytest.mark.data
def test_motors_change_speed_and_load(data_root: Path) -> None:
    # given the recordings, when streams are made of them
    frames = load_frames(data_root / DATASET)
    for name in MOTOR_KINDS:
        made = make_motor_scenario(name, "1200rpm-00lb", frames)
        # then rows before the change are those of the unchanged stream, and those after it are not
        row = made.change_row
        assert (made.rows[:row] == made.unchanged[:row]).all()
        assert (made.rows[row:] != made.unchanged[row:]).any() == (made.change is not None)
        assert (made.regime is not None) == (name in (SPEED, LOAD))
        assert made.labels[row:].all() == (name == FAULT)
    with pytest.raises(InputError, match="no condition '1200rpm'"):
        make_motor_scenario(LOAD, "1200rpm", frames)
    assert len(motor_entities()) == 8


@pytest.mark.data
@pytest.mark.nightly
def test_real_machines_go_through_the_laboratory(data_root: Path, tmp_path: Path) -> None:
    arguments = ["shifts", "--dataset", "asd", DATASET, "--data", str(data_root), "--detector", "pca"]
    arguments += ["--scenario", "machine-swap", "motor-load", "--entity", "omi-1", "600rpm-00lb"]
    assert main([*arguments, "--out", str(tmp_path), "--processes", "1"]) == 0
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["scenario"] for row in rows} == {"machine-swap", "motor-load"}
    # a bundle that was trained on rows of the new regime knows them no worse than one that was not
    assert all(float(row["auroc_target"]) > float(row["auroc_parent"]) - 0.05 for row in rows)
