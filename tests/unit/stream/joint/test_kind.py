"""Joint alerts through the pipeline: the worker reads alerts, and what it says of them survives a restart once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.stream.bundles import Recipe, write_bundle
from tests.unit.stream.feeds import letters_of, parsed
from tests.unit.stream.joint.test_agreement import alert
from wheeltapper.schemas.events import AlertEvent
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import JointSettings, Settings

TOPIC = "wheeltapper.alerts"
CHOSEN = Settings(joint=JointSettings(enabled=True, within_s=30))


def batch(*values: AlertEvent | bytes) -> PartitionBatch:
    found = PartitionBatch(TOPIC, 0)
    for offset, value in enumerate(values):
        found.offsets.append(offset)
        found.keys.append(b"fan-1")
        found.values.append(value if isinstance(value, bytes) else value.model_dump_json().encode())
        found.headers.append([("content-type", b"application/json")])
        found.timestamps_ms.append(0)
    return found


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(load_routes([f"fan-*={write_bundle(tmp_path, Recipe(window=3))}"], CHOSEN), CHOSEN)


EVENTS = (
    alert("r"),
    alert("s", opened_s=20, sound=True),
    alert("s", "updated", opened_s=20, time_s=40, severity=90, sound=True),
    alert("s", "cleared", opened_s=20, time_s=60, sound=True),
    alert("r", "cleared", time_s=70),
)


def told(outputs: list[Output]) -> list[tuple[str, str]]:
    assert {output.key for output in outputs if output.topic == "alerts"} <= {b"fan-1"}
    return [(event["alert_id"], event["event"]) for event in parsed(outputs, "alerts")]


def test_agreeing_alerts_become_a_joint_one(pipeline: Pipeline) -> None:
    assert TOPIC in pipeline.topics
    events = told(pipeline.handle([batch(*EVENTS)], now=0.0))
    assert [event for _, event in events] == ["opened", "updated", "cleared"]
    assert len({ident for ident, _ in events}) == 1


def test_its_own_alerts_read_back_lead_to_none(pipeline: Pipeline) -> None:
    outputs = pipeline.handle([batch(*EVENTS)], now=0.0)
    own = [AlertEvent.model_validate(event) for event in parsed(outputs, "alerts")]
    again = PartitionBatch(TOPIC, 1)
    rest = batch(*own)
    again.offsets, again.keys, again.values, again.headers, again.timestamps_ms = (
        rest.offsets,
        rest.keys,
        rest.values,
        rest.headers,
        rest.timestamps_ms,
    )
    assert told(pipeline.handle([again], now=0.0)) == []


@pytest.mark.parametrize("stop", range(1, len(EVENTS)))
def test_a_restart_says_it_once(tmp_path: Path, pipeline: Pipeline, stop: int) -> None:
    # given a worker that is killed behind some of the events
    whole = told(pipeline.handle([batch(*EVENTS)], now=0.0))
    routes = load_routes([f"fan-*={write_bundle(tmp_path / 'again', Recipe(window=3))}"], CHOSEN)
    first, second = Pipeline(routes, CHOSEN), Pipeline(routes, CHOSEN)
    head, tail = batch(*EVENTS).split(stop)
    events = told(first.handle([head], now=0.0))
    (record,) = first.partition(TOPIC, 0).snapshots(0.0, everything=True)
    # when another goes on from its snapshot
    partition = second.partition(TOPIC, 0)
    partition.position = stop
    assert partition.restore({record.key or b"": record.value or b""}) == ([], [])
    events += told(second.handle([tail], now=0.0))
    # then every step has been told once
    assert events == whole


def test_a_machine_without_alerts_is_not_silent_and_what_is_no_alert_is_a_dead_letter(pipeline: Pipeline) -> None:
    outputs = pipeline.handle([batch(EVENTS[0], b"{?")], now=0.0)
    (letter,) = letters_of(outputs)
    assert letter.offset == 1
    assert pipeline.tick(1e6, lambda _: True) == []


def test_without_the_setting_alerts_are_not_read(tmp_path: Path) -> None:
    routes = load_routes([str(write_bundle(tmp_path, Recipe(window=3)))], Settings())
    assert TOPIC not in Pipeline(routes, Settings()).topics
