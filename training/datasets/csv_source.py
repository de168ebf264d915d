"""A CSV file as text: encoding, preamble, header, row of units and footer, before any of its cells is read."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.readings import ReadingError, TimeStyle, parse_time
from wheeltapper.schemas.text import first_names
from wheeltapper.training.datasets.description import Description, own_description
from wheeltapper.training.datasets.tables import BROKEN, LFS_POINTER, SEPARATORS, is_number

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
# Of numbers in UTF-16 every other byte is zero; in UTF-8 none is.
_ZEROS_OF_UTF16 = 0.3
_LOOKED_AT = 4_096
PROBED_ROWS = 1_000
"""Columns are told apart by their first rows."""
NO_END = "a quotation mark there may have no end: correct the file"


@dataclass(frozen=True)
class CsvSource:
    """One file.

    Attributes:
        body: the rows in UTF-8, without header and footer.
        header_lines: lines of the file before the first row.
        names: distinct; a column without a name is 'column 3', by its place.
        unnamed: the columns without a name.
        units: by column, from a row of units.
        probe: the first rows' cells.
        notes: what was found and left out, a line each.
    """

    path: Path
    body: bytes
    header_lines: int
    separator: str
    names: tuple[str, ...]
    unnamed: frozenset[str]
    units: dict[str, str]
    probe: list[list[str]]
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line in the file, cells) of each row that is not empty."""
        reader = csv.reader(io.StringIO(self.body.decode("utf-8", "replace"), newline=""), delimiter=self.separator)
        before = 0
        try:
            for cells in reader:
                if cells:
                    yield self.header_lines + before + 1, cells
                before = reader.line_num
        except csv.Error as error:
            raise InputError(
                f"{self.path}, line {self.header_lines + before + 1}: cannot be read ({error}); {NO_END}"
            ) from error

    def cells(self, name: str) -> list[str]:
        """The first rows' cells of a column, without empty ones."""
        place = self.names.index(name)
        return [row[place].strip() for row in self.probe if place < len(row) and row[place].strip()]


def open_csv(path: Path, description: Description) -> CsvSource:
    """
    Raises:
        InputError: unreadable, in an encoding that cannot be told, without a header, or with a column twice.
    """
    try:
        return _open(path, description)
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); {NO_END}") from error


def _open(path: Path, description: Description) -> CsvSource:
    text, encoding_note = _decoded(path, description.encoding)
    if text.startswith(LFS_POINTER.encode()):
        raise InputError(f"{path} is a Git LFS pointer, not the data; run 'git lfs pull' in its repository")
    notes = [encoding_note] if encoding_note else []
    head = _first_lines(text, description.skip_lines + PROBED_ROWS + 2)
    place, separator = description.skip_lines, description.separator
    if place < len(head) and head[place].lower().startswith("sep=") and len(head[place].rstrip()) == 5:
        separator, place = separator or head[place][4], place + 1  # written for Excel
    if place >= len(head) or not head[place].strip():
        line = "the first line" if not place else f"line {place + 1}"
        raise InputError(f"{path}: {line} is empty, expected column names" + ("; correct skip_lines" if place else ""))
    if separator is None and "\t" in head[place] and path.name.lower().endswith((".tsv", ".tsv.gz")):
        separator = "\t"  # names may hold commas
    separator = separator or max(SEPARATORS, key=head[place].count)
    header = [name.strip() for name in next(csv.reader([head[place]], delimiter=separator))]
    below = list(itertools.islice(csv.reader(head[place + 1 :], delimiter=separator), PROBED_ROWS))
    below = [row for row in below if row]
    unit_cells = below.pop(0) if description.unit_row and below else []
    _refuse_preamble(path, place, header, head, separator)
    widths = Counter(len(row) for row in below)
    if widths and set(widths) == {len(header) + 1}:
        # A name less than cells: row names of R in front, or separators at the ends of the rows.
        header = [*header, ""] if not any(row[-1].strip() for row in below) else ["", *header]
    names = tuple(name or f"column {number}" for number, name in enumerate(header, start=1))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}, line {place + 1}: column {twice[0]!r} occurs twice, expected distinct names; rename one"
        )
    _refuse_row_as_header(path, place, header)
    header_lines = place + 1 + int(description.unit_row)
    return CsvSource(
        path=path,
        body=_without_footer(text[_line_start(text, header_lines) :], description.skip_footer),
        header_lines=header_lines,
        separator=separator,
        names=names,
        unnamed=frozenset(name for name, given in zip(names, header, strict=True) if not given),
        units={name: cell.strip().strip("[]()") for name, cell in zip(names, unit_cells, strict=False) if cell.strip()},
        probe=below[: len(below) - description.skip_footer] if len(below) < PROBED_ROWS - 1 else below,
        notes=tuple(notes),
    )


def _decoded(path: Path, encoding: str | None) -> tuple[bytes, str | None]:
    """The file in UTF-8 without byte-order mark, and what to say about its encoding."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    except BROKEN as error:
        raise InputError(f"{path}: cannot be read ({error}); copy the file again") from error
    mark = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)
    said = None
    if mark is not None:
        data = data[len(mark[0]) :]
        encoding = encoding if encoding and mark[1] == "utf-8" else mark[1]
    elif encoding is None:
        encoding = _guessed(path, data)
        if encoding not in ("utf-8", None):
            said = f'read as {encoding}; encoding = ".." in the description says otherwise'
    try:
        text = data.decode(encoding or "windows-1252")
        return (data if encoding is not None and codecs.lookup(encoding).name == "utf-8" else text.encode()), said
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not {encoding or 'UTF-8, UTF-16 or Windows-1252'}; say the file's encoding in "
            f'{own_description(path)} as encoding = "..", or save it as UTF-8'
        ) from None


def _guessed(path: Path, data: bytes) -> str | None:
    """None: neither UTF-8 nor UTF-16, nor what Windows writes in the west."""
    start = data[:_LOOKED_AT]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = start[offset::2]
        if len(half) > 1 and half.count(0) > _ZEROS_OF_UTF16 * len(half):
            return name
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        wrong = text.count("\ufffd")
        if (
            len(text) - len(text.encode("ascii", "ignore")) > 2 * wrong
        ):  # what Windows writes is hardly ever UTF-8 by chance
            raise InputError(
                f"{path}: byte {error.start} is not UTF-8, though most of the file is; save it as UTF-8 again, or say its encoding in "
                f'{own_description(path)} as encoding = ".."'
            ) from None
        try:
            data.decode("windows-1252")
        except UnicodeDecodeError:
            return None
        return "windows-1252"
    return "utf-8"


def _first_lines(text: bytes, most: int) -> list[str]:
    lines = io.StringIO(text[: _line_start(text, most)].decode("utf-8", "replace"), newline=None)
    return [line.rstrip("\n") for line in lines]


def _line_start(text: bytes, line: int) -> int:
    """Where line `line`, counted from 0, starts; the end where there are fewer."""
    ending = b"\n" if b"\n" in text[:1_000_000] else b"\r"
    place = 0
    for _ in range(line):
        place = text.find(ending, place) + 1
        if not place:
            return len(text)
    return place


def _without_footer(body: bytes, lines: int) -> bytes:
    for _ in range(lines):
        body = body.rstrip(b"\r\n")
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]
    return body


def _refuse_row_as_header(path: Path, place: int, header: list[str]) -> None:
    said = [name for name in header if name]
    if all(map(is_number, said)) or any(_is_time(name) for name in said):
        raise InputError(
            f"{path}, line {place + 1}: found {first_names([repr(name) for name in said], 3)}, which is a row, expected column names; put a "
            "line with names above the rows"
        )


def _is_time(text: str) -> bool:
    try:
        parse_time(text, TimeStyle("iso"))
    except ReadingError:
        return False
    return True


def _refuse_preamble(path: Path, place: int, header: list[str], head: list[str], separator: str) -> None:
    """Lines above the names: the first line is narrower than the many below, and one of them is as wide and holds no numbers."""
    following = head[place + 1 : place + 200]
    best = max(SEPARATORS, key=lambda mark: sum(line.count(mark) for line in following)) if following else separator
    widths = [len(next(csv.reader([line], delimiter=best), [])) for line in following]
    usual, count = Counter(widths).most_common(1)[0] if widths else (len(header), 0)
    # Names may be one less than cells (row names of R); of a single one that says nothing.
    if usual <= len(header) + (len(header) > 1) or count < len(widths) / 2:
        return
    for number, (line, width) in enumerate(zip(following, widths, strict=True), start=place + 1):
        cells = next(csv.reader([line], delimiter=best), [])
        if width == usual and cells and not any(cell.strip() and is_number(cell.strip()) for cell in cells):
            raise InputError(
                f"{path}, line {place + 1}: found {len(header)} column(s), but line {number + 1} looks like the names of {usual}; "
                f"write skip_lines = {number} in {own_description(path)}"
            )
