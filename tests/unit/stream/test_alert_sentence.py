"""What an alert says in one sentence, for the operator who is woken by it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wheeltapper.schemas.events import AlertEvent
from wheeltapper.stream.alert_sentence import sentence_of

TIME = 1_793_866_860_000_000
MINUTE = 60_000_000
PAGE = Path(__file__).parents[3] / "docs" / "messages.md"


def alert(**changes: Any) -> AlertEvent:
    fields: dict[str, Any] = {
        "alert_id": "a", "machine": "pump-7", "event": "opened", "opened_at": TIME, "time": TIME, "severity": 71,
        "score": 2.5, "peak_score": 2.5, "threshold": 1.0, "rule": "pca", "detector": "pca", "bundle": "b", "quality": 1.0,
        "channels": [channel("pressure")],
    }  # fmt: skip
    return AlertEvent.model_validate(fields | changes)


def channel(name: str, **worst: Any) -> dict[str, Any]:
    """A channel with a worst row two minutes before the alert; without one where nothing is said of it."""
    row = {"time": TIME - 2 * MINUTE, "kind": "out_of_range", "actual": 9.75, "low": 5.9, "high": 7.1} | worst
    return {"channel": name, "unit": "bar", "share": 0.5, "actual": 6.5, "worst": row if worst else None}


@pytest.mark.parametrize(
    ("worst", "text"),
    [
        ({"kind": "out_of_range"}, "pressure was 9.75 bar at 2026-11-05 08:19:00 UTC, above its usual 5.9 to 7.1 bar"),
        ({"actual": 1.5}, "pressure was 1.5 bar at 2026-11-05 08:19:00 UTC, below its usual 5.9 to 7.1 bar"),
        ({"low": 0.0, "high": 0.0}, "pressure was 9.75 bar at 2026-11-05 08:19:00 UTC, above its usual 0 bar"),
        (
            {"kind": "changed", "expected": 6.5},
            "pressure went from 6.5 bar to 9.75 bar at 2026-11-05 08:19:00 UTC, an unusual change",
        ),
        (
            {"kind": "decoupled", "expected": 6.5},
            "pressure was 9.75 bar at 2026-11-05 08:19:00 UTC while the other channels imply 6.5 bar",
        ),
        (
            {"kind": "stuck"},
            "pressure has stood still at 9.75 bar since 2026-11-05 08:19:00 UTC, longer than ever in training",
        ),
        ({}, "pressure behaves unusually"),
    ],
)
def test_an_alert_says_what_was_wrong_with_its_first_channel(worst: dict[str, Any], text: str) -> None:
    sentence = sentence_of(alert(channels=[channel("pressure", **worst)]))
    assert sentence == f"pump-7 is in alarm, severity 71 of 100: {text}."


@pytest.mark.parametrize(
    ("others", "text"),
    [
        (["flow"], "; flow is unusual too."),
        (["flow", "current"], "; flow and current are unusual too."),
        (["flow", "current", "speed", "torque"], "; flow, current and 2 more are unusual too."),
    ],
)
def test_other_channels_are_named_and_counted(others: list[str], text: str) -> None:
    sentence = sentence_of(alert(channels=[channel(name) for name in ["pressure", *others]]))
    assert sentence.endswith(f"pressure behaves unusually{text}")


def test_a_worse_alert_says_so_and_where_the_machine_stands() -> None:
    sentence = sentence_of(alert(event="updated", area="hall 2/line 1", severity=90))
    assert sentence.startswith("pump-7 (hall 2/line 1) is still in alarm and worse, severity 90 of 100: ")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (None, "it is back to normal"),
        ("recovered", "it is back to normal"),
        ("superseded", "the rule that raised it was replaced, and the fault may still be there"),
        ("machine-retired", "no bundle watches the machine any more"),
        ("no-data", "the machine fell silent and was forgotten"),
        ("accepted", "an operator accepted this as the new normal"),
    ],
)
def test_an_end_says_after_how_long_and_why(reason: str | None, text: str) -> None:
    sentence = sentence_of(alert(event="cleared", reason=reason, time=TIME + 65 * MINUTE))
    assert sentence == f"pump-7 is no longer in alarm, after 1 h 5 min: {text}."


def test_silence_and_dead_microphones_have_words_of_their_own() -> None:
    silent = {"rule": "no-data", "detector": "no-data", "bundle": "", "channels": []}
    assert sentence_of(alert(**silent)) == "pump-7 has sent no data since 2026-11-05 08:21:00 UTC."
    back = alert(**silent, event="cleared", reason="recovered", time=TIME + 5 * MINUTE)
    assert sentence_of(back) == "pump-7 sends data again, after 5 min."
    dead = {"rule": "dead-microphone", "detector": "dead-microphone", "bundle": "", "machine": "fan-1::inlet"}
    assert sentence_of(alert(**dead)).startswith(
        "fan-1, microphone inlet, has given no sound since 2026-11-05 08:21:00"
    )


def test_sound_says_which_frequencies_and_when_and_a_joint_alert_says_both() -> None:
    patch = {"start": TIME - 3_500_000, "end": TIME - 3_000_000, "low_hz": 500, "high_hz": 630, "share": 0.6}
    band = {"channel": "500-630 Hz", "share": 0.6, "actual": None}
    sound = sentence_of(alert(patches=[patch], channels=[band]))
    assert sound.endswith(": unusual sound at 500 to 630 Hz, 3.5 s before 2026-11-05 08:21:00 UTC.")
    joint = sentence_of(alert(patches=[patch], channels=[channel("pressure", kind="stuck"), band]))
    assert ": sensors and sound agree, pressure has stood still at 9.75 bar since " in joint


def test_a_sentence_stays_short_whatever_the_names_are() -> None:
    # given names as long as a message may have them
    longest = alert(
        machine="m" * 1024, area="a" * 1024, channels=[channel(letter * 1024, kind="stuck") for letter in "abcdef"]
    )
    # when the sentence is made: then it still fits on a small screen
    assert len(sentence_of(longest)) < 600


def test_the_page_of_messages_shows_the_sentences_that_are_written() -> None:
    examples = re.findall(r"<!-- example: AlertEvent -->\n```json\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    shown = [AlertEvent.model_validate_json(example) for example in examples]
    assert [sentence_of(event) for event in shown] == [event.message for event in shown]
    assert len(shown) == 2
