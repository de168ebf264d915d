"""The [kafka] section as clients take it."""

from __future__ import annotations

from typing import Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings.connection import KafkaSettings


def confluent_config(kafka: KafkaSettings) -> dict[str, Any]:
    """What every confluent-kafka client needs to reach the brokers."""
    config: dict[str, Any] = {"bootstrap.servers": kafka.brokers, "security.protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = kafka.sasl_mechanism
        config["sasl.username"] = kafka.sasl_username or ""
        config["sasl.password"] = kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""
    for option, path in (
        ("ssl.ca.location", kafka.ssl_ca_location),
        ("ssl.certificate.location", kafka.ssl_certificate_location),
        ("ssl.key.location", kafka.ssl_key_location),
    ):
        if path is not None:
            if not path.is_file():
                raise InputError(f"{path}: no such file; kafka.{option.replace('.', '_')} must name a PEM file")
            config[option] = str(path)
    if kafka.ssl_key_password is not None:
        config["ssl.key.password"] = kafka.ssl_key_password.get_secret_value()
    return config
