"""Who may do what: a worker between an attacker's records and bundles, on a real broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker, limit_messages
from tests.integration.worker_tools import Rig, assert_alerts, assert_scores, make_rig, side_by_side
from tests.unit.stream.test_state import crafted
from wheeltapper.cli import main
from wheeltapper.stream.state import PROGRESS
from wheeltapper.stream.state_parts import PART_KEY

KEY = {"WHEELTAPPER_STATE__SEAL_KEY": "a key of this plant's own"}
SMALL = 1_000
"""Bytes that the state topic takes: less than a snapshot."""


def forge(rig: Rig, machines: list[str]) -> None:
    """Records by which every machine would be passed over, if they were believed: in every partition, as nobody knows theirs."""
    prefix = f"{rig.group}/{rig.sensors}/".encode()
    header: dict[str, Any] = {
        "machine": "",
        "heard_at": None,
        "silent_since": None,
        "applied": 0,
        "memory": {},
        "rules": {},
    }
    forged = [(prefix + PROGRESS, orjson.dumps({"published": 10**15, "reserved": 10**15}))]
    forged += [(prefix + name.encode(), crafted({**header, "machine": name}, offset=10**15)) for name in machines]
    attacker = Producer(rig.broker.client())
    for number in range(4):
        for key, value in forged:
            attacker.produce(f"{rig.prefix}state", value, key, partition=number)
    assert attacker.flush(120) == 0


@pytest.mark.kafka
@pytest.mark.slow
def test_state_in_parts_under_a_seal_survives_restarts_and_forgery(
    real_kafka: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given a state topic that takes less than a snapshot, workers with a key, and somebody without it
    broker = Broker(real_kafka, "kafka", supports_transactions=True)

    def scenario(rig: Rig) -> None:
        limit_messages(rig.broker, f"{rig.prefix}state", SMALL)
        plant = make_plant(machines=4, rows=160)
        messages = messages_of(plant, largest_block=8)
        half = len(messages) // 2
        rig.produce(messages[:half])
        rig.run(environment=KEY)
        keys = {record.key or b"" for record in rig.records("state")}
        assert any(PART_KEY in key for key in keys)
        forge(rig, list(plant.machines))
        # when a worker goes on from there
        rig.produce(messages[half:])
        rig.run(environment=KEY)
        # then its output is that of a worker that nobody disturbed
        expected = rig.expect(plant)
        assert_alerts(rig, expected, exactly_once=rig.runner == "direct")
        assert_scores(rig, expected, exactly_once=rig.runner == "direct")

    side_by_side(
        [make_rig(broker, runner, f"{topics_prefix}{runner}.", tmp_path / runner) for runner in ("faust", "direct")],
        scenario,
    )


@pytest.mark.kafka
@pytest.mark.slow
def test_forged_records_cost_a_warm_up_at_most_without_a_key(
    real_kafka: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker without a key, whose state somebody overwrites with offsets that do not exist
    rig = make_rig(Broker(real_kafka, "kafka", supports_transactions=True), "direct", topics_prefix, tmp_path)
    first, second = make_plant(machines=4, rows=60), make_plant(machines=4, rows=120, seed=9)
    rig.produce(messages_of(first, largest_block=8))
    rig.run()
    forge(rig, list(first.machines))
    known = len(rig.messages("scores"))
    # when more rows come: then they are scored
    rig.produce(messages_of(second, largest_block=8))
    ended = rig.run()
    assert len(rig.messages("scores")) > known
    assert "is of input that this worker's group has not handled" in ended.log()


@pytest.mark.one_broker
def test_a_worker_refuses_a_bundle_that_nobody_it_trusts_has_signed(
    broker: Broker, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker that trusts a key, and a bundle with a signature or without
    rig = make_rig(broker, "direct", topics_prefix, tmp_path)
    assert main(["bundle", "new-key", str(tmp_path / "plant.pem")]) == 0
    trust = {"WHEELTAPPER_BUNDLES__TRUSTED_KEYS": str(tmp_path / "plant.pub.pem")}
    plant = make_plant(machines=2, rows=60)
    rig.produce(messages_of(plant, largest_block=8))
    with rig.start(environment=trust) as refused:
        assert refused.wait() == 2
    assert "is not signed" in refused.log()
    # when it is signed: then it is loaded, and its rows are scored
    assert main(["bundle", "sign", str(rig.bundle), "--key", str(tmp_path / "plant.pem")]) == 0
    rig.run(environment=trust)
    assert_alerts(rig, rig.expect(plant), exactly_once=False)
    # and digests do the same
    with rig.start(options=["--bundle-sha256", "0" * 64]) as refused:
        assert refused.wait() == 2
    assert "which is none of those that may be loaded" in refused.log()
