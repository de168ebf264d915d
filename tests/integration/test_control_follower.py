"""What a worker learns from the control topics, and what it makes of topics and messages that are not as they should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.kafka_tools import Broker, create_topic, create_topics, produce
from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.control.control import Control
from wheeltapper.stream.control.log import ControlMessage
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

pytestmark = pytest.mark.broker

OLD = Recipe(window=3)
NEW = Recipe(window=3, weighting="mean")


class Stage:
    """Topics of a test's own, a pipeline with two partitions, and what it is told."""

    def __init__(self, broker: Broker, prefix: str, folder: Path) -> None:
        self.broker, self.prefix, self.folder = broker, prefix, folder
        create_topics(broker, prefix, 2)
        self.settings = Settings.model_validate(
            {"kafka": {"brokers": broker.address}, "topics": {"prefix": prefix}, "control": {"read_timeout_s": 60.0}}
        )
        self.bundle = write_bundle(folder, NEW)
        self.routes = load_routes([str(write_bundle(folder, OLD))], self.settings)
        self.opened: list[Control] = []

    def start(self) -> tuple[Control, Pipeline]:
        """A worker's pipeline, and its control that has begun to read."""
        pipeline = Pipeline(self.routes, self.settings)
        for number in range(2):
            pipeline.partition(f"{self.prefix}sensors", number)
        control = Control(self.settings, pipeline)
        self.opened.append(control)
        control.start()
        return control, pipeline

    def model(self, **fields: Any) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        known = open_bundle(self.bundle)
        message = {
            "route": "*",
            "rule": "distance",
            "bundle": NEW.bundle_id,
            "uri": str(self.bundle),
            "sha256": known.manifest_sha256,
            **fields,
        }
        key = f"{message['route']}/{message['rule']}".encode()
        return key, orjson.dumps(message), [("content-type", b"application/json")]

    def command(self, ident: str, **fields: Any) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        message = {"command_id": ident, "machine": "press-1", "action": "reset", "who": "ann", "at": 0, **fields}
        return b"press-1", orjson.dumps(message), [("content-type", b"application/json")]

    def send(self, topic: str, *messages: tuple[bytes, bytes | None, list[tuple[str, bytes]]]) -> None:
        produce(self.broker, f"{self.prefix}{topic}", messages)

    def make_anew(self, topic: str) -> None:
        admin = AdminClient(self.broker.client())
        admin.delete_topics([f"{self.prefix}{topic}"], operation_timeout=30)[f"{self.prefix}{topic}"].result()
        create_topic(self.broker, f"{self.prefix}{topic}", 1)


@pytest.fixture
def stage(embedded_broker: str, topics_prefix: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(Broker(embedded_broker, "tansu", supports_transactions=False), topics_prefix, tmp_path)
    yield stage
    for control in stage.opened:
        control.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_new_group_takes_the_last_deployments_and_commands_from_now_on(stage: Stage) -> None:
    # given deployments, of one key two, a bundle that has vanished, words that nobody understands, and a command
    stage.send("models", stage.model(uri="/nowhere"), stage.model(), stage.model(route="fan-*", uri="/nowhere"))
    stage.send("models", (b"pump/x", b"{}", []), (b"*/distance/shadow", None, []))
    stage.send("alarm-commands", stage.command("one"))
    # when a worker takes its partitions over
    control, pipeline = stage.start()
    outputs = control.catch_up(0.0, lambda: False)
    # then the last of each key is in force from the beginning of the input on
    for partition in pipeline.partitions.values():
        entry, end = partition.control.entries
        assert getattr(end.change, "mode", "") == "no-shadow"
        assert isinstance(entry.change, Deployment)
        assert (entry.since, entry.change.machines, entry.change.bundle) == (0, "*", str(stage.bundle))
        assert partition.control.read == {"models": 5, "alarm-commands": 1}
    # and what was refused is told, once each, by the same id wherever it is told
    told = [orjson.loads(output.value or b"") for output in outputs if output.topic == "adaptations"]
    assert [(event["machine"], event["event"]) for event in told] == [("fan-*", "refused"), ("pump", "refused")]
    assert "no such bundle" in told[0]["reason"]
    assert pipeline.counters.deployments == {"taken": 2, "refused": 2}
    control, _ = stage.start()
    again = [output for output in control.catch_up(0.0, lambda: False) if output.topic == "adaptations"]
    assert [orjson.loads(output.value or b"")["adaptation_id"] for output in again] == [
        event["adaptation_id"] for event in told
    ]


def test_a_command_that_comes_twice_is_told_once(stage: Stage) -> None:
    control, pipeline = stage.start()
    control.catch_up(0.0, lambda: False)
    stage.send("alarm-commands", stage.command("one"), stage.command("one"), stage.command("two"), (b"x", b"?", []))
    partition = pipeline.partition(f"{stage.prefix}sensors", 0)
    wait_for(lambda: bool(control.news(0.0)) or partition.control.read["alarm-commands"] == 4)
    wait_for(lambda: bool(control.news(0.0)) or partition.control.read["alarm-commands"] == 4)
    assert [getattr(entry.change, "command_id", "") for entry in partition.control.entries] == ["one", "two"]
    assert pipeline.counters.alarm_commands == {"reset": 2}


def test_topics_made_anew_are_applied_from_their_beginning(stage: Stage) -> None:
    # given a worker that has applied what was there
    stage.send("models", stage.model(), stage.model(route="fan-*"))
    control, pipeline = stage.start()
    control.catch_up(0.0, lambda: False)
    partition = pipeline.partition(f"{stage.prefix}sensors", 0)
    assert partition.control.read["models"] == 2
    control.close()
    # when the topic is deleted and made anew while it is away
    stage.make_anew("models")
    stage.send("models", stage.model(route="saw-*"))
    successor, other = stage.start()
    taken = other.partition(f"{stage.prefix}sensors", 0)
    taken.control = partition.control
    successor.catch_up(0.0, lambda: False)
    # then what is on it is applied, and where it ends is known
    assert [getattr(entry.change, "machines", "") for entry in taken.control.entries][-1] == "saw-*"
    assert taken.control.read["models"] == 1


def test_a_broker_that_is_away_holds_up_nobody_for_long(stage: Stage) -> None:
    # given an address where nothing listens
    settings = stage.settings.model_copy(
        update={
            "kafka": stage.settings.kafka.model_copy(update={"brokers": "127.0.0.1:1"}),
            "control": stage.settings.control.model_copy(update={"read_timeout_s": 0.3}),
        }
    )
    pipeline = Pipeline(stage.routes, settings)
    control = Control(settings, pipeline)
    control.start()
    # when a worker waits for its topics: then it goes on after a while, and ends at once
    started = time.monotonic()
    assert control.catch_up(0.0, lambda: False) == []
    control.close()
    assert time.monotonic() - started < 30


def test_a_replaced_bundle_stays_loaded_until_the_next_or_for_a_while(stage: Stage) -> None:
    # given a pipeline whose bundles are replaced, each by the next
    pipeline = Pipeline(stage.routes, stage.settings)
    partition = pipeline.partition(f"{stage.prefix}sensors", 0)
    places = [stage.bundle, write_bundle(stage.folder / "b", NEW), write_bundle(stage.folder / "c", NEW)]
    for now, place in enumerate(places):
        change = Deployment("distance", "active", bundle=str(place), sha256=open_bundle(place).manifest_sha256)
        pipeline.prepare(change)
        pipeline.apply([ControlMessage("models", now, change)], float(now))
        partition.position += 10
    # then the one before is loaded still, and the one before that is not
    assert set(pipeline.loaded_bundles) == {str(places[1]), str(places[2])}
    # and after control.keep_previous_s it is not either
    pipeline.tick(2 + stage.settings.control.keep_previous_s, lambda key: False)
    assert set(pipeline.loaded_bundles) == {str(places[2])}
