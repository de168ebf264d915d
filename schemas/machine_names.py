"""Names of machines and the patterns that stand for several: one reading wherever a person may give either."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

WILDCARDS = "*?["


def is_pattern(name: str) -> bool:
    """Whether it may stand for machines of other names."""
    return any(character in name for character in WILDCARDS)


def matches(pattern: str, machine: str) -> bool:
    """True where `pattern` is the machine's own name, whatever characters that has, or a pattern (fnmatch) that it fits."""
    return machine == pattern or (is_pattern(pattern) and matcher(pattern)(machine))


@lru_cache(maxsize=65_536)
def matcher(pattern: str) -> Callable[[str], bool]:
    """The pattern as a test of names; unlike `matches` it does not try the name itself."""
    found = re.compile(translate(pattern)).match
    return lambda machine: found(machine) is not None
