"""A report as a list of blocks, written as Markdown and as one HTML file that needs nothing else.

Blocks know nothing of detectors: `wheeltapper compare` and `wheeltapper reproduce` both write their reports with them.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    links = "".join(f'<a href="#{_anchor(block.text)}">{html.escape(block.text)}</a>' for block in headings)
    contents = f"<nav>{links}</nav>" if len(headings) > 1 else ""
    body = "\n".join(_html(block) for block in document.blocks)
    title = html.escape(document.title)
    return (
        _PAGE.replace("{title}", title)
        .replace("{contents}", contents)
        .replace("{style}", _STYLE)
        .replace("{body}", body)
    )


def _html(block: Block) -> str:
    match block:
        case Heading():
            level = min(max(block.level, 2), 4)
            return f'<h{level} id="{_anchor(block.text)}">{html.escape(block.text)}</h{level}>'
        case Paragraph():
            return f"<p>{html.escape(block.text)}</p>"
        case Bullets():
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in block.items) + "</ul>"
        case Command():
            return f"<pre>{html.escape(block.text)}</pre>"
        case Grid():
            return _html_table(block)
        case Picture():
            data = base64.b64encode(block.png).decode()
            text = html.escape(block.description, quote=True)
            return f'<figure><img loading="lazy" alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
        case Fold():
            inner = "\n".join(_html(inner) for inner in block.blocks)
            return f"<details><summary>{html.escape(block.title)}</summary>\n{inner}\n</details>"


def _html_table(grid: Grid) -> str:
    def cell(tag: str, column: int, text: str, strong: bool = False) -> str:
        kinds = " ".join(["t"] * (column < grid.text_columns) + ["s"] * strong)
        return f"<{tag}{f' class={chr(34)}{kinds}{chr(34)}' if kinds else ''}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(grid.columns))
    body = "".join(
        f"<tr{' class=m' if row in grid.muted else ''}>"
        + "".join(
            cell("th" if column == 0 else "td", column, cell_text(value), (row, column) in grid.strong)
            for column, value in enumerate(cells)
        )
        + "</tr>"
        for row, cells in enumerate(grid.rows)
    )
    caption = f"<caption>{html.escape(grid.title)}</caption>" if grid.title else ""
    note = f"<p class=n>{html.escape(grid.note)}</p>" if grid.note else ""
    return f"<div class=w><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{contents}
{body}
</main>
</body>
</html>
"""

_STYLE = """:root { --paper: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --band: #f4f6f9; --strong: #0b5394; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e3e8ee; --soft: #9aa6b4; --line: #333b45; --band: #1c2229; --strong: #8ec5ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
a { color: var(--strong); }
pre { padding: .6rem .8rem; overflow-x: auto; background: var(--band); border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
.w { overflow-x: auto; margin: 1rem 0 .25rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .35rem; }
th, td { padding: .28rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; background: var(--band); }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--paper); text-align: left; max-width: 16rem; overflow: hidden; text-overflow: ellipsis; }
.t { text-align: left; }
td.t { white-space: normal; min-width: 12rem; }
td.s, th.s { font-weight: 700; color: var(--strong); }
tr.m th, tr.m td { color: var(--soft); font-style: italic; }
.n { margin: .25rem 0 1rem; color: var(--soft); font-size: .875rem; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
figcaption { color: var(--soft); font-size: .875rem; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: 4px; padding: .5rem .8rem; }
summary { cursor: pointer; font-weight: 600; }"""
