"""Which Kafka errors are a person's to mend: waiting and trying again would not help."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the user may not read or write a topic: give it the rights (docs/deploy.md lists them)",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the user may not use the consumer group: give it READ on the group, or change kafka.group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the user may not use the transactional id: give it WRITE on it, or set worker.transactions = 'off'",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the user lacks a right on the cluster: IDEMPOTENT_WRITE for an older broker",
    KafkaError.SASL_AUTHENTICATION_FAILED: "user or password are wrong: check kafka.sasl_username and kafka.sasl_password",
    KafkaError._AUTHENTICATION: "user or password are wrong: check kafka.sasl_username and kafka.sasl_password",
    KafkaError.UNSUPPORTED_SASL_MECHANISM: "the broker does not offer kafka.sasl_mechanism: choose another",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes, or give the user DESCRIBE_CONFIGS on it, or set kafka.max_message_bytes to what it takes",
    KafkaError._SSL: "TLS failed: check kafka.ssl_ca_location and kafka.security_protocol",
}


class PublishError(Exception):
    """Something was not delivered: what it came from must not be committed.

    Attributes:
        cause: the broker's or the client's reason, where there is one.
    """

    def __init__(self, text: str, cause: KafkaError | None = None) -> None:
        super().__init__(text)
        self.cause = cause


def kafka_error(error: BaseException) -> KafkaError | None:
    """The Kafka error inside of an exception."""
    if isinstance(error, PublishError):
        return error.cause
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    return None


def refusal(error: BaseException) -> str | None:
    """One line for a person where the broker refuses this client for good; None where trying again may help."""
    found = kafka_error(error)
    if found is None:
        return None
    return refusal_of(found.code(), str(error) if isinstance(error, PublishError) else found.str())


def refusal_of(code: int, text: str) -> str | None:
    """The same by the error's number in Kafka's protocol, as other clients have it."""
    advice = REFUSALS.get(code)
    return f"kafka refuses: {text}; {advice}" if advice else None
