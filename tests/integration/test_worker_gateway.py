"""A gateway's messages on a broker: readings of all machines in lists, put together by a worker that is killed among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.helpers.plant import Message, Plant, make_plant
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import Rig, assert_alerts, assert_committed_to_the_end, make_rig, wait_until

pytestmark = pytest.mark.broker

SETTINGS = """
[input]
time = "values[*].t"

[assembly]
value = "values[*].v"
tag = "values[*].id"
quality = "values[*].q"
patterns = ["Plant.{machine}.{channel}"]
phase_s = 20                              # rows of the plant lie 20 s behind whole minutes
"""


def as_a_gateway_sends_them(plant: Plant) -> Iterator[Message]:
    """Each machine's readings in lists of any length, which cut through rows."""
    rng = np.random.default_rng(5)
    for name, block in plant.machines.items():
        readings = [
            {"id": f"Plant.{name}.{channel}", "v": value, "q": 192, "t": time // 1_000}
            for time, row in zip(block.ts.tolist(), block.values.tolist(), strict=True)
            for channel, value in zip(block.channels, row, strict=True)
        ]
        while readings:
            size = int(rng.integers(1, 9))
            yield name.encode(), orjson.dumps({"values": readings[:size]}), []
            readings = readings[size:]


def test_readings_of_a_gateway_lead_to_the_alerts_of_their_rows(
    embedded_broker: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given the readings of a plant
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    rig: Rig = make_rig(broker, "direct", topics_prefix, tmp_path)
    plant = make_plant(machines=4, rows=300)
    rig.produce(as_a_gateway_sends_them(plant))
    config = tmp_path / "gateway.toml"
    config.write_text(SETTINGS)
    # when a worker is killed among them, and another goes on
    few = {"WHEELTAPPER_WORKER__MAX_BATCH_MESSAGES": "20", "WHEELTAPPER_WORKER__COMMIT_INTERVAL_MS": "50"}
    with rig.start(config=config, environment=few) as worker:
        wait_until(lambda: any(offset > 40 for offset in rig.committed().values()), "a commit", worker)
        worker.kill()
    rig.run(config=config)
    # then the alerts are those of whole rows
    assert_alerts(rig, rig.expect(plant), exactly_once=False)
    assert_committed_to_the_end(rig)
