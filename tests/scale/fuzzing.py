"""Messages that nobody meant to send: bytes at random, and good messages of all encodings with a part of them changed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
import orjson

from tests.helpers.plant import ENCODINGS, Message, make_plant, messages_of
from tests.scale.mutations import odd_json, shown
from wheeltapper.schemas.codec import CONTENT_TYPES

LONGEST = 4_096
"""Bytes of a message of changed JSON."""

_HEADS = (
    b"",
    b"{",
    b"[",
    b"\xc3\x01",
    b"\xff\xff\xff\xff",
    b"Obj\x01",
    b"\0\0\0\0\x07",
    b"\xef\xbb\xbf{",
    b"\x89HDF",
    b"nan",
)
_WORDS = (
    b"null",
    b"1e999",
    b"-0",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b"1" * 400,
    b"9007199254740993",
    b"\0",
    b"\xff\xfe",
    b"true",
)
_NAMES = ("content-type", "traceparent", "__value_schema_id", "", "h" * 200)


def fuzzed(number: int, seed: int) -> Iterator[Message]:
    """So many messages. None of them is of a machine of `make_plant`."""
    rng = np.random.default_rng(seed)
    plant = make_plant(machines=8, rows=60, seed=seed)
    good = [
        (b"odd-" + (key or b""), (value or b"").replace(b"press-", b"oddly-"), headers)  # as long: Avro and Arrow count
        for key, value, headers in messages_of(plant, seed=seed, encodings=ENCODINGS, largest_block=12)
    ]
    for key, value, headers in islice(cycle(good), number):
        kind = rng.random()
        if kind < 0.2:
            value = _HEADS[int(rng.integers(len(_HEADS)))] + rng.bytes(int(rng.integers(0, 300)))
        elif kind < 0.6 and value.startswith(b"{"):
            other = shown(odd_json(orjson.loads(value), rng))
            value = other if len(other) <= LONGEST else _changed(value, rng)
        elif kind < 0.9:
            for _ in range(int(rng.integers(1, 4))):
                value = _changed(value, rng)
        if rng.random() < 0.3:
            key = None if rng.random() < 0.2 else rng.bytes(int(rng.integers(0, 40)))
        if rng.random() < 0.3:
            types = list(CONTENT_TYPES.values())
            named = types[int(rng.integers(len(types)))].encode() if rng.random() < 0.5 else rng.bytes(12)
            headers = [*headers, (_NAMES[int(rng.integers(len(_NAMES)))], named)]
        yield key, None if kind > 0.999 else value, headers


def _changed(value: bytes, rng: np.random.Generator) -> bytes:
    """One change at one place."""
    place = int(rng.integers(len(value) + 1))
    match int(rng.integers(6)):
        case 0:
            return value[:place]
        case 1:
            return value[:place] + rng.bytes(int(rng.integers(1, 5))) + value[place + 1 :]
        case 2:
            return value[:place] + _WORDS[int(rng.integers(len(_WORDS)))] + value[place:]
        case 3:
            stop = place + int(rng.integers(1, 40))
            return value[:place] + value[stop:]
        case 4:
            stop = place + int(rng.integers(1, 40))
            return value[:stop] + value[place:]
        case _:
            return (
                value[:place] + bytes([value[place] ^ (1 << int(rng.integers(8)))]) + value[place + 1 :]
                if place < len(value)
                else value
            )
