"""Whole columns of times, with pyarrow and numpy, as `time_texts` and `local_times` read single ones. Tables are read with it, messages not."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wheeltapper.schemas.local_times import clock_offsets
from wheeltapper.schemas.time_texts import DIRECTIVE

# The commonest of the known forms, as pyarrow reads whole columns of them.
_KNOWN_FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y%m%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S.%f",
    "%d.%m.%Y",
)
# Directives of strptime that pyarrow reads as Python does, once the text is known to have their form.
_SAME_IN_ARROW = {
    "Y": "[0-9]{4}", "m": "[0-9]{1,2}", "d": "[0-9]{1,2}", "H": "[0-9]{1,2}", "I": "[0-9]{1,2}", "M": "[0-9]{1,2}",
    "S": "[0-9]{1,2}", "y": "[0-9]{2}",
}  # fmt: skip
# Clocks change at full quarter hours; where a block holds another change (long ago), its times are looked up one by one.
_BLOCK_US = 900_000_000


def column_of_known(texts: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """[T] microseconds and [T] whether local, as `micros_of_text` reads each; None where pyarrow cannot."""
    texts = pc.replace_substring_regex(texts, r"\s+(?:UTC|GMT)$", "Z")
    if not pc.match_substring_regex(texts[:1], r"^[0-9]{4}-")[0].as_py():
        attempts = (column_of_format(texts, formatting) for formatting in _KNOWN_FORMATS)
        return next((found for found in attempts if found is not None), None)
    if not pc.all(pc.match_substring_regex(texts, r"^[0-9]{4}-")).as_py():
        return None
    for zone in (None, "UTC"):
        for unit in ("us", "ns"):
            try:
                parsed = pc.cast(pc.cast(texts, pa.timestamp(unit, tz=zone)), pa.int64()).to_numpy()
            except pa.ArrowInvalid:
                continue
            return parsed // (1 if unit == "us" else 1_000), np.full(len(texts), zone is None)
    return None


def column_of_format(texts: pa.Array, formatting: str) -> tuple[np.ndarray, np.ndarray] | None:
    """[T] microseconds and [T] whether local, as `micros_of_format` reads each; None where pyarrow cannot."""
    pattern, place, before = "", 0, ""
    names: list[str] = []
    for directive in DIRECTIVE.finditer(formatting):
        form = "[0-9]+" if directive[1] == "f" else _SAME_IN_ARROW.get(directive[1])
        if form is None or directive[1] in names:
            return None
        names.append(directive[1])
        pattern += re.escape(formatting[place : directive.start()]) + form
        before, place = formatting[: directive.end()], directive.end()
    pattern += re.escape(formatting[place:])
    plain, fraction = formatting, np.zeros(len(texts), dtype=np.int64)
    if "f" in names:
        # Decimals of seconds stand last, or pyarrow is not asked.
        if before != formatting or not formatting.endswith(("%S.%f", "%S,%f")):
            return None
        plain = formatting[:-3]
    for rows in (texts[:1], texts):  # most formats are refused by the first row
        if not pc.all(pc.match_substring_regex(rows, f"^{pattern}$")).as_py():
            return None
    if "f" in names:
        cut = pc.extract_regex(texts, r"^(?P<rest>.*)[.,](?P<digits>[0-9]+)$")
        rest, digits = pc.struct_field(cut, "rest"), pc.struct_field(cut, "digits")
        fraction = pc.cast(pc.utf8_rpad(pc.utf8_slice_codeunits(digits, 0, 6), 6, "0"), pa.int64()).to_numpy()
        texts = rest
    try:
        parsed = pc.strptime(texts, format=plain, unit="us")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return pc.cast(parsed, pa.int64()).to_numpy() + fraction, np.ones(len(texts), dtype=bool)


def utc_column(local: np.ndarray, zone: str) -> np.ndarray:
    """[T] microseconds of a local clock, in the order of its rows, to [T] microseconds UTC.

    In an hour that the clock shows twice, rows from the first step back on are of the second pass.
    """
    blocks, place = np.unique(local // _BLOCK_US, return_inverse=True)
    starts = [clock_offsets(int(block) * _BLOCK_US, zone) for block in blocks]
    ends = [clock_offsets((int(block) + 1) * _BLOCK_US - 1, zone) for block in blocks]
    offsets = np.array(starts, dtype=np.int64).reshape(-1, 2)[place]
    for row in np.flatnonzero(
        np.array([start != end for start, end in zip(starts, ends, strict=True)])[place]
    ).tolist():
        offsets[row] = clock_offsets(int(local[row]), zone)
    first, second = local - offsets[:, 0], local - offsets[:, 1]
    twice = first < second
    if not twice.any():
        return np.asarray(first)
    utc = first.copy()
    steps = np.diff(local, prepend=local[0])
    second_pass = False
    for row in np.flatnonzero(twice).tolist():
        begins = row == 0 or not twice[row - 1]
        # Hourly rows show the same time twice; elsewhere a repeated time is a repeated row.
        overlap = second[row] - first[row]
        back = steps[row] < 0 or (steps[row] == 0 and row > 1 and steps[row - 1] >= overlap)
        second_pass = back or (second_pass and not begins)
        if second_pass:
            utc[row] = second[row]
    return np.asarray(utc)
