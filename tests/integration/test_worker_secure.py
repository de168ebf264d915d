"""A worker behind TLS, SASL and ACLs: it needs what docs/deploy.md lists and no more, and says what it lacks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AclOperation

from tests.helpers.plant import make_plant, messages_of
from tests.integration.processes import WorkerProcess
from tests.integration.secure_kafka import SecureKafka
from tests.integration.worker_tools import (
    RUNNERS,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    make_rig,
)
from wheeltapper.stream.kafka_errors import PublishError, refusal
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.records import Output
from wheeltapper.stream.runners.raw_frames import read_frame
from wheeltapper.stream.settings import load_settings

pytestmark = [pytest.mark.broker, pytest.mark.kafka]


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path) -> Rig:
    """The administrator's view: topics are there, with rows of a plant."""
    return make_rig(secure_kafka.as_user(secure_kafka.admin), request.param, topics_prefix, tmp_path)


def run_as(rig: Rig, secure_kafka: SecureKafka, who: tuple[str, str]) -> WorkerProcess:
    """A worker of that user, until it ends."""
    config = secure_kafka.settings_file(rig.folder, who)
    with rig.start(config=config, until_idle_s=3.0, environment=secure_kafka.environment(who)) as worker:
        worker.wait(120)
    return worker


def test_the_documented_rights_are_enough(rig: Rig, secure_kafka: SecureKafka) -> None:
    # given a user with these rights, and rows
    plant = make_plant(machines=4, rows=200)
    rig.produce(messages_of(plant))
    secure_kafka.grant_worker(secure_kafka.user[0], rig.prefix, rig.group)
    # when a worker runs as this user
    worker = run_as(rig, secure_kafka, secure_kafka.user)
    # then it does all its work
    assert worker.process.returncode == 0, worker.log()
    assert "without transactions" not in worker.log()
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)
    assert_committed_to_the_end(rig)


@pytest.mark.parametrize(
    ("without", "line"),
    [
        ("anything", "cannot create topic"),
        ("the group", "the user may not use the consumer group: give it READ on the group"),
        ("alerts", "Topic authorization failed"),
    ],
)
def test_a_missing_right_ends_with_2_and_one_line(rig: Rig, secure_kafka: SecureKafka, without: str, line: str) -> None:
    # given a user with all rights but one, or with none
    rig.produce(messages_of(make_plant(machines=4, rows=200)))
    name, password = secure_kafka.stranger
    if without != "anything":
        group = "no-group-of-this-name" if without == "the group" else rig.group
        secure_kafka.grant_worker(name, rig.prefix, group)
    if without == "alerts":
        secure_kafka.revoke_topic(name, f"{rig.prefix}alerts")
        secure_kafka.grant_topic(name, f"{rig.prefix}alerts", AclOperation.DESCRIBE)
    # when a worker runs as this user
    started = time.monotonic()
    worker = run_as(rig, secure_kafka, (name, password))
    # then it says what to do about it
    assert worker.process.returncode == 2, worker.log()
    assert time.monotonic() - started < 60
    last = worker.log().splitlines()[-1]
    assert last.startswith("wheeltapper: ")
    assert line in last
    assert "Traceback" not in worker.log()
    assert password not in worker.log()


def publish_on(publisher: Publisher, outputs: list[Output]) -> None:
    """For 10 s, or until it fails."""
    for _ in range(200):
        time.sleep(0.05)
        publisher.publish(outputs)


def test_a_right_that_is_missing_is_named_however_late_the_worker_looks(
    secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a transaction of a user without the right to write alerts, which the broker has refused meanwhile
    rig = make_rig(secure_kafka.as_user(secure_kafka.admin), "direct", topics_prefix, tmp_path, partitions=1)
    name, _ = secure_kafka.stranger
    secure_kafka.grant_worker(name, rig.prefix, rig.group)
    secure_kafka.revoke_topic(name, f"{rig.prefix}alerts")
    secure_kafka.grant_topic(name, f"{rig.prefix}alerts", AclOperation.DESCRIBE)
    for variable, value in secure_kafka.environment(secure_kafka.stranger).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("WHEELTAPPER_TOPICS__PREFIX", rig.prefix)
    settings = load_settings(secure_kafka.settings_file(tmp_path, secure_kafka.stranger))
    publisher = Publisher(settings, transactional_id=f"{rig.group}-late")
    publisher.start()
    alert = [Output("alerts", b"machine", b"{}")]
    publisher.publish(alert)
    # when it goes on to publish, to which the client says no more than that its state is wrong
    with pytest.raises((KafkaException, PublishError)) as raised:
        publish_on(publisher, alert)
    publisher.abandon()
    # then the reason is the right, which ends a worker at once
    assert "the user may not read or write a topic" in (refusal(raised.value) or "")


def test_a_frame_is_read_raw_behind_tls_and_passwords(
    secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given rows on a partition behind TLS and SASL
    rig = make_rig(secure_kafka.as_user(secure_kafka.admin), "direct", topics_prefix, tmp_path, partitions=1)
    rig.produce(messages_of(make_plant(machines=1, rows=50)))
    for name, value in secure_kafka.environment(secure_kafka.admin).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(secure_kafka.settings_file(tmp_path, secure_kafka.admin))
    # when the frame of an offset within it is read as the direct runner does where librdkafka cannot
    first, following = read_frame(settings.kafka, rig.sensors, 0, 2, most=3)
    # then it gives the messages from there on, as many as were asked for, and where to go on
    assert first.offsets == [2, 3, 4]
    assert following == 5
    everything, following = read_frame(settings.kafka, rig.sensors, 0, 0, most=10_000)
    assert everything.offsets == list(range(following))
    assert first.values == everything.values[2:5]
