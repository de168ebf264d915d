"""Bytes and JSON with a few places changed: what damage, mistakes and attackers leave."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**70, -(2**63), 0.5, -0.0, 1e-320, 1e300, -1e300,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "NaN", "\n", "\x00", "\ud800", "../x", "é" * 40, "x" * 70_000, [], {}, [None],
    [[]], [1] * 5_000, {"": None}, {"a\nb": 1}, [[[[[[]]]]]],
)  # fmt: skip
_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def bent(data: bytes, rng: np.random.Generator, others: tuple[bytes, ...] = ()) -> bytes:
    """One to three changes at random places.

    Args:
        others: what pieces are taken from, or all of it.
    """
    for _ in range(int(rng.integers(1, 4))):
        data = _bent_once(data, rng, others)
    return data


def _bent_once(data: bytes, rng: np.random.Generator, others: tuple[bytes, ...]) -> bytes:
    at = int(rng.integers(len(data) + 1))
    end = at + int(rng.integers(1, 65))
    match int(rng.integers(9)):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        case 1:
            return data[:at] + rng.bytes(1) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:]
        case 5:
            return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        case 6:
            word = struct.pack("<I", _WORDS[int(rng.integers(len(_WORDS)))])[: int(rng.choice([1, 2, 4]))]
            return data[:at] + word + data[at + len(word) :]
        case 7 if others:
            other = others[int(rng.integers(len(others)))]
            return other if rng.random() < 0.2 else data[:at] + other[at:end] + data[end:]
        case _:
            return data[:at] + bytes(end - at) + data[end:]


def odd_value(rng: np.random.Generator) -> Any:
    """A JSON value that hardly anyone expects."""
    return deepcopy(_ODD[int(rng.integers(len(_ODD)))])  # what is changed within a tree must not come changed next time


def odd_json(tree: Any, rng: np.random.Generator) -> Any:
    """The tree with one to three of its places changed; `tree` itself stays."""
    tree = json.loads(json.dumps(tree))
    for _ in range(int(rng.integers(1, 4))):
        tree = _changed(tree, rng)
    return tree


def _changed(tree: Any, rng: np.random.Generator) -> Any:
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places:
        return odd_value(rng)
    holder, key = places[int(rng.integers(len(places)))]
    match int(rng.integers(6)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(odd_value(rng))[:50]] = holder[key]
        case 1:
            holder.append(holder[key])
        case 2:
            other, place = places[int(rng.integers(len(places)))]
            holder[key] = json.loads(json.dumps(other[place]))
        case 3 if type(holder[key]) in (int, float):
            holder[key] = _numbers(rng)(holder[key])
        case _:
            holder[key] = odd_value(rng)
    return tree


def _numbers(rng: np.random.Generator) -> Callable[[Any], Any]:
    changes: tuple[Callable[[Any], Any], ...] = (
        lambda value: -value,
        lambda value: value + 1,
        lambda value: value - 1,
        lambda value: value * 2,
        lambda value: value * 1_000_000,
        lambda value: float(value),
        lambda value: str(value),
        lambda value: value / 3,
    )
    return changes[int(rng.integers(len(changes)))]


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys)[:200]:
        places.append((tree, key))
        _collect(tree[key], places)


def shown(tree: Any) -> bytes:
    """As JSON; what JSON has no word for is written as Python does it."""
    return json.dumps(tree).encode("utf-8", "surrogatepass")
