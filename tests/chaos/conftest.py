"""The brokers of the integration tests, for these tests too."""

from tests.integration.conftest import broker, embedded_broker, own_kafka, real_kafka, topics_prefix

__all__ = ["broker", "embedded_broker", "own_kafka", "real_kafka", "topics_prefix"]
