"""The brokers of the integration tests for these tests too, and a rig for each runner on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import (
    broker,
    embedded_broker,
    own_kafka,
    pytest_collection_modifyitems,
    real_kafka,
    topics_prefix,
)
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import RUNNERS, Rig, make_rig

__all__ = [
    "broker",
    "embedded_broker",
    "own_kafka",
    "pytest_collection_modifyitems",
    "real_kafka",
    "topics_prefix",
]


@pytest.fixture
def rigs(broker: Broker, topics_prefix: str, tmp_path: Path) -> list[Rig]:
    """Both runners on each broker in turn, each runner with topics and a group of its own."""
    return make_rigs(broker, topics_prefix, tmp_path)


@pytest.fixture
def kafka_rigs(real_kafka: str, topics_prefix: str, tmp_path: Path) -> list[Rig]:
    """Both runners on a real Apache Kafka."""
    return make_rigs(Broker(real_kafka, "kafka", supports_transactions=True), topics_prefix, tmp_path)


def make_rigs(broker: Broker, prefix: str, folder: Path) -> list[Rig]:
    return [make_rig(broker, runner, f"{runner}-{prefix}", folder / runner) for runner in RUNNERS]
