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
    KafkaError._SSL: "TLS failed: check kafka.ssl_ca_location and kafka.security_protocol",
}


def refusal(error: BaseException) -> str | None:
    """One line for a person where the broker refuses this client for good; None where trying again may help."""
    if not isinstance(error, KafkaException) or not error.args or not isinstance(error.args[0], KafkaError):
        return None
    found: KafkaError = error.args[0]
    advice = REFUSALS.get(found.code())
    return f"kafka refuses: {found.str()}; {advice}" if advice else None
