"""A Kafka with TLS, passwords and rights, as its users see it. The fixture `secure_kafka` starts it."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
)
from confluent_kafka.admin import ResourceType as AclResource

from tests.integration.kafka_tools import Broker
from wheeltapper.kafka_admin import is_needed
from wheeltapper.schemas.topics import SENSORS, TOPICS, Program, topic_name
from wheeltapper.stream.settings import Settings


@dataclass(frozen=True)
class SecureKafka:
    """A Kafka with TLS, SASL/PLAIN and ACLs: nobody but the administrator may do anything that was not granted."""

    address: str
    ca_file: Path
    admin: tuple[str, str]
    user: tuple[str, str]
    stranger: tuple[str, str]

    def as_user(self, who: tuple[str, str]) -> Broker:
        """The broker as one of the three users sees it."""
        return Broker(
            self.address,
            "kafka",
            supports_transactions=True,
            config={
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": who[0],
                "sasl.password": who[1],
                "ssl.ca.location": str(self.ca_file),
            },
        )

    def settings_file(self, folder: Path, who: tuple[str, str]) -> Path:
        """A TOML file for --config; the password is not in it: give `environment` to the command."""
        path = folder / f"{who[0]}.toml"
        path.write_text(
            "[kafka]\n"
            f'brokers = "{self.address}"\n'
            'security_protocol = "SASL_SSL"\n'
            'sasl_mechanism = "PLAIN"\n'
            f'sasl_username = "{who[0]}"\n'
            f'ssl_ca_location = "{self.ca_file}"\n'
        )
        return path

    @staticmethod
    def environment(who: tuple[str, str]) -> dict[str, str]:
        """The variable with the password."""
        return {"WHEELTAPPER_KAFKA__SASL_PASSWORD": who[1]}

    def grant_worker(self, user: str, prefix: str, group: str) -> None:
        """The rights that the table of topics, and with it docs/deploy.md, gives a worker of rows with default settings, and no more."""
        rights = [
            (AclResource.TOPIC, topic_name(prefix, spec.name), AclOperation[operation])
            for spec in TOPICS.values()
            if is_needed(spec, Settings(), {SENSORS})
            for access in spec.access_of(Program.WORKER)
            if not access.setting or attrgetter(access.setting)(Settings())
            for operation in access.operations
        ]
        rights += [(AclResource.GROUP, group, AclOperation.READ)]
        bindings = [_allow(resource, name, user, right) for resource, name, right in rights]
        # Every worker of the group has an id of its own that starts with the group's name.
        bindings += [_allow(AclResource.TRANSACTIONAL_ID, group, user, AclOperation.WRITE, prefixed=True)]
        self.grant(bindings)

    def grant_topic(self, user: str, topic: str, *rights: AclOperation) -> None:
        """Rights on one topic."""
        self.grant([_allow(AclResource.TOPIC, topic, user, right) for right in rights])

    def revoke_topic(self, user: str, topic: str) -> None:
        """Take all of a user's rights on one topic."""
        ours = AclBindingFilter(
            AclResource.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY
        )  # fmt: skip
        admin = AdminClient(self.as_user(self.admin).client())
        for future in admin.delete_acls([ours], request_timeout=30).values():
            future.result()

    def grant(self, bindings: list[AclBinding]) -> None:
        """As the administrator."""
        admin = AdminClient(self.as_user(self.admin).client())
        for future in admin.create_acls(bindings, request_timeout=30).values():
            future.result()


def _allow(resource: AclResource, name: str, user: str, right: AclOperation, *, prefixed: bool = False) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    return AclBinding(resource, name or "*", pattern if name else ResourcePatternType.LITERAL, f"User:{user}", "*", right, AclPermissionType.ALLOW)  # fmt: skip
