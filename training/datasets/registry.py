"""One door to every data set: name, folder and entity in, `SensorSeries` out."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from schemas.errors import InputError
from training.datasets.clock import start_at
from training.datasets.series import SensorSeries

DATA_VARIABLE = "WHEELTAPPER_DATA"

# Data set -> the module that reads it, and what an entity of it is (for help texts and errors).
_MODULES = {
    "smd": ("training.datasets.smd", "a machine, e.g. machine-1-2"),
    "hai": ("training.datasets.hai", "a test file without its ending, e.g. test1, or 'all'"),
    "csv": ("training.datasets.table_files", "a CSV or Parquet file without its ending"),
    "simulated": ("training.datasets.simulated", "a pump, e.g. pump-1"),
}
DATASETS = tuple(_MODULES)
WITHOUT_FOLDER = frozenset({"simulated"})


class _Loader(Protocol):
    def entities(self, data: Path) -> tuple[str, ...]: ...

    def load(self, data: Path, entity: str) -> SensorSeries: ...


def load_series(
    dataset: str, data: Path | None = None, entity: str | None = None, *, start: str | None = None
) -> SensorSeries:
    """Read one entity of a data set.

    Args:
        dataset: one of `DATASETS`.
        data: the data set's own folder; None takes $WHEELTAPPER_DATA/<dataset>. Not used by 'simulated'.
        entity: which machine, test file or table; None where the data set has exactly one.
        start: None keeps the source's times (or the made-up clock), 'now' or an ISO 8601 time moves row 0 of the
            test part there, and every other row with it.

    Raises:
        InputError: no such data set, folder or entity, or a file that is not what the layout promises.
    """
    loader = _loader(dataset)
    folder = _folder(dataset, data)
    if entity is None and folder.is_file():
        entity = _stem(folder)
    known = loader.entities(folder)
    return start_at(loader.load(folder, _choose(dataset, folder, entity, known)), start)


def list_entities(dataset: str, data: Path | None = None) -> tuple[str, ...]:
    """Names that `load_series` takes as `entity`, in natural order (machine-1-2 before machine-1-10).

    Raises:
        InputError: no such data set or folder, or nothing in it.
    """
    return _loader(dataset).entities(_folder(dataset, data))


def entity_help() -> str:
    """One line for help texts: what an entity is, by data set."""
    return "; ".join(f"{name}: {meaning}" for name, (_, meaning) in _MODULES.items())


def _loader(dataset: str) -> _Loader:
    if dataset not in _MODULES:
        near = difflib.get_close_matches(dataset.lower(), DATASETS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"no data set '{dataset}'; expected one of {', '.join(DATASETS)}{hint}")
    # Imported on use: nobody pays for a loader that is not asked for.
    return cast(_Loader, importlib.import_module(_MODULES[dataset][0]))


def _folder(dataset: str, data: Path | None) -> Path:
    if dataset in WITHOUT_FOLDER:
        return Path()
    if data is None:
        root = os.environ.get(DATA_VARIABLE)
        if not root:
            raise InputError(
                f"no data folder for '{dataset}': give --data DIR (the data set's own folder), or set "
                f"{DATA_VARIABLE} to the folder that holds '{dataset}'"
            )
        data = Path(root) / dataset
        if not data.exists():
            raise InputError(
                f"{data} does not exist; {DATA_VARIABLE} is '{root}', expected a folder that holds "
                f"'{dataset}': correct it, or give --data DIR"
            )
    data = Path(data).expanduser()
    if not data.exists():
        raise InputError(f"{data} does not exist; expected the folder of data set '{dataset}': correct --data")
    return data


def _stem(path: Path) -> str:
    name = path.name
    return name[: -len("".join(path.suffixes))] if name.endswith(".csv.gz") else path.stem


def _choose(dataset: str, folder: Path, entity: str | None, known: Sequence[str]) -> str:
    place = "" if dataset in WITHOUT_FOLDER else f" in {folder}"
    if entity is None:
        if len(known) == 1:
            return known[0]
        raise InputError(f"{len(known)} entities{place}, expected a choice: give --entity, one of {_some(known)}")
    if entity in known:
        return entity
    near = difflib.get_close_matches(entity, known, n=3, cutoff=0.6)
    hint = f"nearest: {', '.join(near)}; there are" if near else "there are"
    raise InputError(f"no entity '{entity}' of data set '{dataset}'{place}; {hint} {len(known)}: {_some(known)}")


def _some(names: Sequence[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (", .." if len(names) > most else "")
