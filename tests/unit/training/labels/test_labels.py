"""Answers of operators to windows that training takes: joined, in the series' channels, of one length."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.cli import main
from wheeltapper.labels.options import add_label_arguments, asks_for_labels, read_sources, windows_to_learn
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.fitting.label_files import read_answers, write_answers
from wheeltapper.training.fitting.labels import ANOMALOUS, NORMAL, Answer, join, labelled_windows

MINUTE = 60_000_000


def request_of(
    number: int, *, rows: int = 4, channels: tuple[str, ...] = ("a", "b"), machine: str = "pump-1", lag: int = 0
) -> LabelRequest:
    """Values are 100 * number + 10 * row + column; the first value of channel 'a' is missing."""
    table = [[100.0 * number + 10 * row + column for column in range(len(channels))] for row in range(rows)]
    values = [tuple(None if row == 0 and name == "a" else line[column] for column, name in enumerate(channels)) for row, line in enumerate(table)]  # fmt: skip
    ts = tuple(number * 1_000 * MINUTE + row * MINUTE for row in range(rows))
    return LabelRequest(
        request_id=f"q{number}", machine=machine, time=ts[-1 - lag], rule="pca", detector="pca", bundle="b", score=0.9,
        threshold=1, uncertainty=0.5, quality=1, shares=(), channels=channels, units=("",) * len(channels), ts=ts,
        values=tuple(values),
    )  # fmt: skip


def label_of(request: LabelRequest, word: str, comment: str = "") -> Label:
    return Label(
        request_id=request.request_id,
        machine=request.machine,
        time=request.time,
        label=word,
        who="anna",
        at=1,
        comment=comment,
    )


def answer_of(number: int, word: str, **how: object) -> Answer:
    request = request_of(number, **how)  # type: ignore[arg-type]
    return Answer(request, label_of(request, word))


def test_the_last_label_of_a_question_counts() -> None:
    # given a question that came twice and was answered twice, one without an answer, and a label without a question
    first, second = request_of(1), request_of(2)
    labels = [label_of(first, "normal"), label_of(request_of(9), "normal"), label_of(first, "anomalous")]
    # when they are joined: then the answered one is there once, with what was said last
    assert [(one.request.request_id, one.label.label) for one in join([second, first, first], labels)] == [
        ("q1", "anomalous")
    ]


def test_windows_are_raw_values_in_the_channels_of_the_series() -> None:
    # given answers out of order, of a bundle with its channels in another order and one more
    answers = [answer_of(2, "anomalous", channels=("c", "b", "a")), answer_of(1, "normal", channels=("c", "b", "a"))]
    # when they are made into windows
    labelled, left_out = labelled_windows(answers, ("a", "b"))
    # then rows are by time, columns those of the series, and a missing value stays one
    assert left_out == []
    assert labelled.labels.tolist() == [NORMAL, ANOMALOUS]
    assert labelled.times.tolist() == [answers[1].request.time, answers[0].request.time]
    assert (labelled.windows.shape, labelled.windows.dtype) == ((2, 4, 2), np.float32)
    np.testing.assert_array_equal(labelled.windows[0], [[np.nan, 101], [112, 111], [122, 121], [132, 131]])


def test_longer_windows_are_cut_to_their_last_rows_shorter_ones_left_out() -> None:
    # given windows of 3, 4 and 6 rows, of which one is unsure and one of another machine
    answers = [
        answer_of(1, "normal", rows=3),
        answer_of(2, "normal", rows=4),
        answer_of(3, "anomalous", rows=6),
        answer_of(4, "unsure", rows=6),
        answer_of(5, "normal", rows=6, machine="fan-1"),
    ]
    # when windows of 4 rows of pumps are wanted
    labelled, left_out = labelled_windows(answers, ("a", "b"), window=4, machines="pump-*")
    # then two can be had, and the others are accounted for
    assert labelled.windows[:, -1, 0].tolist() == [230, 350]
    assert labelled.windows.shape == (2, 4, 2)
    assert left_out == [
        "1 label was left out: of machines other than 'pump-*'",
        "1 label was left out: unsure",
        "1 label was left out: windows of fewer than 4 rows",
    ]
    # and without a wish it is the length that most have
    assert labelled_windows(answers, ("a", "b"))[0].windows.shape == (2, 6, 2)


def test_a_window_ends_with_the_row_that_was_judged() -> None:
    # given a window of a detector that lags by a row
    labelled, _ = labelled_windows([answer_of(1, "anomalous", lag=1)], ("a", "b"))
    # when it is made into one for training: then the row behind the judged one is gone
    assert labelled.windows[0, :, 1].tolist() == [101, 111, 121]


def test_a_window_that_lacks_a_channel_is_refused_by_name() -> None:
    with pytest.raises(
        InputError, match=r"machine 'pump-1' at 1970-.* lacks 1 of the series' 2 channels, first 'flow'"
    ):
        labelled_windows([answer_of(1, "normal")], ("a", "flow"))


@pytest.mark.parametrize("answers", [[], [answer_of(1, "unsure")], [answer_of(1, "normal", rows=2)]])
def test_nothing_to_learn_from_is_an_error(answers: list[Answer]) -> None:
    with pytest.raises(InputError, match="no label can be learned from"):
        labelled_windows(answers, ("a", "b"), window=3)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    # given answers in a file, and the same file once more behind it with a correction
    path = tmp_path / "labels.jsonl"
    answers = [answer_of(1, "normal"), answer_of(2, "unsure")]
    write_answers(path, answers)
    assert read_answers(path) == answers
    corrected = Answer(answers[0].request, label_of(answers[0].request, "anomalous", "Öldruck"))
    write_answers(tmp_path / "more.jsonl", [corrected])
    path.write_bytes(path.read_bytes() + b"\n" + (tmp_path / "more.jsonl").read_bytes())
    # when it is read: then the correction counts
    assert read_answers(path) == [corrected, answers[1]]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "line 2: line: Invalid JSON"),
        (b'{"request": {}}', "line 2: request.request_id: Field required"),
        (b"\xff", "line 2: "),
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = tmp_path / "labels.jsonl"
    write_answers(path, [answer_of(1, "normal")])
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(InputError, match="expected an object with 'request' and 'label'") as caught:
        read_answers(path)
    assert complaint in str(caught.value)


def test_a_label_beside_another_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_answers(path, [Answer(request_of(1), label_of(request_of(2), "normal"))])

    with pytest.raises(InputError, match=r"line 1: the label is for request q2, but is on one line with q1"):
        read_answers(path)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: cannot be read"):
        read_answers(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        write_answers(tmp_path / "nowhere" / "labels.jsonl", [])


def test_of_several_files_the_last_word_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given a file, and a later one that corrects it
    files = []
    for number, words in enumerate([("normal", "normal"), ("anomalous",)]):
        files.append(tmp_path / f"{number}.jsonl")
        write_answers(files[-1], [answer_of(place, word) for place, word in enumerate(words, start=1)])
    parser = argparse.ArgumentParser()
    add_label_arguments(parser)
    # when both are given to train
    arguments = parser.parse_args([f"--labels={file}" for file in files])
    series = load_series("simulated", None, "pump-1")
    series = replace(series, channels=("a", "b"))
    labelled = windows_to_learn(read_sources(arguments), [], series, machines="*", window=None, default_window=9)
    # then the later one counts, and the user is told what there is
    assert labelled is not None
    assert labelled.labels.tolist() == [ANOMALOUS, NORMAL]
    assert "2 windows of 4 rows: 1 normal, 1 anomalous" in capsys.readouterr().out
    assert not asks_for_labels(parser.parse_args([]))


def test_a_detector_that_does_not_learn_from_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given labels of windows for PCA, when it is trained: then it says that they are not used, and writes its bundle
    write_answers(tmp_path / "labels.jsonl", [answer_of(1, "normal")])
    words = ["train", "pca", "--dataset", "simulated", "--entity", "pump-1", "--out", str(tmp_path / "pca")]
    assert main([*words, "--no-torchscript", "--labels", str(tmp_path / "labels.jsonl")]) == 0
    assert "pca does not learn from labels" in capsys.readouterr().out
