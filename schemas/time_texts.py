"""Texts of times to microseconds: ISO 8601 as .NET, OPC UA, Java and SQL write it, the unambiguous local forms, and strptime formats.

Without a format these are read, each with or without seconds, with any number of decimals, AM or PM, and ` UTC`, `Z` or an offset:
2024-05-01 08:00:00, 2024/05/01 08:00, 20240501 08:00:00, 01.05.2024 08:00, 01-May-2024 08:00. 01/02/2024 is not among them, as it is
two different days on two sides of an ocean.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from wheeltapper.schemas.clock import EPOCH, MICROSECOND

INSTANT = "2024-05-01 12:00:00"
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_KNOWN = re.compile(
    r"""
    (?: (?P<y1>[0-9]{4}) (?P<s>[-/.]) (?P<m1>[0-9]{1,2}) (?P=s) (?P<d1>[0-9]{1,2})
      | (?P<d2>[0-9]{1,2}) \. (?P<m2>[0-9]{1,2}) \. (?P<y2>[0-9]{4})
      | (?P<d3>[0-9]{1,2}) [-\ ] (?P<m3>[A-Za-z]{3}) [-\ ] (?P<y3>[0-9]{4})
      | (?P<y4>[0-9]{4}) (?P<m4>[0-9]{2}) (?P<d4>[0-9]{2}) )
    (?: (?: [T\ _,;]+ (?P<H>[0-9]{1,2}) [:.] (?P<M>[0-9]{2}) (?: [:.] (?P<S>[0-9]{2}) (?: [.,:] (?P<f>[0-9]+) )? )? )
      | (?: [T\ ]? (?P<H2>[0-9]{2}) (?P<M2>[0-9]{2}) (?P<S2>[0-9]{2}) ) )?
    (?: \s* (?P<p>[AaPp])\.?[Mm]\.? )?
    \s* (?: (?P<utc>[Zz]|UTC|GMT) | (?P<sign>[+-]) (?P<oh>[0-9]{2}) :? (?P<om>[0-9]{2})? )?
    (?: \[[A-Za-z0-9_/+-]+\] )?
    """,
    re.VERBOSE,
)
DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_EXCESS_DIGITS = re.compile(r"([0-9]{6})[0-9]+")


def micros_of_text(text: str) -> tuple[int, bool]:
    """Microseconds of a text of a known form, and whether they are of a local clock; with an offset, UTC and False.

    Raises:
        ValueError: another form, or no such day.
    """
    try:
        return micros_of_iso(text)
    except ValueError:
        pass
    found = _KNOWN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of a known form")
    part = found.groupdict()
    year, day = (next(int(part[f"{name}{form}"]) for form in "1234" if part[f"{name}{form}"]) for name in "yd")
    named = part["m3"]
    if named is None:
        month = next(int(part[f"m{form}"]) for form in "124" if part[f"m{form}"])
    else:
        month = _MONTHS.index(named.lower()) + 1
    hour, minute, second = (int(part[name] or part[f"{name}2"] or 0) for name in "HMS")
    if part["p"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{text!r} has an hour of AM and PM outside of 1 to 12")
        hour = hour % 12 + (12 if part["p"] in "Pp" else 0)
    moment = datetime(year, month, day, hour, minute, second, int((part["f"] or "")[:6].ljust(6, "0")))
    if part["utc"]:
        moment = moment.replace(tzinfo=UTC)
    elif part["sign"]:
        offset = timedelta(hours=int(part["oh"]), minutes=int(part["om"] or 0))
        moment = moment.replace(tzinfo=timezone(-offset if part["sign"] == "-" else offset))
    return _micros(moment)


def micros_of_iso(text: str) -> tuple[int, bool]:
    """As `micros_of_text`, of ISO 8601 alone.

    Raises:
        ValueError: another form, or no such day.
    """
    return _micros(datetime.fromisoformat(text))


def _micros(moment: datetime) -> tuple[int, bool]:
    if moment.tzinfo is None:
        return (moment - _NAIVE_EPOCH) // MICROSECOND, True
    return (moment - EPOCH) // MICROSECOND, False


@lru_cache(maxsize=64)
def check_format(formatting: str) -> None:
    """A format that `datetime.strptime` reads, with a day in it.

    Raises:
        ValueError: with what is wrong about it.
    """
    try:
        datetime.strptime("", formatting)
    except ValueError as error:
        if "does not match format" not in str(error):
            raise ValueError(f"time_format {formatting!r} is no strptime format: {error}") from None
    names = set(DIRECTIVE.findall(formatting))
    if not names & set("cx") and not ({"Y", "y", "G"} & names and {"d", "j", "u", "w", "a", "A"} & names):
        raise ValueError(
            f"time_format {formatting!r} has no year or no day, expected both, e.g. '%d.%m.%Y %H:%M:%S'; where day and time are two "
            "columns, name both as the time"
        )


def micros_of_format(text: str, formatting: str) -> tuple[int, bool]:
    """As `micros_of_text`, of a text of a strptime format; %f takes any number of digits and cuts them to six.

    Raises:
        ValueError: another form, or no such day.
    """
    if "%f" in formatting:
        text = _EXCESS_DIGITS.sub(r"\1", text)
    moment = datetime.strptime(text, formatting)
    if moment.tzinfo is None and "%Z" in formatting and text.upper().endswith(("UTC", "GMT", "Z")):
        moment = moment.replace(tzinfo=UTC)
    return _micros(moment)
