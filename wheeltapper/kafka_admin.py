"""Reaching a Kafka cluster from a command, and making and describing the topics of `wheeltapper.schemas.topics` on it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from wheeltapper.kafka_arguments import DEFAULT_PARTITIONS
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean
from wheeltapper.schemas.topics import SENSORS, STATE, TOPICS, Program, TopicSpec

if TYPE_CHECKING:
    from wheeltapper.stream.settings import Settings

# A cluster that is up answers in milliseconds, one that is just starting in seconds; nobody waits longer at a prompt.
REACH_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 15.0

# Waiting does not mend these; librdkafka retries them all the same.
_HOPELESS = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}

# librdkafka prints to stderr what we say in one line of our own.
_SILENT = logging.getLogger("wheeltapper.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is on the cluster.

    Attributes:
        spec: what it should be; `name` is its full name.
        partitions, replication: None where it does not exist.
        config: topic settings as the cluster tells them.
        created: made by this call.
    """

    spec: TopicSpec
    name: str
    partitions: int | None
    replication: int | None
    config: Mapping[str, str]
    created: bool = False

    def config_differences(self) -> list[str]:
        """'setting is X, expected Y' for each setting that the cluster tells otherwise."""
        found = [
            f"{key} is {self.config[key]}, expected {value}"
            for key, value in self.spec.kafka_config().items()
            if key in self.config and self.config[key] != value
        ]
        wanted, in_sync = copies_in_sync(self.replication or 1), self.config.get("min.insync.replicas", "")
        if in_sync.isdecimal() and int(in_sync) < wanted:
            found.append(f"min.insync.replicas is {in_sync} of {self.replication} copies, expected {wanted} or more")
        return found


def settings_from(arguments: argparse.Namespace) -> Settings:
    """File, environment, then `--brokers` and `--prefix`.

    Raises:
        InputError: as `wheeltapper.stream.settings.load_settings`.
    """
    from wheeltapper.stream.settings import load_settings

    return load_settings(
        arguments.config,
        kafka={"brokers": arguments.brokers},
        topics={"prefix": getattr(arguments, "prefix", None)},
    )


def quiet_client_config(settings: Settings, **options: Any) -> dict[str, Any]:
    """A confluent-kafka client's configuration: how to reach the brokers, no chatter on stderr, and `options`."""
    from wheeltapper.stream.settings import confluent_config

    return {**confluent_config(settings.kafka), "logger": _SILENT, **options}


def connect(settings: Settings) -> AdminClient:
    """An admin client of a cluster that answered.

    Raises:
        InputError: no answer within 10 s, or it does not let us in.
    """
    brokers = settings.kafka.brokers
    seen: list[KafkaError] = []
    try:
        admin = AdminClient(quiet_client_config(settings, error_cb=seen.append, **{"reconnect.backoff.max.ms": 1000}))
    except KafkaException as error:
        raise InputError(f"the [kafka] settings make no client: {error.args[0].str()}; correct them") from error
    deadline = time.monotonic() + REACH_TIMEOUT_S
    while True:
        try:
            admin.list_topics(timeout=1.0)
            return admin
        except KafkaException as error:
            admin.poll(0)  # fills `seen`: the reason, where this error only says that time ran out
            hopeless = next((one for one in seen if one.code() in _HOPELESS), None)
            if hopeless is None and time.monotonic() < deadline:
                continue
            specific = [one for one in seen if one.code() != KafkaError._ALL_BROKERS_DOWN]
            reason = hopeless or (specific[-1] if specific else error.args[0])
            advice = (
                "check security_protocol, user, password and certificates in [kafka]"
                if hopeless is not None
                else "check --brokers HOST:PORT and that it runs ('wheeltapper broker' starts one here); "
                "a broker with TLS or SASL needs them in --config"
            )
            raise InputError(f"no Kafka at {brokers} ({_short(reason)}); {advice}") from error


def describe_topics(admin: AdminClient, settings: Settings) -> list[TopicState]:
    """Every topic of `wheeltapper.schemas.topics`, in its order, whether it exists or not.

    Raises:
        InputError: the cluster refuses to tell.
    """
    found = _metadata(admin)
    wanted = [(spec, settings.topics.full_name(spec.name)) for spec in TOPICS.values()]
    configs = _configs(admin, [name for _, name in wanted if name in found])
    return [
        TopicState(
            spec,
            name,
            partitions=len(found[name].partitions) if name in found else None,
            replication=_replication(found[name]) if name in found else None,
            config=configs.get(name, {}),
        )
        for spec, name in wanted
    ]


def copies_in_sync(replication: int) -> int:
    """Copies that must have a record before it counts as written: with 3 or more the loss of any one broker loses nothing, and
    stops nobody; with 2 one of both would stop everybody."""
    return replication // 2 + 1 if replication >= 3 else 1


def new_topic(
    spec: TopicSpec, name: str, partitions: int, replication: int | None = None, in_sync: int | None = None
) -> NewTopic:
    """What the cluster is asked to make.

    Args:
        name: its full name.
        partitions: where the topic has no fixed number of its own.
        replication: None is the cluster's own default.
        in_sync: min.insync.replicas; None is the cluster's own.
    """
    return NewTopic(
        name,
        num_partitions=spec.partitions or partitions,
        replication_factor=replication or -1,
        config=spec.kafka_config() | ({} if in_sync is None else {"min.insync.replicas": str(in_sync)}),
    )


def create_topics(
    admin: AdminClient,
    settings: Settings,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    in_sync: int | None = None,
    only: Callable[[TopicSpec], bool] = lambda spec: True,
) -> list[TopicState]:
    """Make the topics that are missing; existing ones are left as they are.

    Args:
        only: which of them.
        partitions: of every machine-keyed topic. None: as many as the sensors topic has, or 8 where it is new. An existing
            sensors topic wins in any case: a machine must have the same partition number everywhere.
        replication: None is the cluster's own default.
        in_sync: min.insync.replicas; None: `copies_in_sync` of the replication, where that is known.

    Raises:
        InputError: the cluster refuses one of them.
    """
    before = {state.spec.name: state for state in describe_topics(admin, settings)}
    count = before[SENSORS].partitions or partitions or DEFAULT_PARTITIONS
    names = [state for state in before.values() if state.partitions is None and only(state.spec)]
    if names and in_sync is None:
        copies = replication or _default_replication(admin)
        in_sync = None if copies is None else copies_in_sync(copies)
    missing = [new_topic(state.spec, state.name, count, replication, in_sync) for state in names]
    if missing:
        created = admin.create_topics(missing, operation_timeout=REQUEST_TIMEOUT_S, request_timeout=REQUEST_TIMEOUT_S)
        for name, future in created.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was faster: fine
                    raise InputError(f"cannot create topic {name}: {_short(error.args[0])}") from error
    made = {topic.topic for topic in missing}
    _wait_until_led(admin, made)
    _grow_state(admin, before.values())
    return [
        TopicState(state.spec, state.name, state.partitions, state.replication, state.config, state.name in made)
        for state in describe_topics(admin, settings)
    ]


def check_partitions(states: Iterable[TopicState], inputs: Collection[str] = ()) -> None:
    """The state topic must have a partition beside each one of every input topic.

    Args:
        inputs: names, without prefix, of topics that are read as input besides.

    Raises:
        InputError: it has not, or it or the sensors topic is missing.
    """
    by_name = {state.spec.name: state for state in states}
    for name in (SENSORS, STATE):
        if by_name[name].partitions is None:
            raise InputError(f"topic {by_name[name].name} does not exist; 'wheeltapper topics create' makes it")
    state = by_name[STATE]
    for source in by_name.values():
        is_input = source.spec.is_input or source.spec.name in inputs
        if is_input and (source.partitions or 0) > (state.partitions or 0):
            raise InputError(
                f"topic {state.name} has {state.partitions} partitions, {source.name} has {source.partitions}; it needs one "
                f"beside each of them, and the cluster does not add them for this user: kafka-topics.sh --alter --topic "
                f"{state.name} --partitions {source.partitions} does (what it holds stays; do not delete it)"
            )


def is_needed(spec: TopicSpec, settings: Settings, inputs: Collection[str]) -> bool:
    """Whether a worker with these settings uses the topic.

    Args:
        inputs: names, without prefix, of the topics that its bundles take their input from.
    """
    if spec.is_input and spec.name not in inputs:
        return False
    return any(not access.setting or attrgetter(access.setting)(settings) for access in spec.access_of(Program.WORKER))


def ensure_topics(settings: Settings, inputs: Collection[str]) -> None:
    """What a worker needs is there when this returns; where one of its topics is missing, all that are missing are made.

    Args:
        inputs: names, without prefix, of the topics that its bundles take their input from.

    Raises:
        InputError: no cluster there, a refusal of it, an input topic named in the settings that does not exist, or `state`
            with fewer partitions than `sensors`.
    """
    admin = connect(settings)
    states = describe_topics(admin, settings)
    missing = [state for state in states if state.partitions is None and is_needed(state.spec, settings, inputs)]
    for state in missing:
        if state.spec.is_input and settings.topics.own_name(state.spec.name) is not None:
            hint = did_you_mean(state.name, _metadata(admin))
            raise InputError(
                f"topic {state.name} (topics.{state.spec.setting}) does not exist at {settings.kafka.brokers}, or the user may "
                f"not see it; correct the name, or create it{hint}"
            )
    if missing or _state_lacks(states):
        states = create_topics(admin, settings)
    check_partitions(states, inputs)


def renew_topics(settings: Settings, inputs: Collection[str]) -> None:
    """Make what a worker writes and somebody has deleted under it. Its input is for whoever deleted that to make.

    Args:
        inputs: as for `ensure_topics`.

    Raises:
        InputError: no cluster there, or a refusal of it.
    """
    admin = connect(settings)
    states = create_topics(admin, settings, only=lambda spec: not spec.is_input and is_needed(spec, settings, inputs))
    made = [state.name for state in states if state.created]
    if made:
        logging.getLogger(__name__).warning(
            "topics that were deleted under this worker are made anew: %s", ", ".join(made)
        )


def _state_lacks(states: Iterable[TopicState]) -> int:
    """As many partitions as `state` should be given; 0 where it has one beside each of every input topic."""
    by_name = {state.spec.name: state for state in states}
    there = by_name[STATE].partitions
    needed = max(state.partitions or 0 for state in by_name.values() if state.spec.is_input)
    return needed if there is not None and there < needed else 0


def _grow_state(admin: AdminClient, states: Iterable[TopicState]) -> None:
    """Where an input topic was given partitions, `state` is too: its records lie beside their input, none has to move.

    Where the cluster does not do it, `check_partitions` says what a person has to.
    """
    states = list(states)
    needed = _state_lacks(states)
    if not needed:
        return
    name = next(state.name for state in states if state.spec.name == STATE)
    with contextlib.suppress(KafkaException):
        admin.create_partitions([NewPartitions(name, needed)], request_timeout=REQUEST_TIMEOUT_S)[name].result()
        _wait_until_led(admin, {name}, needed)


def _metadata(admin: AdminClient) -> dict[str, Any]:
    try:
        # Of all topics: asked for by name, a missing one would be created by brokers that do so.
        return dict(admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics)
    except KafkaException as error:
        raise InputError(f"the cluster does not list its topics: {_short(error.args[0])}") from error


def _wait_until_led(admin: AdminClient, names: set[str], partitions: int = 1) -> None:
    """Until the brokers know the new topics and every partition has a leader: the controller answers before that.

    Args:
        partitions: of each of them, at least.

    Raises:
        InputError: not so within 15 s.
    """
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        found = _metadata(admin)
        waiting = sorted(name for name in names if name not in found or not _is_led(found[name], partitions))
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise InputError(
                f"topic {waiting[0]} was created, but not all of its partitions have a leader after "
                f"{REQUEST_TIMEOUT_S:.0f} s; are all brokers up? Call it again to see"
            )
        time.sleep(0.1)


def _is_led(topic: Any, partitions: int) -> bool:
    return len(topic.partitions) >= partitions and all(partition.leader >= 0 for partition in topic.partitions.values())


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            entries = future.result()
        except KafkaException as error:
            if error.args[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART):
                continue  # we may not look at its settings, or the asked broker does not know it yet: shown as unknown
            raise InputError(f"the cluster does not describe topic {resource.name}: {_short(error.args[0])}") from error
        configs[resource.name] = {key: entry.value for key, entry in entries.items() if entry.value is not None}
    return configs


def _default_replication(admin: AdminClient) -> int | None:
    """The cluster's default.replication.factor; None where it does not tell."""
    brokers = admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers
    if not brokers:
        return None
    resource = ConfigResource(ConfigResource.Type.BROKER, str(min(brokers)))
    try:
        found = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource].result()
        return int(found["default.replication.factor"].value)
    except (KafkaException, KeyError, TypeError, ValueError):
        return None  # it may not be asked, or knows no such setting


def _replication(topic: Any) -> int:
    return min((len(partition.replicas) for partition in topic.partitions.values()), default=0)


def _short(error: KafkaError) -> str:
    """librdkafka's text without the client's own address and state around the cause."""
    text = re.sub(r"^\S+/\S+: ", "", error.str() or error.name())
    return re.sub(r" \(after [^)]*\)", "", text).strip().rstrip(".")
