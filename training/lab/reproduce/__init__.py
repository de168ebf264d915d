"""A published table beside ours, protocol by protocol: what `wheeltapper reproduce` shows, one module a system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Cell = str | float | int | None


@dataclass(frozen=True)
class ReproduceOptions:
    """
    Attributes:
        data: folder of data set folders (smd/, nab/, ..); None takes $WHEELTAPPER_DATA.
        out: folder for the report and whatever is kept to go on from.
        seeds: of the runs whose mean and deviation are shown.
        budget_s: seconds that training one network may take; None lets it finish.
        progress: show what is going on.
    """

    data: Path | None
    out: Path
    seeds: tuple[int, ...] = (0,)
    budget_s: float | None = None
    progress: bool = False


@dataclass(frozen=True)
class Table:
    """Cells are text, numbers (shown with three decimals) or None (shown as '-')."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Reproduction:
    """
    Attributes:
        system: e.g. 'vae-lstm'.
        title: one line.
        tables: published beside ours; a column or a title names the protocol, floors stand in the table.
        explanation: one paragraph each: where ours differs, why, and what could not be run.
        figures: file name, ending in .png, to its bytes.
    """

    system: str
    title: str
    tables: tuple[Table, ...]
    explanation: tuple[str, ...] = ()
    figures: dict[str, bytes] = field(default_factory=dict)
