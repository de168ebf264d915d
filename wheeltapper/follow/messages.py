"""Messages of a topic as what they say: each type of `wheeltapper.schemas.topics` has one topic and one decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from wheeltapper.follow.follower import TopicRecord, read_records
from wheeltapper.schemas.codec import decode_message
from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.topics import TOPICS
from wheeltapper.stream.settings import Settings

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Received(Generic[M]):
    """One message.

    Attributes:
        record: the bytes as they came, and where and when.
        message: what they say; None where they are no such message, and then `problem` says why.
    """

    record: TopicRecord
    message: M | None
    problem: str = ""


def topic_of(model: type[BaseModel]) -> str:
    """Name, without prefix, of the topic that carries a type.

    Raises:
        KeyError: none does.
    """
    for name, spec in TOPICS.items():
        if spec.model is model:
            return name
    raise KeyError(f"no topic carries {model.__name__}; expected a type of wheeltapper.schemas.topics")


def received(model: type[M], record: TopicRecord) -> Received[M]:
    """A record, decoded."""
    try:
        return Received(record, decode_message(model, record.value, record.content_type))
    except DecodeError as error:
        return Received(record, None, str(error))


def read_messages(
    settings: Settings,
    model: type[M],
    *,
    since_ms: int | None = None,
    keep: Callable[[bytes], bool] = lambda key: True,
    on_problem: Callable[[str], None],
) -> list[M]:
    """All messages of the topic that carries a type, in order within a partition; further arguments as for `Follower`.

    Args:
        on_problem: called with one line for each message that is not of the type.

    Raises:
        InputError: as for `Follower`.
    """
    found: list[M] = []
    for record in read_records(settings, topic_of(model), since_ms=since_ms, keep=keep):
        one = received(model, record)
        if one.message is None:
            on_problem(f"{record.where} is no {model.__name__} and is left out ({one.problem})")
        else:
            found.append(one.message)
    return found
