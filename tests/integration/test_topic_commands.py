"""Commands that look into topics: dead letters shown and sent again, scores, alerts by choice, what an alert was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kafka_tools import Broker, create_topics, produce
from tests.integration.processes import run_command
from tests.integration.test_alerts import MINUTE, START, make_alert, send
from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.adaptation.labels import read_judged as read_judged_of_machine
from wheeltapper.follow.follower import TopicRecord, read_records
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.codec import encode_message
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.schemas.topics import topic_name
from wheeltapper.stream.settings import Settings
from wheeltapper.training.fitting.label_files import read_judged

Header = tuple[str, Any]

pytestmark = [pytest.mark.broker, pytest.mark.one_broker]


def command(broker: Broker, prefix: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command(*words, "--brokers", broker.address, "--prefix", prefix)


def letter_of(
    key: bytes | None, value: bytes | None, headers: list[Header], reason: str, topic: str, offset: int, **more: str
) -> tuple[bytes | None, bytes | None, list[Header]]:
    """A dead letter as workers publish it."""
    ours = {"reason": reason, "detail": "why", "topic": topic, "partition": "1", "offset": str(offset)}
    marks = [(f"wheeltapper-{name}", text.encode()) for name, text in ours.items()]
    return (
        key,
        value,
        [*marks, *headers, *((f"wheeltapper-{name.replace('_', '-')}", text.encode()) for name, text in more.items())],
    )


def test_dead_letters_are_shown_and_sent_again_byte_for_byte(broker: Broker, topics_prefix: str) -> None:
    # given dead letters whose keys, header names and values are any bytes, one of which is not whole
    create_topics(broker, topics_prefix)
    sensors = topic_name(topics_prefix, "sensors")
    originals: list[tuple[bytes | None, bytes | None, list[Header]]] = [
        (
            b"\xff\x00\xfe key",
            b"\x80\x81 no text",
            [("näme \U0001f600", b"\xff\x00"), ("", None), ("twice", b"1"), ("twice", b"2")],
        ),
        (None, b"{}", []),
        (b"", None, [("wheeltapper-reason", b"its own"), ("x", b"")]),
    ]
    letters = [
        letter_of(key, value, headers, "no-route", sensors, number)
        for number, (key, value, headers) in enumerate(originals)
    ]
    cut = letter_of(b"large", b"first part", [], "no-route", sensors, 7, original_size="9999")
    other = letter_of(b"pump-1", b"?", [], "not-decodable", sensors, 8)
    produce(broker, topic_name(topics_prefix, "dead-letters"), [*letters, cut, other])
    settings = Settings.model_validate({"kafka": {"brokers": broker.address}, "topics": {"prefix": topics_prefix}})

    def sent_again() -> list[TopicRecord]:
        return sorted(read_records(settings, "sensors"), key=lambda record: record.offset)

    # when those of one reason are shown: then a line each, and JSON gives the bytes back
    shown = command(broker, topics_prefix, "dead-letters", "tail", "--reason", "no-route")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 4
    assert "10 bytes of 9999" in shown.stdout
    lines = command(broker, topics_prefix, "dead-letters", "tail", "--json", "--limit", "2").stdout.splitlines()
    assert {json.loads(line)["reason"] for line in lines} <= {"no-route", "not-decodable"}
    # and when it is asked what would be sent, nothing is
    dry = command(broker, topics_prefix, "dead-letters", "replay", "--reason", "no-route", "--dry-run")
    assert "3 of 5 dead letters would be sent again" in dry.stdout, dry.stderr
    assert sent_again() == []
    # when they are sent again
    done = command(broker, topics_prefix, "dead-letters", "replay", "--reason", "no-route")
    # then each whole one is there as it was, in its partition; the one that is not is counted
    assert done.returncode == 0, done.stderr
    assert f"3 of 5 dead letters sent again: 3 to {sensors}\n1 left out" in done.stdout
    assert [
        (record.key, record.value if record.has_value else None, [*record.headers], record.partition)
        for record in sent_again()
    ] == [(*original, 1) for original in originals]
    # and a topic that is not there is named with the one that was meant
    wrong = command(broker, topics_prefix, "dead-letters", "replay", "--all", "--to", f"{topics_prefix}sensor")
    assert (wrong.returncode, f"did you mean '{sensors}'?" in wrong.stderr) == (2, True)


def test_scores_are_shown_by_machine_and_size(broker: Broker, topics_prefix: str) -> None:
    # given scores of two machines, in blocks of several
    create_topics(broker, topics_prefix)
    blocks = []
    for machine in ("pump-1", "fan-1"):
        for block in range(40):
            times = tuple(START + (3 * block + place) * MINUTE for place in range(3))
            scores = (0.1, 0.2, 1.5 if block % 10 == 9 else 0.3)
            blocks.append(
                ScoreBlock(
                    machine=machine, rule="pca", bundle="b", time=times, raw=scores, score=scores, threshold=(1.0,) * 3,
                    quality=(1.0,) * 3,
                )
            )  # fmt: skip
    records = [(block.machine.encode(), encode_message(block), ()) for block in blocks]
    produce(broker, topic_name(topics_prefix, "scores"), records)
    # when the newest of one machine are asked for
    newest = command(broker, topics_prefix, "scores", "tail", "--machine", "pump-*", "--limit", "2", "--json")
    assert [json.loads(line)["time"] for line in newest.stdout.splitlines()] == [
        START + 118 * MINUTE,
        START + 119 * MINUTE,
    ]
    # and when high ones are, however far back they are
    high = command(broker, topics_prefix, "scores", "tail", "--machine", "fan-1", "--above", "1", "--limit", "3")
    assert [line.split()[4] for line in high.stdout.splitlines()] == ["1.5"] * 3, high.stderr
    assert all(line.endswith("above") for line in high.stdout.splitlines())
    # then a machine that is not there is told with the one that was meant
    assert "did you mean 'pump-1'?" in command(broker, topics_prefix, "scores", "tail", "--machine", "pmup-1").stderr


def test_alerts_are_chosen_and_an_operator_says_what_they_were(
    broker: Broker, topics_prefix: str, tmp_path: Path
) -> None:
    # given an alert that has ended and one that is open
    create_topics(broker, topics_prefix)
    steps = [
        ("pump-1", "opened", 0, 0),
        ("pump-1", "cleared", 9, 0),
        ("pump-2", "opened", 3, 3),
        ("pump-2", "updated", 4, 3),
    ]
    send(broker, topics_prefix, [make_alert(*step) for step in steps])  # type: ignore[arg-type]

    def shown(*options: str) -> list[tuple[str, str]]:
        done = command(broker, topics_prefix, "alerts", "--json", *options)
        assert done.returncode == 0, done.stderr
        return [(alert["machine"], alert["event"]) for alert in map(json.loads, done.stdout.splitlines())]

    # when they are chosen
    assert shown("--open") == [("pump-2", "updated")]
    assert shown("--machine", "*-1") == [("pump-1", "opened"), ("pump-1", "cleared")]
    assert shown("--severity", "73") == []
    assert shown("--severity", "72", "--rule", "default", "--machine", "pump-2", "--open") == [("pump-2", "updated")]
    # and an operator says of one that it was right, and corrects that; of the other, by its machine, that it was right
    for words in (["id-pump-1", "right"], ["id-pump-1-0", "false"], ["pump-2", "right"]):
        done = command(broker, topics_prefix, "label", "--alert", words[0], "--answer", words[1], "--who", "anna")
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert "still open: right" in said
    # then training finds both, each with its span and the last word
    path = tmp_path / "labels.jsonl"
    done = command(broker, topics_prefix, "label", "--export", str(path))
    assert "of 2 alerts (1 false, 1 right, 0 unsure)" in done.stdout, done.stderr
    assert [(one.machine, one.label, one.time, one.until) for one in read_judged(path).alerts] == [
        ("pump-1", "normal", START, START + 9 * MINUTE),
        ("pump-2", "anomalous", START + 3 * MINUTE, START + 4 * MINUTE),
    ]
    # and the adaptation worker takes them as verdicts
    settings = Settings.model_validate({"kafka": {"brokers": broker.address}, "topics": {"prefix": topics_prefix}})
    bundle = open_bundle(write_bundle(tmp_path / "b", Recipe()))
    assert [read_judged_of_machine(settings, machine, bundle).verdicts for machine in ("pump-1", "pump-2", "fan")] == [
        {"id-pump-1-0": "reject"},
        {"id-pump-2-3": "confirm"},
        {},
    ]
    # and one that is not there is named with the machine that was meant
    wrong = command(broker, topics_prefix, "label", "--alert", "pmup-1", "--answer", "right")
    assert (wrong.returncode, "did you mean 'pump-1'?" in wrong.stderr) == (2, True)
