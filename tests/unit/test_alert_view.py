"""An alert as one line for a person."""

from __future__ import annotations

import pytest

from wheeltapper.alert_view import render
from wheeltapper.commands.alerts import parse_since
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import AlertEvent, ChannelShare, Patch
from wheeltapper.schemas.text import number, span_text


def make_alert(**changes: object) -> AlertEvent:
    fields: dict[str, object] = {
        "alert_id": "5f0c",
        "machine": "pump-3",
        "event": "opened",
        "opened_at": 1_700_000_000_000_000,
        "time": 1_700_000_000_000_000,
        "severity": 72,
        "score": 1.4444,
        "peak_score": 1.4444,
        "threshold": 1.0,
        "rule": "default",
        "detector": "range-bands",
        "bundle": "b",
        "quality": 1.0,
        "channels": (ChannelShare(channel="flow", unit="m3/h", share=0.754, actual=3.4, expected=12.1),),
    }
    return AlertEvent.model_validate(fields | changes)


def test_a_line_says_when_how_bad_where_what_and_why() -> None:
    # given an alert, when it is rendered
    line = render(make_alert()).plain
    # then everything is in one line
    assert line == (
        "2023-11-14T22:13:20Z  severity  72  opened   pump-3  range-bands  score 1.444  "
        "flow 3.4 m3/h, expected 12.1 (75 % of the score)"
    )


WORST = {"time": 1_700_000_000_000_000 - 5_000_000, "actual": 3.4, "low": 11.8, "high": 12.6, "expected": 12.1}


@pytest.mark.parametrize(
    ("worst", "text"),
    [
        ({"kind": "out_of_range"}, "flow 3.4 m3/h, usual 11.8 to 12.6, at 22:13:15 (75 % of the score)"),
        (
            {"kind": "out_of_range", "low": 12.0, "high": 12.0},
            "flow 3.4 m3/h, usual 12, at 22:13:15 (75 % of the score)",
        ),
        ({"kind": "changed"}, "flow 3.4 m3/h, before that 12.1, at 22:13:15 (75 % of the score)"),
        ({"kind": "decoupled"}, "flow 3.4 m3/h, other channels imply 12.1, at 22:13:15 (75 % of the score)"),
        ({"kind": "stuck"}, "flow stuck at 3.4 m3/h since 22:13:15 (75 % of the score)"),
        (
            {"kind": "stuck", "time": 1_700_000_000_000_000 - 86_400_000_000},
            "flow stuck at 3.4 m3/h since 2023-11-13T22:13:20 (75 % of the score)",
        ),
    ],
)
def test_the_worst_row_of_a_channel_is_told_with_its_time(worst: dict[str, object], text: str) -> None:
    # given a channel that was worst before the row that the alert is about, which itself looks normal
    share = {"channel": "flow", "unit": "m3/h", "share": 0.75, "actual": 12.1, "expected": 12.1, "worst": WORST | worst}
    # when the alert is rendered: then the line says what was measured, what would be usual, and when
    assert render(make_alert(channels=(share,))).plain.endswith(f"  {text}")


def test_a_level_that_moved_says_why() -> None:
    # given an alert of a machine whose level was raised by earlier ones: then the line ends with that
    line = render(make_alert(level_reason="level x 2.0 after 3 alarms")).plain
    assert line.endswith("flow 3.4 m3/h, expected 12.1 (75 % of the score)  [level x 2.0 after 3 alarms]")


def test_channels_without_expected_or_actual_values_say_so() -> None:
    # given channels of a detector that expects nothing, and of a sensor that gave nothing
    channels = (
        ChannelShare(channel="a", share=0.5, actual=7.0),
        ChannelShare(channel="b", unit="bar", share=0.3, actual=None, expected=2.0),
        ChannelShare(channel="c", share=0.1, actual=0.0),
        ChannelShare(channel="d", share=0.1, actual=1.0),
    )
    # when the alert is rendered, then neither is invented, and the rest is counted
    assert render(make_alert(channels=channels)).plain.endswith(
        "  a 7 (50 % of the score)  b missing, expected 2 (30 % of the score)  c 0 (10 % of the score)  +1 more"
    )


def test_of_sound_the_moments_and_frequencies_are_named() -> None:
    # given an alert of sound, whose bands have no values, and a joint one that has a sensor's channel too
    time = 1_700_000_000_000_000
    patches = tuple(
        Patch(start=time - start, end=time - start + 500_000, low_hz=low, high_hz=1.26 * low, share=share)
        for start, low, share in ((3_500_000, 500, 0.62), (1_000_000, 2_000, 0.2), (500_000, 90, 0.01))
    )
    band = ChannelShare(channel="500-630 Hz", share=0.6, actual=None)
    flow = ChannelShare(channel="flow", share=0.4, actual=3.4)
    # when they are rendered
    sound, joint = (
        render(make_alert(channels=channels, patches=patches)).plain for channels in ((band,), (band, flow))
    )
    # then the strongest patches stand there, by how long before the alert they were
    assert sound.endswith(
        "  500-630 Hz 3.5 to 3 s before (62 % of the score)  2000-2520 Hz 1 to 0.5 s before (20 % of the score)"
    )
    assert "  flow 3.4 (40 % of the score)  500-630 Hz 3.5 to 3 s before" in joint


def test_a_cleared_alert_tells_its_duration_and_peak() -> None:
    # given an alert that lasted an hour and a bit
    alert = make_alert(event="cleared", time=1_700_000_000_000_000 + 3_905_000_000, peak_score=3.25)
    # when it is rendered, then the line ends with that
    assert render(alert).plain.endswith("after 1 h 5 min, peak 3.25")


@pytest.mark.parametrize("reason", [None, "recovered"])
def test_a_recovery_is_not_told_it_is_the_rule(reason: str | None) -> None:
    # given an alert that cleared because its score fell, or one of an earlier version, which does not say
    line = render(make_alert(event="cleared", peak_score=3.25, reason=reason)).plain
    # when it is rendered, then the line ends as ever
    assert line.endswith("after 0 s, peak 3.25")


@pytest.mark.parametrize("reason", ["superseded", "machine-retired", "no-data"])
def test_another_end_than_a_recovery_is_told(reason: str) -> None:
    # given an alert that ended though the machine did not recover, when it is rendered, then the line says why
    line = render(make_alert(event="cleared", peak_score=3.25, reason=reason)).plain
    assert line.endswith(f"after 0 s, peak 3.25, reason: {reason}")


def test_an_alert_of_a_silent_machine_has_no_channels_to_show() -> None:
    # given an alert that no bundle raised
    alert = make_alert(rule="no-data", detector="no-data", bundle="", channels=(), score=1.002, severity=50)
    # when it is rendered, then its line ends with the score
    assert render(alert).plain == "2023-11-14T22:13:20Z  severity  50  opened   pump-3  no-data  score 1.002"


def test_names_cannot_move_the_readers_cursor() -> None:
    # given names with terminal control sequences
    channel = ChannelShare(channel="\x1b[2Jx", unit="\r", share=1.0, actual=1.0)
    # when the alert is rendered
    line = render(make_alert(machine="pump\x1b[31m\n", channels=(channel,))).plain
    # then nothing of them is left to obey
    assert line.isprintable()
    assert "pump?[31m?" in line


def test_severity_has_a_colour() -> None:
    # given alerts of rising severity, when they are rendered, then each step looks different
    styles = {str(render(make_alert(severity=severity)).spans[2].style) for severity in (10, 55, 75, 95)}
    assert len(styles) == 4


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 s"), (-5, "0 s"), (250_000, "0.25 s"), (45_000_000, "45 s"), (60_000_000, "1 min"),
        (61_000_000, "1 min 1 s"), (3_600_000_000, "1 h"), (3_605_000_000, "1 h"), (90_000_000_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units(micros: int, text: str) -> None:
    assert span_text(micros) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.3456, "12.35"), (-0.5, "-0.5"), (123456.0, "123456"), (1e9, "1.000e+09"), (1e-7, "1.000e-07")],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_since_is_a_moment_or_a_time_ago() -> None:
    now_ms = 1_700_000_000_000
    assert parse_since("90s", now_ms) == now_ms - 90_000
    assert parse_since("1.5h", now_ms) == now_ms - 5_400_000
    assert parse_since("7d", now_ms) == now_ms - 7 * 86_400_000
    assert parse_since("2023-11-14T22:13:20Z", 0) == now_ms
    assert parse_since("2023-11-14T23:13:20+01:00", 0) == now_ms
    for wrong in ("yesterday", "5", "-5m", "m"):
        with pytest.raises(InputError, match="--since"):
            parse_since(wrong, now_ms)
