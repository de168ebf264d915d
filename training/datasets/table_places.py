"""Which files of a folder are tables; those that are none are named, not passed over in silence."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
from collections import Counter
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import counted, first_names
from wheeltapper.training.datasets.description import own_description
from wheeltapper.training.datasets.places import TABLE_ENDINGS, table_stem
from wheeltapper.training.datasets.tables import BROKEN, SEPARATORS

_PROBED_BYTES = 65_536
_PROBED_LINES = 200
_NUMBER_OR_TIME = re.compile(r"[-+]?\d[\d.,:/ TZ+eE-]*")


def tables_of(data: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Name -> file of every table of a folder, or of the file itself; and the names of the files that are none.

    Descriptions, hidden files and folders are neither.

    Raises:
        InputError: there is none, or two have one name.
    """
    tables: dict[str, Path] = {}
    others: list[str] = []
    for path in [data] if data.is_file() else sorted(data.iterdir()):
        if not path.is_file() or path.name.startswith(".") or path.suffix.lower() == ".toml":
            continue
        name = table_stem(path)
        if name is None or (path != data and not _holds_table(path)):
            others.append(path.name)
            continue
        if name in tables:
            raise InputError(
                f"{path.parent} holds {tables[name].name} and {path.name}, expected one '{name}'; move one away"
            )
        tables[name] = path
    if not tables:
        found = f" (found {first_names(others)})" if others and not data.is_file() else ""
        raise InputError(
            f"{data} holds no table{found}; expected files ending in {', '.join(TABLE_ENDINGS)}: correct --data"
        )
    return tables, tuple(others)


def tell_of_others(data: Path, others: tuple[str, ...]) -> None:
    """A warning with the number of files that are passed over, where there are any."""
    if others:
        are = "is no table and is" if len(others) == 1 else "are no tables and are"
        warnings.warn(
            f"{data}: {counted(len(others), 'file')} {are} passed over: {first_names(others)}; tables end in {', '.join(TABLE_ENDINGS)}, "
            "and those in .txt hold columns of numbers (a description beside one says that it is a table)",
            stacklevel=2,
        )


def _holds_table(path: Path) -> bool:
    """What ends in .txt may be prose: most of its first lines must have as many cells, numbers or times among them."""
    if not path.name.lower().endswith((".txt", ".txt.gz")) or own_description(path).is_file():
        return True
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            start = file.read(_PROBED_BYTES)
    except BROKEN:
        return True  # reading it says what is wrong
    return any(_is_divided(_lines(start), separator) for separator in SEPARATORS)


def _lines(start: bytes) -> list[str]:
    """The first lines of a text in any encoding that can be told; the last one may be cut."""
    wide = next((name for mark, name in _WIDE if start.startswith(mark)), None)
    if wide is None and start[1::2].count(0) > len(start) / 8:
        wide = "utf-16-le"
    text = start.decode(wide or "utf-8-sig", "replace")
    return [line for line in io.StringIO(text, newline=None).read().split("\n")[:_PROBED_LINES] if line.strip()]


_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _is_divided(lines: list[str], separator: str) -> bool:
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return False
    widths = Counter(len(row) for row in rows if any(_NUMBER_OR_TIME.fullmatch(cell.strip()) for cell in row))
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return width > 1 and 2 * count >= len(rows) - 1
