"""Finding a data set's files: the layouts of different sources differ in folders, endings and letter case."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from wheeltapper.schemas.errors import InputError

CSV_ENDINGS = (".csv", ".csv.gz")
TABLE_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")
"""In any case of letters. What ends in .txt may be something else too."""


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts machine-1-2 before machine-1-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def csv_stem(path: Path) -> str | None:
    """Name of a CSV file without '.csv' or '.csv.gz'; None for other files."""
    for ending in reversed(CSV_ENDINGS):
        if path.name.endswith(ending):
            return path.name[: -len(ending)]
    return None


def table_stem(path: Path) -> str | None:
    """Name of a table's file without its ending; None for files that are none."""
    ending = next((ending for ending in reversed(TABLE_ENDINGS) if path.name.lower().endswith(ending)), None)
    return None if ending is None else path.name[: -len(ending)]


def csv_file(folder: Path, *stems: str) -> Path | None:
    """The first of `stems` that `folder` holds as .csv or .csv.gz."""
    for stem in stems:
        for ending in CSV_ENDINGS:
            if (folder / f"{stem}{ending}").is_file():
                return folder / f"{stem}{ending}"
    return None


def need_csv(folder: Path, dataset: str, *stems: str) -> Path:
    """As `csv_file`, or an error that names what is missing."""
    path = csv_file(folder, *stems)
    if path is None:
        raise InputError(
            f"{folder / stems[0]}.csv is missing; expected it (plain or .gz) beside the other files of {dataset}: "
            "copy it there"
        )
    return path


def home(data: Path, nested: Iterable[str], holds: Callable[[Path], bool], missing: str) -> Path:
    """The first of `data` and its folders `nested` for which `holds` is true.

    Args:
        missing: what to say if none is: '<data> holds no ..; expected ..'.

    Raises:
        InputError: `data` is a file, or none of the folders holds the data set.
    """
    if not data.is_dir():
        raise InputError(f"{data} is a file, expected a folder; correct --data")
    for folder in (data, *(data / name for name in nested)):
        if folder.is_dir() and holds(folder):
            return folder
    raise InputError(f"{data} {missing}: correct --data")
