"""Tests of size: nightly, on a real Kafka, by both runners at the same time.

`TESTS_SCALE` says how large: 1 is the size that docs/stream.md reports (an hour, a million records), 0.01 the default.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.conftest import make_rigs
from tests.integration.conftest import own_kafka
from tests.integration.kafka_tools import Broker, KafkaNode, await_brokers
from tests.integration.worker_tools import Rig

__all__ = ["own_kafka"]


@pytest.fixture(scope="session")
def scale() -> float:
    """Share of the full size."""
    return float(os.environ.get("TESTS_SCALE", "0.01"))


@pytest.fixture
def rigs(own_kafka: KafkaNode, tmp_path: Path) -> list[Rig]:
    """Both runners on a Kafka of this test alone."""
    broker = Broker(own_kafka.start(), "kafka", supports_transactions=True)
    await_brokers(broker)
    return make_rigs(broker, "scale.", tmp_path)
