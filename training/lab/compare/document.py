"""A report as a list of blocks, written as Markdown and as one HTML file that needs nothing else.

Blocks know nothing of detectors: `wheeltapper compare` and `wheeltapper reproduce` both write their reports with them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from wheeltapper.schemas.errors import InputError

Cell = str | float | int | None


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Command:
    """What to type, to get the same."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table. Cells are text, numbers (three decimals, whole ones as they are) or None (shown as '-').

    Attributes:
        note: a line below it.
        strong: (row, column) of cells to stand out.
        muted: rows that are there to compare with.
        text_columns: the first so many are text and stand on the left.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    strong: frozenset[tuple[int, int]] = frozenset()
    muted: frozenset[int] = frozenset()
    text_columns: int = 1


@dataclass(frozen=True)
class Picture:
    """A PNG. `name` is its file's beside the Markdown report; `in_markdown=False` leaves it to the HTML."""

    name: str
    png: bytes
    description: str
    in_markdown: bool = True


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens when wanted."""

    title: str
    blocks: Sequence[Block]


Block = Heading | Paragraph | Bullets | Command | Grid | Picture | Fold
BLOCKS = (Heading, Paragraph, Bullets, Command, Grid, Picture, Fold)


@dataclass(frozen=True)
class Document:
    title: str
    blocks: Sequence[Block] = field(default=())


def cell_text(cell: Cell) -> str:
    """A cell as every rendering shows it."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:.3f}"
    return str(cell)


def write_document(document: Document, out: Path, name: str) -> tuple[Path, Path]:
    """Write `name`.html and `name`.md, pictures of the latter in figures/; returns both paths.

    Raises:
        InputError: a file cannot be written.
    """
    pages = (out / f"{name}.html", to_html(document)), (out / f"{name}.md", to_markdown(document))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for picture in _pictures(document.blocks):
            path = out / "figures" / picture.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.png)
        for path, text in pages:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: cannot be written ({error.strerror}); choose another --out"
        ) from error
    return pages[0][0], pages[1][0]


def _pictures(blocks: Sequence[Block]) -> list[Picture]:
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture) and block.in_markdown:
            found.append(block)
        elif isinstance(block, Fold):
            found += _pictures(block.blocks)
    return found


def to_markdown(document: Document) -> str:
    """The report as Markdown; pictures are links to figures/."""
    parts = [f"# {_one_line(document.title)}", *(_markdown(block) for block in document.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_one_line(block.text)}"
        case Paragraph():
            return _one_line(block.text)
        case Bullets():
            return "\n".join(f"- {_one_line(item)}" for item in block.items)
        case Command():
            return "\n".join(f"    {line}" for line in block.text.splitlines())
        case Grid():
            return _markdown_table(block)
        case Picture():
            return f"![{_one_line(block.description)}](figures/{block.name})" if block.in_markdown else ""
        case Fold():
            inner = [text for text in (_markdown(inner) for inner in block.blocks) if text]
            return "\n\n".join([f"### {_one_line(block.title)}", *inner]) if inner else ""


def _markdown_table(grid: Grid) -> str:
    head = "| " + " | ".join(_escaped(column) for column in grid.columns) + " |"
    rule = "|" + "".join("---|" if i < grid.text_columns else "--:|" for i in range(len(grid.columns)))
    lines = [head, rule]
    for row, cells in enumerate(grid.rows):
        texts = [
            f"**{_escaped(cell_text(cell))}**" if (row, column) in grid.strong else _escaped(cell_text(cell))
            for column, cell in enumerate(cells)
        ]
        lines.append("| " + " | ".join(texts) + " |")
    title = [f"**{_one_line(grid.title)}**", ""] if grid.title else []
    note = ["", _one_line(grid.note)] if grid.note else []
    return "\n".join([*title, *lines, *note])


def _escaped(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_html(document: Document) -> str:
    """The report as one page without anything from elsewhere; light and dark by the reader's own choice."""
    headings = [block for block in document.blocks if isinstance(block, Heading) and block.level == 2]
    return _environment().get_template("report.html.j2").render(document=document, headings=headings) + "\n"


@cache
def _environment() -> Environment:
    """Everything that templates print is escaped, but for what they mark as safe."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": _anchor,
        "cell": cell_text,
        "base64": lambda data: base64.b64encode(data).decode(),
    }
    environment.tests |= {kind.__name__.lower(): _is_a(kind) for kind in BLOCKS}
    return environment


def _is_a(kind: type) -> Callable[[object], bool]:
    return lambda block: isinstance(block, kind)


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
