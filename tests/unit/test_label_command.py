"""`wheeltapper label` without a broker: what is shown, what may be typed, which options go together."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wheeltapper.cli import main
from wheeltapper.commands.label import Reply, parse_reply
from wheeltapper.labels.topics import Questions
from wheeltapper.labels.view import PLAIN_BLOCKS, render_question, sparkline
from wheeltapper.schemas.events import ChannelShare, Label, LabelRequest
from wheeltapper.training.fitting.label_files import read_answers

MINUTE = 60_000_000
START = 1_700_000_000_000_000


def request_of(number: int, machine: str = "pump-1") -> LabelRequest:
    share = ChannelShare(channel="flow", unit="m3/h", share=0.75, actual=4.0, expected=1.5)
    return LabelRequest(
        request_id=f"{number}{number}aa-bb", machine=machine, time=START + (number * 60 + 3) * MINUTE, rule="pca",
        detector="pca", bundle="b", score=0.9, threshold=1, uncertainty=2 / 3, quality=0.875, shares=(share,),
        channels=("pressure", "flow"), units=("bar", "m3/h"),
        ts=tuple(START + (number * 60 + row) * MINUTE for row in range(4)),
        values=((5.0, 1.0), (5.0, None), (5.0, 3.0), (5.0, 4.0)),
    )  # fmt: skip


class Desk:
    """Questions of a plant, and what came of them."""

    def __init__(self) -> None:
        self.requests = [request_of(3), request_of(2), request_of(1)]
        self.labels: dict[str, Label] = {}
        self.sent: list[Label] = []

    def read(self, *_: Any, **__: Any) -> Questions:
        return Questions(self.requests, dict(self.labels), [])

    def send(self, label: Label) -> None:
        self.sent.append(label)
        self.labels[label.request_id] = label


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk()
    monkeypatch.setattr("wheeltapper.labels.topics.read_questions", desk.read)
    monkeypatch.setattr("wheeltapper.labels.topics.LabelSender.__init__", lambda *_: None)
    monkeypatch.setattr("wheeltapper.labels.topics.LabelSender.send", lambda _, label: desk.send(label))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LOGNAME", "anna")
    return desk


def type_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("n", Reply("normal", "")),
        ("  A valve half closed ", Reply("anomalous", "valve half closed")),
        ("unsure", Reply("unsure", "")),
        ("S", Reply("skip", "")),
        ("quit", Reply("quit", "")),
        ("", None),
        ("no", None),
        ("norma l", None),
        ("1", None),
    ],
)
def test_a_letter_or_a_word_and_a_comment(text: str, reply: Reply | None) -> None:
    assert parse_reply(text) == reply


def test_each_open_question_is_asked_and_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given three questions, of which one has been answered
    desk.labels[desk.requests[1].request_id] = Label(
        request_id=desk.requests[1].request_id, machine="pump-1", time=1, label="normal", who="x", at=1
    )
    # when the operator mistypes, answers the first with a comment, and skips the other
    type_in(monkeypatch, "what?", "a valve half closed", "s")
    assert main(["label"]) == 0
    # then the answer is out under the operator's name, and the end says what is left
    (label,) = desk.sent
    assert (label.request_id, label.machine, label.time) == ("33aa-bb", "pump-1", desk.requests[0].time)
    assert (label.label, label.who, label.comment) == ("anomalous", "anna", "valve half closed")
    assert label.at > START
    printed = capsys.readouterr().out
    assert "2 of 2" in printed
    assert "expected n, a or u" in printed
    assert printed.endswith("1 answered, 1 open\n")


@pytest.mark.parametrize("ending", ["q", "end of input", "Ctrl-C"])
def test_leaving_loses_no_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    # given an operator who answers one and leaves
    type_in(monkeypatch, "n", *(["q"] if ending == "q" else []))
    if ending == "Ctrl-C":
        typed = iter(["n"])

        def read(*_: object, **__: object) -> str:
            for line in typed:
                return line
            raise KeyboardInterrupt

        monkeypatch.setattr("rich.console.Console.input", read)
    # when the command ends: then it ends well, and what was answered is out
    assert main(["label"]) == 0
    assert [label.label for label in desk.sent] == ["normal"]
    assert capsys.readouterr().out.endswith("1 answered, 2 open\n")


def test_nothing_to_ask_is_said(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.requests = []
    assert main(["label"]) == 0
    assert capsys.readouterr().out == "no request is open\n"


def test_a_request_is_named_by_how_it_begins(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    # when one is answered, and corrected
    assert main(["label", "--answer", "normal", "--request", "2"]) == 0
    assert main(["label", "--answer", "unsure", "--request", "22aa", "--who", "bert", "--json"]) == 0
    # then both answers are out, the second as the message that it is
    first, second = capsys.readouterr().out.splitlines()
    assert first == "pump-1 at 2023-11-15T00:16:20Z: normal"
    assert Label.model_validate_json(second) == desk.sent[1]
    assert [(label.label, label.who) for label in desk.sent] == [("normal", "anna"), ("unsure", "bert")]


@pytest.mark.parametrize("ident", ["", "9", "aa"])
def test_a_request_that_is_not_one_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str], ident: str) -> None:
    assert main(["label", "--answer", "normal", "--request", ident]) == 2
    assert f"--request '{ident}': " in capsys.readouterr().err
    assert desk.sent == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--answer", "normal"], "--answer goes with --request ID or --alert ID"),
        (["--request", "2"], "--answer goes with --request ID or --alert ID"),
        (["--comment", "x"], "--comment goes with --answer"),
        (["--json"], "--json goes with --list or --answer"),
        (["--limit", "0"], "--limit 0: expected a whole number"),
        (["--since", "yesterday"], "--since yesterday: expected ISO 8601"),
        (["--answer", "normal", "--request", "2", "--who", " "], "--who is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert main(["label", *words]) == 2
    assert complaint in capsys.readouterr().err
    assert desk.sent == []


def test_lists_are_lines_for_people_or_messages(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--list", "--limit", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "33aa-bb  2023-11-15T01:16:20Z  pump-1  pca  score 0.9 of 1  flow 4 m3/h, expected 1.5 (75 % of the score)",
        "22aa-bb  2023-11-15T00:16:20Z  pump-1  pca  score 0.9 of 1  flow 4 m3/h, expected 1.5 (75 % of the score)",
    ]
    assert main(["label", "--list", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [LabelRequest.model_validate_json(line) for line in lines] == desk.requests


def test_answers_are_exported(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--answer", "anomalous", "--request", "2"]) == 0
    assert main(["label", "--export", str(tmp_path / "labels.jsonl")]) == 0
    assert "1 labels (0 normal, 1 anomalous, 0 unsure)" in capsys.readouterr().out
    (answer,) = read_answers(tmp_path / "labels.jsonl")
    assert (answer.request, answer.label) == (desk.requests[1], desk.sent[0])


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([1, None, 3], "▁ █"),
        ([2, 2, 2], "▁▁▁"),
        ([None, None], "  "),
        ([0.0] * 50 + [1.0] * 50, "▁▁▁▁▁█████"),
        ([-1e30, 1e30], "▁█"),
    ],
)
def test_sparklines(values: list[float | None], curve: str) -> None:
    assert sparkline(values, width=10) == curve


def test_a_question_shows_its_channels_with_values_and_curves() -> None:
    # given a request whose machine's name tries to move the cursor
    console = Console(width=160, file=io.StringIO(), highlight=False)
    request = request_of(1, machine="pump\x1b[2J")
    # when it is shown
    console.print(render_question(request, blocks=PLAIN_BLOCKS), soft_wrap=True)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    # then head, span, and the channel to blame with its limits and its curve
    assert lines[0] == "11aa-bb  2023-11-14T23:16:20Z  pump?[2J  pca  score 0.9 of 1  (67 % uncertain)"
    assert lines[1] == "  4 rows, 3 min, from 2023-11-14T23:13:20Z to 2023-11-14T23:16:20Z; 88 % measured"
    assert lines[2].split() == [
        "flow",
        "4",
        "m3/h,",
        "expected",
        "1.5",
        "(75",
        "%",
        "of",
        "the",
        "score)",
        "1",
        "..",
        "4",
        "_",
        "*@",
    ]
