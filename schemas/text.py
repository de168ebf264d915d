"""Names and durations as texts for people: in errors, warnings, reports and tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def first_names(names: Sequence[str], most: int = 5) -> str:
    """'a, b and 3 more': at most the first `most` names, and the number of the others."""
    text = ", ".join(names[:most])
    return f"{text} and {len(names) - most} more" if len(names) > most else text


def duration(seconds: float, digits: str = ".3g") -> str:
    """'1.5 h', '12 s': seconds in the largest unit of which there is at least one.

    Args:
        digits: format of the number of minutes, hours and days; seconds always have three significant digits.
    """
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:{digits}} {unit}"
    return f"{seconds:.3g} s"


def number(value: float) -> str:
    """Four significant digits, without an exponent from 0.001 to ten million."""
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3e}"
    digits = f"{value:.4g}"
    return f"{value:.0f}" if "e" in digits else digits


def span_text(micros: int) -> str:
    """'2 h 5 min', '45 s': the two largest units, from microseconds."""
    seconds = max(0, micros) / 1e6
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts: list[str] = []
    rest = round(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def counted(number: int, noun: str) -> str:
    """'1 clip', '2 clips', '3 processes'."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def did_you_mean(word: str, known: Iterable[str], before: str = "; ") -> str:
    """ "; did you mean 'pump-7'?": the known name that a word is most likely a slip of; '' where none is near.

    Capitals, and '_' in place of '-', are no difference.
    """
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(_plain(name), name)
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return f"{before}did you mean '{plain[close[0]]}'?" if close else ""


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")
