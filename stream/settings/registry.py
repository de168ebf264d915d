"""[registry]: the schema registry that senders wrote their messages by."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from wheeltapper.stream.settings.connection import Section


class RegistrySettings(Section):
    """A schema registry, for messages of sensors that name their schema by its id. Needs the extra 'registry'."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="e.g. https://registry:8081, several separated by commas; none: what stands behind a schema's id is taken for "
        "JSON, or for a SensorBlock in Avro",
    )
    username: str | None = Field(default=None, description="of basic authentication; of Confluent Cloud the API key")
    password: SecretStr | None = Field(default=None, description="of the user, or the API key's secret")
    token: SecretStr | None = Field(default=None, description="bearer token, in place of user and password")
    ssl_ca_location: Path | None = Field(
        default=None, description="PEM file of the authority that signed its certificate"
    )
    ssl_certificate_location: Path | None = Field(default=None, description="PEM file of the client's certificate")
    ssl_key_location: Path | None = Field(default=None, description="PEM file of the client's key")
    ssl_key_password: SecretStr | None = None
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="how long a registry that does not answer is waited for before the worker ends; schemas that are known need none",
    )
    cached_schemas: int = Field(default=1_000, ge=1, le=100_000, description="schemas kept in memory")
