"""What operators said of alerts, as training takes it: rows under right ones are left out, those under false ones stay."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import normal_rows
from wheeltapper.cli import main
from wheeltapper.labels.options import OperatorLabels, judged_of_series, windows_to_learn
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label
from wheeltapper.training.adaptation.service.alerts import AlertBook, KnownAlert
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.label_files import read_answers, read_judged, write_answers
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, JudgedSpan, alert_labels, judged_spans

MINUTE = 60_000_000
START = 1_704_067_200_000_000


def said(ident: str, word: str, first: int, last: int | None, *, machine: str = "pump-1", at: int = 1) -> Label:
    """Of an alert from minute `first` to minute `last`."""
    until = None if last is None else START + last * MINUTE
    return Label(
        request_id=ident, machine=machine, time=START + first * MINUTE, label=word, who="anna", at=at, alert_id=ident,
        until=until,
    )  # fmt: skip


def series_of(rows: int = 100, *, made_up: bool = False) -> SensorSeries:
    times = START + MINUTE * np.arange(rows, dtype=np.int64)
    values = np.arange(rows, dtype=np.float32)[:, None]
    return SensorSeries(
        "csv", "pump-1", ("flow",), ("",), 60.0, values, times, values[:0], times[:0], made_up_clock=made_up
    )


def test_labels_of_alerts_survive_a_file_and_the_last_one_counts(tmp_path: Path) -> None:
    # given an alert that was called right and then false, and one of which nobody is sure
    labels = [said("b", "unsure", 50, 60), said("a", "anomalous", 5, 9), said("a", "normal", 5, 9, at=2)]
    write_answers(tmp_path / "labels.jsonl", [], labels)
    # when the file is read: then there are two, and one span to learn from
    found = read_judged(tmp_path / "labels.jsonl")
    assert [(label.alert_id, label.label) for label in found.alerts] == [("a", "normal"), ("b", "unsure")]
    assert read_answers(tmp_path / "labels.jsonl") == []
    assert judged_spans(found.alerts) == [JudgedSpan(START + 5 * MINUTE, START + 9 * MINUTE, NORMAL)]
    assert alert_labels([]) == []


def test_a_label_of_a_window_does_not_stand_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(
        '{"label":' + said("a", "normal", 1, 2).model_copy(update={"alert_id": ""}).model_dump_json() + "}\n"
    )
    with pytest.raises(InputError, match="line 1: request: Field required"):
        read_judged(path)


def test_alerts_of_the_machine_that_lie_in_the_rows_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    labels = OperatorLabels(
        [],
        [
            said("right", "anomalous", 10, 20),
            said("false", "normal", 40, 45),
            said("unsure", "unsure", 50, 51),
            said("later", "anomalous", 500, 510),
            said("other", "anomalous", 10, 20, machine="pump-2"),
            said("open", "anomalous", 95, None),
        ],
    )
    spans = judged_of_series(labels, series_of(), "*")
    assert [(span.label, (span.first - START) // MINUTE) for span in spans] == [
        (ANOMALOUS, 10),
        (NORMAL, 40),
        (ANOMALOUS, 95),
    ]
    told = capsys.readouterr().out
    assert "3 alerts: 2 right" in told
    assert "1 false" in told
    assert "1 alert is left out: of machines other than 'pump-1'" in told
    assert "1 alert is left out: unsure" in told
    assert "1 alert is left out: not in the rows that are trained on" in told


def test_rows_without_times_have_no_alerts(capsys: pytest.CaptureFixture[str]) -> None:
    labels = OperatorLabels([], [said("a", "anomalous", 10, 20)])
    assert judged_of_series(labels, series_of(made_up=True), "*") == []
    assert "the rows have no times of their own" in capsys.readouterr().out


def test_a_detector_that_learns_from_labels_gets_windows_of_both() -> None:
    labels = OperatorLabels([], [said("right", "anomalous", 50, 60), said("false", "normal", 80, 82)])
    series = series_of()
    spans = judged_of_series(labels, series, "*")
    windows = windows_to_learn(labels, spans, series, machines="*", window=None, default_window=8)
    assert windows is not None
    ends = {int(end): int(label) for end, label in zip(windows.windows[:, -1, 0], windows.labels, strict=True)}
    assert windows.windows.shape[1:] == (8, 1)
    assert ends == {**dict.fromkeys(range(50, 58), ANOMALOUS), **dict.fromkeys(range(80, 83), NORMAL)}


def test_alerts_without_enough_rows_before_them_give_nothing_to_learn_from() -> None:
    labels = OperatorLabels([], [said("right", "anomalous", 1, 2)])
    series = series_of()
    spans = judged_of_series(labels, series, "*")
    with pytest.raises(InputError, match="no 8 rows without a hole"):
        windows_to_learn(labels, spans, series, machines="*", window=None, default_window=8)


def test_the_adaptation_worker_counts_labels_of_alerts_as_commands() -> None:
    # given three alerts, of which one was confirmed by a command
    book = AlertBook()
    book._machines["pump-1"] = {
        ident: KnownAlert(ident, "pca", "bundle", START, 0, verdict=verdict)
        for ident, verdict in (("a", ""), ("b", "confirm"), ("c", ""))
    }
    # when labels say that two of them were false
    book.judge_by_labels("pump-1", {"a": "reject", "b": "reject"})
    # then the command's word stays, and of the third nothing is known
    assert [alert.verdict for alert in book.of("pump-1")] == ["reject", "confirm", ""]


def test_training_leaves_rows_under_right_alerts_out_and_keeps_those_under_false_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a machine's rows, a right and a false alert among them
    rows = normal_rows(1600, 2)
    with (tmp_path / "pump-1.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "flow", "power"])
        table.writerows([iso_from_micros(START + row * MINUTE), *line] for row, line in enumerate(rows.tolist()))
    labels = [said("a", "anomalous", 100, 149), said("b", "normal", 300, 349), said("c", "anomalous", 780, None)]
    write_answers(tmp_path / "labels.jsonl", [], labels)
    # when a detector is trained that does not learn from labels
    words = [
        "train",
        "l2-norm",
        "--dataset",
        "csv",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "b"),
        "--no-torchscript",
    ]
    assert main([*words, "--labels", str(tmp_path / "labels.jsonl")]) == 0
    # then the right one's 50 rows are left out, and the open one's up to the end of the train part
    assert open_bundle(tmp_path / "b").manifest.training_data.rows == 800 - 50 - 20
    told = capsys.readouterr().out
    assert "left out     70 rows under alerts that were right" in told
    assert "does not learn from labels" not in told
