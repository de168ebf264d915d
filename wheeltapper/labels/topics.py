"""The questions and answers on Kafka: read both topics, publish an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wheeltapper.follow.messages import read_messages
from wheeltapper.kafka_clients import producer
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_message
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.schemas.machine_names import matches
from wheeltapper.schemas.topics import LABELS
from wheeltapper.stream.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

# An answer is small and its operator waits for it.
DELIVERY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Questions:
    """What lies in both topics.

    Attributes:
        requests: each once, newest first.
        labels: request id -> the last label of it.
        problems: one line for each message that is neither.
    """

    requests: list[LabelRequest]
    labels: dict[str, Label]
    problems: list[str]

    @property
    def open(self) -> list[LabelRequest]:
        """Those that nobody has answered, newest first."""
        return [request for request in self.requests if request.request_id not in self.labels]

    def find(self, ident: str) -> LabelRequest:
        """By its id, or by the beginning of one that no other begins with.

        Raises:
            InputError: none, or several.
        """
        found = [request for request in self.requests if request.request_id.startswith(ident)]
        if len(found) != 1 or not ident:
            count = len(found) or "no"
            raise InputError(
                f"--request '{ident}': {count} label requests begin so, expected one; "
                "'wheeltapper label --list' shows the open ones, --json their whole ids"
            )
        return found[0]


def read_questions(settings: Settings, *, machines: str = "*", since_ms: int | None = None) -> Questions:
    """Both topics to their ends.

    Args:
        machines: pattern (fnmatch) of the machines that matter.
        since_ms: leave out requests that were published earlier, milliseconds since 1970 UTC.

    Raises:
        InputError: no cluster there, a topic missing or not to be read.
    """
    keep = _matcher(machines)
    problems: list[str] = []
    labels = read_messages(settings, Label, keep=keep, on_problem=problems.append)
    requests = read_messages(settings, LabelRequest, since_ms=since_ms, keep=keep, on_problem=problems.append)
    once = {request.request_id: request for request in requests if matches(machines, request.machine)}
    newest_first = sorted(once.values(), key=lambda request: (-request.time, request.request_id))
    return Questions(newest_first, {label.request_id: label for label in labels}, problems)


def _matcher(machines: str) -> Callable[[bytes], bool]:
    """By a message's key, which is the machine: others are not even decoded."""

    def is_wanted(key: bytes) -> bool:
        return not key or matches(machines, key.decode(errors="replace"))

    return is_wanted


class LabelSender:
    """Publishes answers; each has arrived when `send` returns."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.full_name(LABELS)
        self._producer = producer(settings)

    def send(self, label: Label) -> None:
        """
        Raises:
            InputError: it was not delivered.
        """
        failures: list[KafkaError] = []
        self._producer.produce(
            self._topic,
            encode_message(label),
            key=label.machine.encode(),
            headers=[("content-type", CONTENT_TYPES["json"].encode())],
            on_delivery=lambda error, message: failures.append(error) if error is not None else None,
        )
        left = self._producer.flush(DELIVERY_TIMEOUT_S)
        if failures or left:
            reason = failures[0].str() if failures else f"no answer from the brokers in {DELIVERY_TIMEOUT_S:.0f} s"
            if left:
                self._producer.purge()
            raise InputError(
                f"the label of request {label.request_id} did not reach topic {self._topic}: {reason}; "
                "check the brokers and the user's right to WRITE there, and answer it again"
            )
