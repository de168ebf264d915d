"""`wheeltapper alerts` reads what any subscriber would, on both brokers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from tests.helpers.forked import Command
from tests.integration.kafka_tools import Broker, create_topics, produce
from tests.integration.processes import run_command, run_here
from tests.integration.secure_kafka import SecureKafka
from wheeltapper.schemas.codec import encode_message
from wheeltapper.schemas.events import AlertEvent, ChannelShare
from wheeltapper.schemas.topics import topic_name

pytestmark = pytest.mark.broker

START = 1_700_000_000_000_000
MINUTE = 60_000_000


def make_alert(machine: str, event: str, minute: int, opened: int = 0) -> AlertEvent:
    return AlertEvent(
        alert_id=f"id-{machine}-{opened}",
        machine=machine,
        event=event,  # type: ignore[arg-type]
        opened_at=START + opened * MINUTE,
        time=START + minute * MINUTE,
        severity=72,
        score=1.44,
        peak_score=2.5,
        threshold=1.0,
        rule="default",
        detector="range-bands",
        bundle="bundle-1",
        quality=1.0,
        channels=(ChannelShare(channel="flow", unit="m3/h", share=0.75, actual=3.4, expected=12.1),),
    )


def send(broker: Broker, prefix: str, alerts: list[AlertEvent], **how: object) -> list[bytes]:
    values = [alert.model_dump_json().encode() for alert in alerts]
    records = [
        (a.machine.encode(), v, [("content-type", b"application/json")]) for a, v in zip(alerts, values, strict=True)
    ]
    produce(broker, topic_name(prefix, "alerts"), records, **how)  # type: ignore[arg-type]
    return values


def alerts_command(broker: Broker, prefix: str, *options: str) -> subprocess.CompletedProcess[str]:
    return run_command("alerts", "--brokers", broker.address, "--prefix", prefix, *options)


@pytest.mark.one_broker
def test_json_lines_are_the_messages_in_the_order_of_event_time(broker: Broker, topics_prefix: str) -> None:
    # given the lives of two machines' alerts, one machine after the other
    create_topics(broker, topics_prefix)
    pump = [make_alert("pump", event, minute) for event, minute in [("opened", 0), ("updated", 5), ("cleared", 9)]]
    fan = [make_alert("fan", event, minute, 2) for event, minute in [("opened", 2), ("cleared", 7)]]
    values = send(broker, topics_prefix, pump) + send(broker, topics_prefix, fan)
    # when they are read
    done = alerts_command(broker, topics_prefix, "--json")
    # then each line is a message as it was sent, and time goes forward over the machines
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode().splitlines() == [values[0], values[3], values[1], values[4], values[2]]
    assert done.stderr == ""


@pytest.mark.one_broker
def test_lines_for_people_name_machine_channels_and_duration(broker: Broker, topics_prefix: str) -> None:
    # given an alert that came and went
    create_topics(broker, topics_prefix)
    send(broker, topics_prefix, [make_alert("pump", "opened", 0), make_alert("pump", "cleared", 65)])
    # when it is read
    done = alerts_command(broker, topics_prefix)
    # then a line each says what a person wants to know, without colour codes for a pipe
    assert done.returncode == 0, done.stderr
    opened, cleared = done.stdout.splitlines()
    shown = (
        "2023-11-14T22:13:20Z  severity  72  opened   pump  range-bands  score 1.44  "
        "flow 3.4 m3/h, expected 12.1 (75 % of the score)"
    )
    assert opened == shown
    assert "cleared" in cleared
    assert "after 1 h 5 min, peak 2.5" in cleared


@pytest.mark.one_broker
def test_more_messages_than_one_fetch_holds_are_all_read(broker: Broker, topics_prefix: str) -> None:
    # given 20,000 alerts
    create_topics(broker, topics_prefix)
    send(broker, topics_prefix, [make_alert(f"m{i % 50}", "opened", i, i) for i in range(20_000)])
    # when they are read to the end, or up to a limit
    everything = alerts_command(broker, topics_prefix, "--json")
    some = alerts_command(broker, topics_prefix, "--json", "--limit", "7")
    # then all came, in order; and the first seven
    times = [json.loads(line)["time"] for line in everything.stdout.splitlines()]
    assert times == [START + i * MINUTE for i in range(20_000)]
    assert some.stdout.splitlines() == everything.stdout.splitlines()[:7]


@pytest.mark.one_broker
def test_what_is_no_alert_is_told_and_left_out(broker: Broker, topics_prefix: str) -> None:
    # given messages of others between two alerts, and an alert in Avro
    create_topics(broker, topics_prefix)
    good = [make_alert("pump", "opened", 0), make_alert("pump", "cleared", 3)]
    first = send(broker, topics_prefix, good[:1])[0]
    topic = topic_name(topics_prefix, "alerts")
    produce(broker, topic, [(b"pump", value, []) for value in (b"", b"\xff\xfe", b"[1]", b'{"machine": 1}', None)])
    avro = make_alert("pump", "updated", 2)
    produce(broker, topic, [(b"pump", encode_message(avro, "avro"), [("content-type", b"application/avro")])])
    second = send(broker, topics_prefix, good[1:])[0]
    # when they are read
    done = alerts_command(broker, topics_prefix, "--json")
    # then the alerts come, the one in Avro as JSON, and each other message is named with its place
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode().splitlines() == [first, avro.model_dump_json().encode(), second]
    assert len([line for line in done.stderr.splitlines() if f"{topic} [" in line and "is not an alert" in line]) == 5


@pytest.mark.one_broker
def test_since_leaves_out_what_was_published_earlier(broker: Broker, topics_prefix: str) -> None:
    # given an alert published two hours ago and one of now
    create_topics(broker, topics_prefix)
    two_hours_ago = int(time.time() * 1000) - 2 * 3_600_000
    send(broker, topics_prefix, [make_alert("pump", "opened", 0)], timestamp_ms=two_hours_ago)
    recent = send(broker, topics_prefix, [make_alert("pump", "cleared", 1)])
    # when the last hour is wanted, then only the second comes; of the last three hours, both
    assert alerts_command(broker, topics_prefix, "--json", "--since", "1h").stdout.encode().splitlines() == recent
    assert len(alerts_command(broker, topics_prefix, "--json", "--since", "3h").stdout.splitlines()) == 2
    # and a moment after both gives nothing, which is no fault
    later = alerts_command(broker, topics_prefix, "--json", "--since", "2999-01-01")
    assert (later.returncode, later.stdout, later.stderr) == (0, "", "")


@pytest.mark.one_broker
@pytest.mark.parametrize("ending", [signal.SIGINT, None])
def test_follow_shows_what_comes_until_it_is_ended(
    broker: Broker, topics_prefix: str, tmp_path: Path, ending: signal.Signals | None
) -> None:
    # given a follower of a topic with one alert; it ends by Ctrl-C, or after a limit of 2
    create_topics(broker, topics_prefix)
    first = send(broker, topics_prefix, [make_alert("pump", "opened", 0)])
    words = ["alerts", "--brokers", broker.address, "--prefix", topics_prefix, "--json", "--follow"]
    if ending is None:
        words += ["--limit", "2"]
    errors = tmp_path / "errors"
    with errors.open("w") as error_output:
        process = Command(words, stdout=subprocess.PIPE, stderr=error_output)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().rstrip(b"\n") == first[0]
        # when another alert is published
        second = send(broker, topics_prefix, [make_alert("pump", "cleared", 1)])
        # then it comes
        assert process.stdout.readline().rstrip(b"\n") == second[0]
        if ending is not None:
            process.send_signal(ending)
        # and the end is clean
        assert process.wait(120) == 0
        assert errors.read_text() == ""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.one_broker
def test_a_closed_pipe_is_no_fault(broker: Broker, topics_prefix: str) -> None:
    # given many alerts
    create_topics(broker, topics_prefix)
    send(broker, topics_prefix, [make_alert("pump", "opened", i, i) for i in range(3000)])
    # when the reader of the output goes away after one line
    command = f"{sys.executable} -m wheeltapper alerts --brokers {broker.address} --prefix {topics_prefix} --json"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"], capture_output=True, text=True)
    # then nothing is complained about
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.one_broker
def test_a_missing_topic_is_an_error_not_an_empty_list(broker: Broker, topics_prefix: str) -> None:
    # when alerts are read where no topic is
    done = alerts_command(broker, topics_prefix)
    # then it ends with 2, one line, and what to do
    assert done.returncode == 2
    assert f"topic {topics_prefix}alerts does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", [["--since", "yesterday"], ["--limit", "0"]])
def test_bad_options_are_refused_before_a_broker_is_asked(option: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    # when the command gets one, then it ends with 2 and does not miss the broker
    done = run_here(capfd, "alerts", "--brokers", "127.0.0.1:1", *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "no Kafka at" not in done.stderr


@pytest.mark.kafka
def test_alerts_of_an_aborted_transaction_are_not_shown(real_kafka: str, topics_prefix: str) -> None:
    # given an alert that was committed and one that was taken back
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    create_topics(broker, topics_prefix)
    kept = send(broker, topics_prefix, [make_alert("pump", "opened", 0)], transaction="t1")
    send(broker, topics_prefix, [make_alert("pump", "cleared", 1)], transaction="t1", abort=True)
    # when they are read, then only the first is there
    done = alerts_command(broker, topics_prefix, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode().splitlines() == kept


@pytest.mark.kafka
def test_a_user_may_read_with_read_on_the_topic_alone(
    secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path
) -> None:
    # given an alert behind TLS, SASL and ACLs, and a user without rights
    broker = secure_kafka.as_user(secure_kafka.admin)
    create_topics(broker, topics_prefix)
    values = send(broker, topics_prefix, [make_alert("pump", "opened", 0)])
    words = (
        "alerts",
        "--config",
        str(secure_kafka.settings_file(tmp_path, secure_kafka.user)),
        "--prefix",
        topics_prefix,
    )
    password = secure_kafka.environment(secure_kafka.user)
    # when the user reads, then it is refused with one line
    refused = run_command(*words, "--json", environment=password)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    # and with READ on the topic and no other right it is shown
    secure_kafka.grant_topic(secure_kafka.user[0], topic_name(topics_prefix, "alerts"), AclOperation.READ)
    shown = run_command(*words, "--json", environment=password)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.encode().splitlines() == values
