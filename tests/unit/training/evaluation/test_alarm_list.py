"""`evaluate` lists alarms with time and cause where nothing says which of them are false."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.helpers.machines import normal_rows
from wheeltapper.alarm_list import listed
from wheeltapper.cli import main
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.events import AlertEvent

MINUTE = 60_000_000
START = 1_704_067_200_000_000


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine without labels, with a fault of 40 rows in its second half, and its bundle."""
    folder = tmp_path_factory.mktemp("plant")
    rows = normal_rows(2400, 3)
    rows[1800:1840, 1] += 40
    with (folder / "pump-1.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "flow", "power", "speed"])
        table.writerows([iso_from_micros(START + row * MINUTE), *line] for row, line in enumerate(rows.tolist()))
    words = ["--dataset", "csv", "--data", str(folder), "--out", str(folder / "b"), "--no-torchscript"]
    assert main(["train", "l2-norm", *words]) == 0
    return folder


def test_alarms_of_rows_without_labels_are_listed_as_the_worker_raises_them(
    plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given the alerts that a worker would publish
    data = ["--dataset", "csv", "--data", str(plant)]
    assert main(["backtest", str(plant / "b"), *data, "--alerts", str(tmp_path / "alerts.jsonl")]) == 0
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    opened = {alert["alert_id"] for alert in alerts if alert["event"] == "opened"}
    capsys.readouterr()
    # when the rows are evaluated
    assert main(["evaluate", str(plant / "b"), *data, "--json", str(tmp_path / "report.json")]) == 0
    text = capsys.readouterr().out
    # then there is no table of metrics but a line each: since when, how long, how bad, and the cause
    assert "VUS" not in text
    assert f"{len(opened)} alarm" in text
    lines = [line for line in text.splitlines() if line.startswith("2024-")]
    assert len(lines) == len(opened)
    worst = max(lines, key=lambda line: float(line.split("peak ")[1].split()[0]))
    assert worst.startswith(iso_from_micros(START + 1800 * MINUTE))
    assert "  for " in worst
    assert "power" in worst
    # and they are the same alerts
    report = json.loads((tmp_path / "report.json").read_text())
    assert {alarm["alert_id"] for alarm in report["alarm_list"]} == opened


def test_routes_of_a_plant_do_not_decide_which_bundle_is_judged(plant: Path, tmp_path: Path) -> None:
    # given a worker's settings, whose routes name another bundle for the machine
    (tmp_path / "worker.toml").write_text('[routes]\n"pump-1" = "nowhere"\n')
    data = ["--dataset", "csv", "--data", str(plant), "--config", str(tmp_path / "worker.toml")]
    # when rows are run offline: then the bundle on the command line scores them
    assert main(["backtest", str(plant / "b"), *data, "--alerts", str(tmp_path / "alerts.jsonl")]) == 0
    assert main(["evaluate", str(plant / "b"), *data]) == 0


def test_other_rows_than_the_test_part_can_be_judged(
    plant: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["evaluate", str(plant / "b"), "--dataset", "csv", "--data", str(plant), "--json", str(tmp_path / "r.json")]
    assert main([*words, "--rows", "0..1500"]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["rows"] == 1500
    assert all(alarm["opened_at"] < START + 1500 * MINUTE for alarm in report["alarm_list"])
    assert main([*words, "--rows", "9000.."]) == 2
    assert "none of the 2400 rows" in capsys.readouterr().err


def event(ident: str, step: str, minute: int, score: float, opened: int) -> AlertEvent:
    return AlertEvent(
        alert_id=ident, machine="m", event=step, opened_at=opened, time=minute, severity=50, score=score, peak_score=score,
        threshold=1, rule="r", detector="d", bundle="b", quality=1, channels=(),
    )  # type: ignore[arg-type]  # fmt: skip


def test_each_alert_is_one_entry_by_its_worst_event_and_its_end() -> None:
    # given two alerts side by side, one of which never ends
    events = [
        event("b", "opened", 5, 1.0, 5),
        event("a", "opened", 6, 1.1, 4),
        event("b", "updated", 7, 3.0, 5),
        event("b", "updated", 8, 2.0, 5),
        event("b", "cleared", 9, 0.1, 5),
    ]
    # when they are listed: then in the order in which they opened, each with its worst moment
    alarms = listed(events)
    assert [(one.worst.alert_id, one.worst.time, one.cleared and one.cleared.time) for one in alarms] == [
        ("a", 6, None),
        ("b", 7, 9),
    ]
