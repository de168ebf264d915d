"""`wheeltapper topics` on both brokers, and behind TLS, SASL and ACLs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from tests.integration.kafka_tools import Broker, create_topic, create_topics, partition_counts, topic_settings
from tests.integration.processes import run_command, run_here
from tests.integration.secure_kafka import SecureKafka
from wheeltapper.kafka_admin import ensure_topics
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.topics import SENSORS, TOPICS, topic_name
from wheeltapper.stream.settings import load_settings

pytestmark = pytest.mark.broker


def test_create_makes_every_topic_as_it_is_defined(broker: Broker, topics_prefix: str) -> None:
    # given a broker without the topics
    # when they are created
    done = run_command("topics", "create", "--brokers", broker.address, "--prefix", topics_prefix, "--partitions", "3")
    # then each is there with its partitions and settings
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    counts = partition_counts(broker)
    for name, spec in TOPICS.items():
        full_name = topic_name(topics_prefix, name)
        assert f"{full_name}: created, {counts[full_name]} partition" in done.stdout
        assert counts[full_name] == (spec.partitions or 3)
        found = topic_settings(broker, full_name)
        assert {key: found.get(key) for key in spec.kafka_config()} == spec.kafka_config()


def own_partition_counts(broker: Broker, prefix: str) -> dict[str, int]:
    """Those of one test: others make topics on the same broker meanwhile."""
    return {name: count for name, count in partition_counts(broker).items() if name.startswith(prefix)}


@pytest.mark.one_broker
def test_create_again_changes_nothing_and_reports_other_partition_counts(broker: Broker, topics_prefix: str) -> None:
    # given topics of 4 partitions
    create_topics(broker, topics_prefix, partitions=4)
    before = own_partition_counts(broker, topics_prefix)
    # when they are created again, with 6
    done = run_command("topics", "create", "--brokers", broker.address, "--prefix", topics_prefix, "--partitions", "6")
    # then they stay, and the difference is told
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": exists, ") == len(TOPICS)
    assert f"{topics_prefix}sensors has 4 partitions, 6 asked for" in done.stderr
    assert f"{topics_prefix}models" not in done.stderr
    assert own_partition_counts(broker, topics_prefix) == before


def test_create_reports_settings_that_differ(broker: Broker, topics_prefix: str) -> None:
    # given a dead-letters topic that somebody made with small messages
    create_topic(broker, f"{topics_prefix}dead-letters", 8, max_message_bytes="1000000")
    # when the topics are created
    done = run_command("topics", "create", "--brokers", broker.address, "--prefix", topics_prefix)
    # then it is told what is wrong with it
    assert done.returncode == 0, done.stderr
    assert f"{topics_prefix}dead-letters max.message.bytes is 1000000, expected 67108864" in done.stderr


@pytest.mark.one_broker
def test_new_topics_follow_the_partitions_of_an_existing_sensors_topic(
    broker: Broker, topics_prefix: str, tmp_path: Path
) -> None:
    # given a plant's own input topic of 5 partitions, named in the settings
    create_topic(broker, f"plant-{topics_prefix}data", 5)
    config = tmp_path / "worker.toml"
    config.write_text(
        f'[kafka]\nbrokers = "{broker.address}"\n[topics]\nprefix = "{topics_prefix}"\nsensors = "plant-{topics_prefix}data"\n'
    )
    # when the topics are created by that file
    done = run_command("topics", "create", "--config", str(config))
    # then the state topic has as many, and the plant's topic is left alone
    assert done.returncode == 0, done.stderr
    counts = partition_counts(broker)
    assert counts[f"{topics_prefix}state"] == counts[f"plant-{topics_prefix}data"] == 5
    assert f"{topics_prefix}sensors" not in counts


@pytest.mark.kafka
def test_a_state_topic_is_given_the_partitions_that_it_lacks(real_kafka: str, topics_prefix: str) -> None:
    # given a sensors topic that was given partitions, and a state topic that was not
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    create_topic(broker, f"{topics_prefix}sensors", 4)
    create_topic(broker, f"{topics_prefix}state", 2)
    # when a worker makes sure of its topics
    ensure_topics(load_settings(None, kafka={"brokers": broker.address}, topics={"prefix": topics_prefix}), {SENSORS})
    # then it has one beside each
    assert partition_counts(broker)[f"{topics_prefix}state"] == 4


def test_a_state_topic_that_cannot_be_given_partitions_is_an_error(embedded_broker: str, topics_prefix: str) -> None:
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    # given a state topic that cannot hold the partitions of sensors, on a broker that adds none
    create_topic(broker, f"{topics_prefix}sensors", 4)
    create_topic(broker, f"{topics_prefix}state", 2)
    # when the topics are created
    done = run_command("topics", "create", "--brokers", broker.address, "--prefix", topics_prefix)
    # then it ends with 2 and says what to do
    assert done.returncode == 2
    assert f"{topics_prefix}state has 2 partitions, {topics_prefix}sensors has 4" in done.stderr
    assert f"kafka-topics.sh --alter --topic {topics_prefix}state --partitions 4" in done.stderr
    # and a worker would refuse too
    settings = load_settings(None, kafka={"brokers": broker.address}, topics={"prefix": topics_prefix})
    with pytest.raises(InputError, match="has 2 partitions"):
        ensure_topics(settings, {SENSORS})


def test_a_worker_makes_missing_topics_but_never_a_misspelt_input(broker: Broker, topics_prefix: str) -> None:
    # given no topics
    # when a worker makes sure of them
    ensure_topics(load_settings(None, kafka={"brokers": broker.address}, topics={"prefix": topics_prefix}), {SENSORS})
    # then they are there
    assert f"{topics_prefix}state" in partition_counts(broker)
    # but an input topic that the settings name and nobody made is a mistake
    misspelt = {"prefix": topics_prefix, "sensors": f"{topics_prefix}snesors"}
    with pytest.raises(InputError, match="snesors"):
        ensure_topics(load_settings(None, kafka={"brokers": broker.address}, topics=misspelt), {SENSORS})


def test_list_shows_partitions_cleanup_and_retention(broker: Broker, topics_prefix: str) -> None:
    # given the topics
    create_topics(broker, topics_prefix, partitions=4)
    # when they are listed
    done = run_command("topics", "list", "--brokers", broker.address, "--prefix", topics_prefix)
    # then each has its line
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert rows[f"{topics_prefix}sensors"][1:6] == ["4", "1", "delete", "7", "d"]
    assert rows[f"{topics_prefix}state"][1:4] == ["4", "1", "compact"]
    assert rows[f"{topics_prefix}models"][1] == "1"


@pytest.mark.one_broker
def test_list_says_what_is_missing(broker: Broker, topics_prefix: str) -> None:
    # given none of the topics, when they are listed
    done = run_command("topics", "list", "--brokers", broker.address, "--prefix", topics_prefix)
    # then every line says so, and none was made by asking
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" missing ") == len(TOPICS)
    assert not any(name.startswith(topics_prefix) for name in partition_counts(broker))


def test_an_unreachable_broker_is_told_within_seconds() -> None:
    # given nothing at an address (port 1 is nobody's)
    started = time.monotonic()
    # when it is asked for its topics
    done = run_command("topics", "list", "--brokers", "127.0.0.1:1")
    # then the answer is 2, one line, and not late
    assert done.returncode == 2
    assert "no Kafka at 127.0.0.1:1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("option", [["--partitions", "0"], ["--replication", "-1"], ["--partitions", "many"]])
def test_counts_below_one_are_refused(option: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    # when the command gets one, then it ends with 2 before it looks for a broker
    done = run_here(capfd, "topics", "create", "--brokers", "127.0.0.1:1", *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "no Kafka at" not in done.stderr


@pytest.mark.kafka
def test_more_copies_than_brokers_are_refused(real_kafka: str, topics_prefix: str) -> None:
    # when three copies are asked of one broker
    done = run_command("topics", "create", "--brokers", real_kafka, "--prefix", topics_prefix, "--replication", "3")
    # then its refusal is passed on in one line
    assert done.returncode == 2
    assert "replication" in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.kafka
def test_topics_behind_tls_and_sasl(secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path) -> None:
    # given a cluster with TLS and SASL, and a file that says so, the password in a variable
    config = secure_kafka.settings_file(tmp_path, secure_kafka.admin)
    words = ("--config", str(config), "--prefix", topics_prefix)
    # when the administrator creates the topics
    done = run_command("topics", "create", *words, environment=secure_kafka.environment(secure_kafka.admin))
    # then they are there
    assert done.returncode == 0, done.stderr
    assert f"{topics_prefix}state" in partition_counts(secure_kafka.as_user(secure_kafka.admin))


@pytest.mark.kafka
def test_a_wrong_password_is_told_at_once_and_never_printed(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    # given the wrong password
    config = secure_kafka.settings_file(tmp_path, secure_kafka.admin)
    started = time.monotonic()
    # when a command uses it
    done = run_command(
        "topics", "list", "--config", str(config), environment=secure_kafka.environment(("admin", "not-the-password"))
    )
    # then it does not wait for something that will not come, and says whose fault it is, but not the password
    assert done.returncode == 2
    assert "password" in done.stderr
    assert "not-the-password" not in done.stderr
    assert time.monotonic() - started < 60


@pytest.mark.kafka
def test_plaintext_to_a_tls_port_ends_in_one_line(secure_kafka: SecureKafka) -> None:
    # when somebody forgets the settings
    done = run_command("topics", "list", "--brokers", secure_kafka.address)
    # then one line says where to put them
    assert done.returncode == 2
    assert "--config" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.kafka
def test_a_user_without_rights_is_told_which_topic(
    secure_kafka: SecureKafka, topics_prefix: str, tmp_path: Path
) -> None:
    # given a user who may look at one topic only
    name, _ = secure_kafka.stranger
    create_topic(secure_kafka.as_user(secure_kafka.admin), f"{topics_prefix}sensors", 2)
    secure_kafka.grant_topic(name, f"{topics_prefix}sensors", AclOperation.DESCRIBE)
    config = secure_kafka.settings_file(tmp_path, secure_kafka.stranger)
    words = ("--config", str(config), "--prefix", topics_prefix)
    password = secure_kafka.environment(secure_kafka.stranger)
    # when it lists them, then it sees that one, its settings unknown
    listed = run_command("topics", "list", *words, environment=password)
    assert listed.returncode == 0, listed.stderr
    assert f"{topics_prefix}sensors" in listed.stdout
    # and when it creates the others, then the refusal names one of them
    created = run_command("topics", "create", *words, environment=password)
    assert created.returncode == 2
    assert f"cannot create topic {topics_prefix}" in created.stderr
