"""How large a message each topic takes: asked of the topics themselves, as an operator may have made them otherwise than we do."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from wheeltapper.schemas.topics import TOPICS, Program
from wheeltapper.stream.kafka_client import client_config
from wheeltapper.stream.settings import Settings

log = structlog.get_logger(__name__)

DEFAULT_MESSAGE_BYTES = 1_048_588
"""Kafka's default of max.message.bytes."""

ASK_TIMEOUT_S = 5.0

WRITTEN = tuple(
    name
    for name, spec in TOPICS.items()
    if any("WRITE" in access.operations for access in spec.access_of(Program.WORKER))
)
"""Names, without prefix, of the topics that a worker writes."""


def topic_limits(settings: Settings, names: Collection[str] = WRITTEN) -> Mapping[str, int]:
    """Name without prefix -> bytes of the largest message: the topic's max.message.bytes, at most `kafka.max_message_bytes`.

    A topic that this user may not ask about, or that does not answer, counts as one with Kafka's default: what
    'wheeltapper topics create' would have given it is no safe guess of what an operator did.
    """
    full = {name: settings.topics.full_name(name) for name in names}
    most = settings.kafka.max_message_bytes
    limits = dict.fromkeys(names, min(DEFAULT_MESSAGE_BYTES, most))
    resources = {ConfigResource(ResourceType.TOPIC, topic): name for name, topic in full.items()}
    client = AdminClient(client_config(settings.kafka))  # answers come only while it lives
    try:
        answers = client.describe_configs([*resources], request_timeout=ASK_TIMEOUT_S)
    except KafkaException as error:
        log.warning("the brokers did not say how large messages may be; 1 MiB is taken", error=error.args[0].str())
        return limits
    unknown = []
    for resource, answer in answers.items():
        try:
            limits[resources[resource]] = min(int(answer.result(ASK_TIMEOUT_S)["max.message.bytes"].value), most)
        except (KafkaException, KeyError, TypeError, ValueError, TimeoutError):
            unknown.append(resource.name)
    if unknown:
        log.info(
            "topics whose max.message.bytes is not known: larger messages than 1 MiB are cut; the right DESCRIBE_CONFIGS on "
            "them tells more",
            topics=sorted(unknown),
        )
    return limits
