"""A message that cannot be read, on its way to `dead-letters`: the original bytes, and headers that say why."""

from __future__ import annotations

from dataclasses import replace

from wheeltapper.schemas.errors import DecodeError
from wheeltapper.schemas.events import DeadLetterHeader as Header
from wheeltapper.schemas.topics import DEAD_LETTERS
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.message_fit import HEADER_FRAMING_BYTES, record_bytes
from wheeltapper.stream.records import Output, PartitionBatch

# Headers must not outgrow the message; the detail is for a person.
MAX_DETAIL = 500

# Of a dead letter that is too large: most that its key, and as much that its original headers take.
SHARE = 4
# What the headers that tell of cuts take at most.
NOTE_BYTES = 200


def dead_letter(batch: PartitionBatch, index: int, error: DecodeError) -> Output:
    """The dead letter of message `index` of the batch."""
    offset = batch.offsets[index]
    flaw = batch.flaws.get(offset)
    headers: list[tuple[str, bytes | None]] = [
        (Header.REASON, str(error.reason).encode()),
        (Header.DETAIL, error.detail[:MAX_DETAIL].encode("utf-8", "replace")),
        (Header.TOPIC, batch.topic.encode()),
        (Header.PARTITION, str(batch.partition).encode()),
        (Header.OFFSET, str(offset if flaw is None else flaw.first_offset).encode()),
    ]
    if flaw is not None and flaw.first_offset != offset:
        headers.append((Header.LAST_OFFSET, str(offset).encode()))
    headers += [(_sendable(name), value) for name, value in batch.headers[index] or ()]
    return Output(DEAD_LETTERS, batch.keys[index], batch.values[index], headers)


def flawed_letters(batch: PartitionBatch) -> tuple[list[Emission], PartitionBatch]:
    """Dead letters of the messages that the Kafka client could not read, and the batch without them."""
    letters, rest = [], []
    for index, offset in enumerate(batch.offsets):
        flaw = batch.flaws.get(offset)
        if flaw is None:
            rest.append(index)
        else:
            letters.append(Emission(offset, dead_letter(batch, index, flaw.error)))
    return letters, batch.at(rest)


def cut_to(output: Output, largest: int) -> Output:
    """The dead letter in at most `largest` bytes, with its key and headers.

    Headers that are too many are left out from the end, a key beyond a quarter of the room and the value are cut; headers tell
    of it.
    """
    if record_bytes(output) <= largest:
        return output
    ours = [(name, value) for name, value in output.headers if name in _OURS]
    theirs = [(name, value) for name, value in output.headers if name not in _OURS]
    key, value = output.key, output.value
    room = largest - record_bytes(replace(output, key=None, value=None, headers=ours)) - NOTE_BYTES
    if room < 0:  # a topic of a few hundred bytes: its reason and where it lies are what matters
        ours = [(name, text) for name, text in ours if name != Header.DETAIL]
        room = max(0, largest - record_bytes(replace(output, key=None, value=None, headers=ours)) - NOTE_BYTES)
    share = room // SHARE
    if key is not None and len(key) > share:
        ours.append((Header.ORIGINAL_KEY_SIZE, str(len(key)).encode()))
        key = key[:share]
    kept: list[tuple[str, bytes | None]] = []
    taken = 0
    for name, text in theirs:
        taken += len(name.encode()) + len(text or b"") + HEADER_FRAMING_BYTES
        if taken > share:
            break
        kept.append((name, text))
    if len(kept) < len(theirs):
        ours.append((Header.HEADERS_LEFT_OUT, str(len(theirs) - len(kept)).encode()))
    cut = replace(output, key=key, value=None, headers=[*ours, *kept])
    if value is not None:
        left = max(0, largest - record_bytes(cut) - NOTE_BYTES // 2)
        if len(value) > left:
            cut = replace(cut, headers=[*cut.headers, (Header.ORIGINAL_SIZE, str(len(value)).encode())])
        cut = replace(cut, value=value[:left])
    return cut


_OURS = {str(header) for header in Header}


def _sendable(name: str) -> str:
    """A header's name that a client can send: without zero bytes, and of what is no character its escape."""
    return name.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
