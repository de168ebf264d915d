"""A reproduction on the terminal, and as Markdown and HTML beside its figures."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from wheeltapper.training.lab.compare.document import (
    Block,
    Bullets,
    Command,
    Document,
    Grid,
    Heading,
    Paragraph,
    Picture,
    cell_text,
    write_document,
)
from wheeltapper.training.lab.reproduce import Reproduction, Table


def print_reproduction(found: Reproduction, console: Console) -> None:
    """Tables and explanation, as wide as they are."""
    console.print(f"[bold]{found.title}[/]")
    for table in found.tables:
        console.print(_rich_table(table))
    for paragraph in found.explanation:
        console.print(f"- {paragraph}", markup=False)


def write_reproduction(found: Reproduction, out: Path, command: str) -> tuple[Path, Path]:
    """Write `<system>.html`, `<system>.md` and the figures; returns the two pages.

    Args:
        command: what to type to get the same.

    Raises:
        InputError: a file cannot be written.
    """
    blocks: list[Block] = [Command(command)]
    blocks += [_grid(table) for table in found.tables]
    if found.explanation:
        blocks += [Heading("Where ours differs, and why"), Bullets(found.explanation)]
    if found.figures:
        blocks.append(Heading("Figures"))
        blocks += [Picture(name, png, _described(name)) for name, png in found.figures.items()]
    if not found.tables:
        blocks.append(Paragraph("Nothing could be run."))
    return write_document(Document(found.title, blocks), out, found.system)


def _grid(table: Table) -> Grid:
    return Grid(table.title, table.columns, table.rows, text_columns=_text_columns(table))


def _rich_table(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left")
    text_columns = _text_columns(table)
    for index, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if index < text_columns else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(cell_text(cell) for cell in row))
    return shown


def _text_columns(table: Table) -> int:
    """How many columns from the left on hold text only: those are read, the others compared."""
    count = 0
    for column in range(len(table.columns)):
        cells = [row[column] for row in table.rows if column < len(row)]
        if any(not isinstance(cell, str) and cell is not None for cell in cells) or all(c is None for c in cells):
            break
        if any(isinstance(cell, str) and cell[:1].isdigit() for cell in cells):
            break
        count += 1
    return max(count, 1)


def _described(name: str) -> str:
    return Path(name).stem.replace("_", " ").replace("-", " ")
