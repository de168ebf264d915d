"""What every client takes from the settings: how it reaches the brokers, and what the topics are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, create_model

from wheeltapper.schemas.topics import DEFAULT_PREFIX, TOPICS, topic_name, topic_setting


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class KafkaSettings(Section):
    """How every client reaches the brokers."""

    brokers: str = Field(default="127.0.0.1:9092", description="host:port, several separated by commas")
    group: str = Field(
        default="wheeltapper", min_length=1, description="consumer group: workers of one group share the machines"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_location: Path | None = Field(
        default=None, description="PEM file of the authority; the system's store without it"
    )
    ssl_certificate_location: Path | None = Field(default=None, description="PEM file of the client's certificate")
    ssl_key_location: Path | None = Field(default=None, description="PEM file of the client's key")
    ssl_key_password: SecretStr | None = None
    session_timeout_ms: int = Field(
        default=6_000,
        ge=1_000,
        description="a killed worker's machines move after this; 6 s is the least that brokers allow by default",
    )
    max_poll_interval_ms: int = Field(
        default=300_000,
        ge=10_000,
        description="a worker that takes longer over one batch loses its machines; twice the worst batch",
    )
    delivery_timeout_ms: int = Field(
        default=600_000, ge=1_000, description="how long an unreachable broker is waited for before the worker gives up"
    )
    max_message_bytes: int = Field(
        default=100_000_000,
        ge=4_096,
        description="largest message that a worker publishes; a topic that takes less is asked for its own limit "
        "(max.message.bytes). To be set where topics take less than 1 MiB and the user may not ask them (DESCRIBE_CONFIGS)",
    )


class TopicNames(Section):
    """Topic names: prefix + name, or a full name where a plant has its own."""

    prefix: str = Field(
        default=DEFAULT_PREFIX, description="what the names of topics without one of their own begin with"
    )

    def own_name(self, name: str) -> str | None:
        """The name that the settings give to e.g. 'dead-letters'; None where it is prefix + name.

        Raises:
            KeyError: not a topic of `wheeltapper.schemas.topics`.
        """
        # A topic that joined the table after this class was made has no field.
        own: str | None = getattr(self, topic_setting(name), None)
        return own

    def full_name(self, name: str) -> str:
        """Full topic name of e.g. 'dead-letters'.

        Raises:
            KeyError: not a topic of `wheeltapper.schemas.topics`.
        """
        return self.own_name(name) or topic_name(self.prefix, name)

    def full_names(self) -> dict[str, str]:
        """Name without prefix -> full name, of every topic."""
        return {name: self.full_name(name) for name in TOPICS}


# One field a topic: `topics.label_requests` is the own name of 'label-requests'. Types are checked by the class above.
if TYPE_CHECKING:
    TopicSettings = TopicNames
else:
    TopicSettings = create_model(
        "TopicSettings",
        __base__=TopicNames,
        __module__=__name__,
        __doc__=TopicNames.__doc__,
        **{
            spec.setting: (
                str | None,
                Field(
                    default=None,
                    description=f"full name, where it is not prefix + '{spec.name}'; carries {spec.carries}",
                ),
            )
            for spec in TOPICS.values()
        },
    )
