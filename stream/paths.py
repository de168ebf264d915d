"""Where things are in a message: paths with indices and wildcards, as in `Messages[0].Payload.T1.Value` or `metrics[*].fields.*`.

A path begins at the message. Its steps are names, `[2]` (an item of a list; `[-1]` the last), `[*]` (every item) and `*` (every
field of an object). A name with other characters stands in quotes: `Payload."Chan1.Pump1".v`. `a.b | c` is the first of the two
that is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

_STEP = re.compile(r'"(?P<quoted>[^"]+)"|\[(?P<index>-?\d{1,6}|\*)\]|(?P<name>[^."\[\]|\s][^."\[\]|]*)')

_BETWEEN = re.compile(r'\|(?=(?:[^"]*"[^"]*")*[^"]*$)')  # a bar that is not in quotes
_PART = re.compile(r"\{(\w+)\}|\*")


class _Every:
    """A wildcard: every item of a list, or every field of an object."""

    __slots__ = ("kind",)

    def __init__(self, kind: type) -> None:
        self.kind = kind


ITEMS, FIELDS = _Every(list), _Every(dict)
Step: TypeAlias = str | int | _Every
MISSING = object()
"""What a path leads to where the message has nothing there."""


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of one path.

    Raises:
        ValueError: with the place where it cannot be read.
    """
    steps: list[Step] = []
    position = 0
    text = text.strip()
    while position < len(text):
        if steps and text[position] == ".":
            position += 1
        elif steps and text[position] != "[":
            raise _unreadable(text, position)
        found = _STEP.match(text, position)
        if found is None:
            raise _unreadable(text, position)
        position = found.end()
        if found["quoted"] is not None:
            steps.append(found["quoted"])
        elif found["index"] is not None:
            steps.append(ITEMS if found["index"] == "*" else int(found["index"]))
        else:
            name = found["name"].rstrip()
            steps.append(FIELDS if name == "*" else name)
    if not steps:
        raise ValueError("an empty path; write the field's name, with dots between names: 'meta.asset'")
    return tuple(steps)


def _unreadable(text: str, position: int) -> ValueError:
    return ValueError(
        f"path '{text}' cannot be read from '{text[position:]}' on; expected names with dots between them, [0], [*] or *, and "
        'other names in quotes, as in Messages[0].Payload."T 1".Value'
    )


def alternatives(text: str) -> list[tuple[Step, ...]]:
    """The paths of `a.b | c`.

    Raises:
        ValueError: one of them cannot be read.
    """
    return [parse_path(part) for part in _BETWEEN.split(text)]


def follow(node: Any, steps: tuple[Step, ...]) -> Any:
    """What steps without wildcards lead to; `MISSING` where there is nothing."""
    for step in steps:
        if type(step) is str:
            if type(node) is not dict:
                return MISSING
            node = node.get(step, MISSING)
        else:
            assert isinstance(step, int)
            try:
                node = node[step] if type(node) is list else MISSING
            except IndexError:
                return MISSING
    return node


class Found(NamedTuple):
    """One match of a `Places`' main path.

    Attributes:
        value: what it leads to.
        scopes: the message, then what each wildcard in turn stands for.
        names: names of the fields that its `*` stand for.
    """

    value: Any
    scopes: tuple[Any, ...]
    names: tuple[str, ...]


class Side:
    """A path beside the main one: its wildcards are the main path's, and stand for the same items."""

    __slots__ = ("_level", "_name", "places")

    def __init__(self, places: list[tuple[int, tuple[Step, ...]]]) -> None:
        """
        Args:
            places: (scope that it begins in, steps from there), in the order in which they are tried.
        """
        self.places = places
        self._level, steps = places[0]
        # The commonest path is one name.
        self._name = steps[0] if len(places) == 1 and len(steps) == 1 and isinstance(steps[0], str) else None

    def of(self, found: Found) -> Any:
        """What it leads to beside a match; `MISSING` where there is nothing."""
        if self._name is not None:
            scope = found.scopes[self._level]
            return scope.get(self._name, MISSING) if type(scope) is dict else MISSING
        for level, steps in self.places:
            value = follow(found.scopes[level], steps)
            if value is not MISSING:
                return value
        return MISSING


class Places:
    """The places in a message that a path with wildcards leads to."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: the path; '': the message itself.

        Raises:
            ValueError: the path cannot be read.
        """
        self.text = text
        self.steps = parse_path(text) if text else ()
        self.beside_channels: set[str] = set()
        """Fields of what is found that other paths name."""
        self._segments: list[tuple[Step, ...]] = []
        self._kinds: list[type] = []
        segment: list[Step] = []
        for step in self.steps:
            if isinstance(step, _Every):
                self._segments.append(tuple(segment))
                self._kinds.append(step.kind)
                segment = []
            else:
                segment.append(step)
        self._last = tuple(segment)
        self._beside: list[set[str]] = [set() for _ in self._kinds]

    @property
    def has_names(self) -> bool:
        """True where a `*` is among its steps: its matches have names."""
        return dict in self._kinds

    @property
    def begins_in_list(self) -> bool:
        """True where a message is to be a list; else it is an object."""
        return bool(self.steps) and (self.steps[0] is ITEMS or isinstance(self.steps[0], int))

    def beside(self, text: str) -> Side:
        """Another path of the message. Fields that it names are none that a `*` of the main path stands for.

        Raises:
            ValueError: it cannot be read, or has a wildcard that the main path does not have at its place.
        """
        places = [self._anchored(steps, text) for steps in alternatives(text)]
        for level, steps in places:
            if level == len(self._kinds) and steps[: len(self._last)] == self._last and len(steps) > len(self._last):
                self.beside_channels.add(str(steps[len(self._last)]))
            if level < len(self._kinds) and self._kinds[level] is dict:
                segment = self._segments[level]
                if steps[: len(segment)] == segment and len(steps) > len(segment):
                    self._beside[level].add(str(steps[len(segment)]))
        return Side(places)

    def _anchored(self, steps: tuple[Step, ...], text: str) -> tuple[int, tuple[Step, ...]]:
        common = 0
        while common < min(len(steps), len(self.steps)) and steps[common] == self.steps[common]:
            common += 1
        start = max((place + 1 for place in range(common) if isinstance(steps[place], _Every)), default=0)
        rest = steps[start:]
        if any(isinstance(step, _Every) for step in rest):
            raise ValueError(
                f"path '{text}' has a wildcard that '{self.text}' does not have at its place: there is no telling which item is meant"
            )
        return sum(isinstance(step, _Every) for step in steps[:start]), rest

    def find(self, message: Any) -> Iterator[Found]:
        """Every match, in the message's order."""
        if not self._kinds:
            value = follow(message, self._last)
            if value is not MISSING:
                yield Found(value, (message,), ())
            return
        yield from self._descend(0, (message,), ())

    def _descend(self, level: int, scopes: tuple[Any, ...], names: tuple[str, ...]) -> Iterator[Found]:
        if level == len(self._kinds):
            value = follow(scopes[-1], self._last)
            if value is not MISSING:
                yield Found(value, scopes, names)
            return
        container = follow(scopes[-1], self._segments[level])
        kind = self._kinds[level]
        if kind is list and isinstance(container, list):
            for item in container:
                yield from self._descend(level + 1, (*scopes, item), names)
        elif kind is dict and isinstance(container, dict):
            beside = self._beside[level]
            for name, item in container.items():
                if name not in beside:
                    yield from self._descend(level + 1, (*scopes, item), (*names, name))

    def is_empty(self, message: Any) -> bool:
        """True where the outermost wildcard stands in an empty list or object: a message without readings, and nothing wrong."""
        if not self._kinds:
            return False
        container = follow(message, self._segments[0])
        return type(container) is self._kinds[0] and not container


def tag_pattern(pattern: str) -> re.Pattern[str]:
    """`Chan1.{machine}.{channel}`: {machine} and {channel} stand for as few characters as fit, at least one; `*` for any.

    Raises:
        ValueError: other parts, or a part that comes twice, or none.
    """
    parts = [found[1] for found in _PART.finditer(pattern) if found[1]]
    if not parts or len(set(parts)) < len(parts) or not set(parts) <= {"machine", "channel"}:
        raise ValueError(
            f"pattern '{pattern}' has the parts {parts}; expected {{machine}}, {{channel}} or both, each once, "
            "as in 'Chan1.{machine}.{channel}'"
        )
    text, last = "", 0
    for found in _PART.finditer(pattern):
        text += re.escape(pattern[last : found.start()])
        text += f"(?P<{found[1]}>.+?)" if found[1] else ".*?"
        last = found.end()
    return re.compile(text + re.escape(pattern[last:]), re.DOTALL)
