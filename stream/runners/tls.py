"""The TLS settings as Python's own clients take them; librdkafka reads them itself."""

from __future__ import annotations

import ssl

from wheeltapper.stream.settings import KafkaSettings


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """None where the brokers are reached without TLS."""
    if not kafka.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=str(kafka.ssl_ca_location) if kafka.ssl_ca_location else None)
    if kafka.ssl_certificate_location:
        password = kafka.ssl_key_password.get_secret_value() if kafka.ssl_key_password else None
        context.load_cert_chain(
            str(kafka.ssl_certificate_location), kafka.ssl_key_location and str(kafka.ssl_key_location), password
        )
    return context
