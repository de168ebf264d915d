"""When sensors and sound of a machine agree: one joint alert with the evidence of both."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheeltapper.schemas.events import AlertEvent, ChannelShare, ClearReason, Patch
from wheeltapper.stream.kinds.joint.agreement import RULE, Agreement, side_of

START = 1_700_000_000_000_000
SECOND = 1_000_000
WITHIN = 30 * SECOND
PATCH = Patch(start=START, end=START + SECOND, low_hz=500, high_hz=630, share=0.7)


def alert(
    ident: str,
    event: Literal["opened", "updated", "cleared"] = "opened",
    *,
    opened_s: float = 0,
    time_s: float | None = None,
    severity: int = 60,
    sound: bool = False,
    machine: str = "fan-1",
    **fields: Any,
) -> AlertEvent:
    opened_at = START + round(opened_s * SECOND)
    values: dict[str, Any] = {
        "alert_id": ident,
        "machine": machine,
        "event": event,
        "opened_at": opened_at,
        "time": opened_at if time_s is None else START + round(time_s * SECOND),
        "severity": severity,
        "score": severity / 40,
        "peak_score": severity / 40,
        "threshold": 1.0,
        "rule": "band-profile" if sound else "pca",
        "detector": "band-profile" if sound else "pca",
        "bundle": "b-1",
        "quality": 1.0,
        "channels": (ChannelShare(channel="500-630 Hz" if sound else "current", share=0.8, actual=None),),
        "patches": (PATCH,) if sound else (),
        "reason": ClearReason.RECOVERED if event == "cleared" else None,
    }
    return AlertEvent(**(values | fields))


def told(agreement: Agreement, *alerts: AlertEvent) -> list[AlertEvent]:
    return [event for each in alerts for event in agreement.step(each, WITHIN)]


def test_both_within_the_set_time_open_one_alert_with_the_evidence_of_both() -> None:
    # given an alert of rows, and one of sound 20 s later
    events = told(Agreement(), alert("r", severity=70), alert("s", opened_s=20, sound=True))
    # then one joint alert opens at the later opening, as severe as the worse
    (joint,) = events
    assert (joint.event, joint.rule, joint.machine) == ("opened", RULE, "fan-1")
    assert joint.opened_at == joint.time == START + 20 * SECOND
    assert joint.severity == 70
    assert {share.channel: share.share for share in joint.channels} == {"current": 0.4, "500-630 Hz": 0.4}
    assert joint.patches == (PATCH,)


def test_a_named_microphone_belongs_to_its_machine() -> None:
    (joint,) = told(Agreement(), alert("r"), alert("s", sound=True, machine="fan-1::left"))
    assert joint.machine == "fan-1"


def test_openings_too_far_apart_are_two_things() -> None:
    assert told(Agreement(), alert("r"), alert("s", opened_s=31, sound=True)) == []


def test_two_alerts_of_one_side_do_not_agree() -> None:
    assert told(Agreement(), alert("r"), alert("r2", opened_s=1)) == []
    assert told(Agreement(), alert("s", sound=True), alert("s2", opened_s=1, sound=True)) == []


def test_an_alert_that_has_ended_agrees_with_nobody() -> None:
    assert told(Agreement(), alert("r"), alert("r", "cleared", time_s=5), alert("s", opened_s=10, sound=True)) == []


def test_a_side_whose_alert_has_been_told_to_its_end_agrees_all_the_same() -> None:
    # given rows that were caught up with first: their alert lasted from 0 to 60 s; then one of sound, which began at 20 s
    agreement = Agreement()
    rows = [alert("r", severity=70), alert("r", "cleared", time_s=60)]
    opened, ended = told(agreement, *rows, alert("s", opened_s=20, sound=True))
    # then the joint alert has its whole life at once
    assert (opened.event, opened.time) == ("opened", START + 20 * SECOND)
    assert (ended.event, ended.time) == ("cleared", START + 60 * SECOND)
    assert opened.alert_id == ended.alert_id
    # and neither of both takes part in another
    assert told(agreement, alert("s", "updated", opened_s=20, time_s=70, severity=99, sound=True)) == []
    assert told(agreement, alert("r2", opened_s=25)) == []


def test_it_speaks_again_when_it_gets_worse_and_ends_with_the_first_of_both() -> None:
    agreement = Agreement()
    opened, worse, ended = told(
        agreement,
        alert("r"),
        alert("s", opened_s=5, sound=True),
        alert("r", "updated", time_s=10, severity=65),  # no news
        alert("s", "updated", opened_s=5, time_s=20, severity=80, sound=True),
        alert("r", "cleared", time_s=40),
        alert("s", "cleared", opened_s=5, time_s=90, sound=True),
    )
    assert [opened.event, worse.event, ended.event] == ["opened", "updated", "cleared"]
    assert len({event.alert_id for event in (opened, worse, ended)}) == 1
    assert worse.severity == 80
    assert (ended.time, ended.reason) == (START + 40 * SECOND, ClearReason.RECOVERED)
    assert ended.channels == ()


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("r", {"ended_at": START}),
        ("s", {"ended_at": START + SECOND}),
        ("s", {"joined": False}),
        ("s", {"side": "rows"}),
        ("r", None),
    ],
)
def test_a_saved_joint_alert_that_could_never_end_is_refused(part: str, changed: dict[str, Any] | None) -> None:
    # given what is remembered while a joint alert is open, with one of its parts no longer an open alert of its side
    agreement = Agreement()
    assert len(told(agreement, alert("r"), alert("s", sound=True))) == 1
    saved = agreement.dump()
    if changed is None:
        del saved["alerts"][part]
    else:
        saved["alerts"][part] |= changed
    # when it is read: then it is refused, as no other joint alert of the machine could open
    with pytest.raises(ValueError, match="whose parts are not two open alerts"):
        Agreement().load(saved)


def test_neither_silence_nor_a_joint_alert_counts() -> None:
    silent = alert("n", rule="no-data", detector="no-data", bundle="")
    assert side_of(silent) is None
    assert told(Agreement(), silent, alert("s", sound=True)) == []
    (joint,) = told(Agreement(), alert("r"), alert("s", sound=True))
    assert side_of(joint) is None


events_of_machines = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2", "s1", "s2"]),
        st.sampled_from(["opened", "updated", "cleared"]),
        st.integers(0, 60),
        st.integers(50, 100),
    ),
    max_size=30,
)


@given(steps=events_of_machines, restart=st.integers(0, 30))
def test_a_restart_and_repeated_events_change_nothing(steps: list[tuple[str, Any, int, int]], restart: int) -> None:
    # given alerts in any order, whether they make sense or not
    opened: dict[str, float] = {}
    alerts = []
    for ident, event, time_s, severity in steps:
        since = opened.setdefault(ident, time_s)
        alerts.append(
            alert(ident, event, opened_s=since, time_s=max(time_s, since), severity=severity, sound=ident[0] == "s")
        )
    # when one goes on from another's snapshot, and the event before it comes again
    whole = Agreement()
    before = Agreement()
    wanted = told(whole, *alerts)
    found = told(before, *alerts[:restart])
    after = Agreement()
    after.load(json.loads(json.dumps(before.dump())))
    repeated = told(after, *alerts[restart - 1 : restart]) if 0 < restart <= len(alerts) else []
    found += told(after, *alerts[restart:])
    # then the joint alerts are the same, and what was repeated had been told before
    assert [event.alert_id for event in found] == [event.alert_id for event in wanted]
    assert {event.alert_id for event in repeated} <= {event.alert_id for event in wanted}
    # and at most one is open at a time, each ends after it opened
    open_now: set[str] = set()
    for event in wanted:
        if event.event == "opened":
            assert not open_now
            open_now.add(event.alert_id)
        else:
            assert event.alert_id in open_now
        if event.event == "cleared":
            open_now.remove(event.alert_id)
