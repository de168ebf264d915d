"""Access to every data set: name, folder and entity in, `SensorSeries` out, or `SoundSeries` where it holds sound."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.text import did_you_mean, first_names
from wheeltapper.training.datasets.catalogue import CATALOGUE, DatasetInfo
from wheeltapper.training.datasets.clock import start_at
from wheeltapper.training.datasets.places import table_stem
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.sound.series import SoundSeries

DATA_VARIABLE = "WHEELTAPPER_DATA"

DATASETS = tuple(name for name, info in CATALOGUE.items() if info.holds == "rows")
"""Those that hold rows of sensors."""
SOUND_DATASETS = tuple(name for name, info in CATALOGUE.items() if info.holds == "sound")
"""Those that hold clips of sound or vibration."""
EVERY_DATASET = (*DATASETS, *SOUND_DATASETS)
WITHOUT_FOLDER = frozenset(info.name for info in CATALOGUE.values() if not info.folders)


class _Loader(Protocol):
    def entities(self, data: Path) -> tuple[str, ...]: ...

    def load(self, data: Path, entity: str) -> SensorSeries | SoundSeries: ...


def load_series(
    dataset: str, data: Path | None = None, entity: str | None = None, *, start: str | None = None
) -> SensorSeries:
    """Read one entity of a data set.

    Args:
        dataset: one of `DATASETS`; those of sound are read by `load_sound`.
        data: the data set's own folder; None takes the one below $WHEELTAPPER_DATA, by any of its usual names
            (`DatasetInfo.folders`). Not used by 'simulated'.
        entity: which machine, test file or table; None where the data set has exactly one.
        start: None keeps the source's times (or the made-up clock), 'now' or an ISO 8601 time moves row 0 of the
            test part there, and every other row with it.

    Raises:
        InputError: no such data set, folder or entity, or a file that is not what the layout promises.
    """
    series = _load(dataset, data, entity, "rows")
    assert isinstance(series, SensorSeries)
    return start_at(series, start)


def load_sound(dataset: str, data: Path | None = None, entity: str | None = None) -> SoundSeries:
    """Read one entity of a data set of sound; arguments and errors as `load_series`, and files need soundfile."""
    series = _load(dataset, data, entity, "sound")
    assert isinstance(series, SoundSeries)
    return series


def holds_sound(dataset: str) -> bool:
    """Whether a data set holds clips of sound rather than rows.

    Raises:
        InputError: no such data set.
    """
    return dataset_info(dataset).holds == "sound"


def _load(dataset: str, data: Path | None, entity: str | None, wanted: str) -> SensorSeries | SoundSeries:
    info = dataset_info(dataset)
    if info.holds != wanted:
        have, want = ("sound", "rows of sensors") if info.holds == "sound" else ("rows of sensors", "sound")
        others = DATASETS if wanted == "rows" else SOUND_DATASETS
        raise InputError(f"data set '{dataset}' holds {have}, expected {want}; choose one of {', '.join(others)}")
    loader = _loader(dataset)
    folder = _folder(dataset, data)
    known = loader.entities(folder)
    if entity is None and folder.is_file() and (stem := table_stem(folder) or folder.stem) in known:
        entity = stem
    return loader.load(folder, _choose(dataset, folder, entity, known))


def list_entities(dataset: str, data: Path | None = None) -> tuple[str, ...]:
    """Names that `load_series` takes as `entity`, in natural order (machine-1-2 before machine-1-10).

    Raises:
        InputError: no such data set or folder, or nothing in it.
    """
    return _loader(dataset).entities(_folder(dataset, data))


def entity_help() -> str:
    """One line for help texts: what an entity is, by data set."""
    return "; ".join(f"{info.name}: {info.entity}" for info in CATALOGUE.values())


def dataset_info(dataset: str) -> DatasetInfo:
    """What is known of a data set before its files are read.

    Raises:
        InputError: no such data set.
    """
    if dataset not in CATALOGUE:
        raise InputError(
            f"no data set '{dataset}'; expected one of {', '.join(EVERY_DATASET)}{did_you_mean(dataset, EVERY_DATASET)}"
        )
    return CATALOGUE[dataset]


def dataset_folder(dataset: str, root: Path) -> Path | None:
    """A data set's folder below a folder of data sets, by any of its usual names; None where there is none."""
    places = (root / name for name in dataset_info(dataset).folders)
    return next((place for place in places if place.exists()), None)


def _loader(dataset: str) -> _Loader:
    # Imported on use, so that other loaders cost no import.
    module, _, name = dataset_info(dataset).loader.partition(":")
    loaded = importlib.import_module(module)
    return cast(_Loader, getattr(loaded, name) if name else loaded)


def _folder(dataset: str, data: Path | None) -> Path:
    info = dataset_info(dataset)
    if dataset in WITHOUT_FOLDER:
        return Path()
    if data is None:
        root = os.environ.get(DATA_VARIABLE)
        if not root:
            raise InputError(
                f"no data folder for '{dataset}': give --data DIR (the data set's own folder), or set "
                f"{DATA_VARIABLE} to the folder that holds '{dataset}'"
            )
        found = dataset_folder(dataset, Path(root).expanduser())
        if found is None:
            also = "".join(f", or '{name}'" for name in info.folders[1:])
            raise InputError(
                f"{Path(root) / info.folders[0]} does not exist; {DATA_VARIABLE} is '{root}', expected a folder that "
                f"holds '{info.folders[0]}'{also}: correct it, or give --data DIR; offered at {info.page}"
            )
        return found
    data = Path(data).expanduser()
    if not data.exists():
        raise InputError(f"{data} does not exist; expected the folder of data set '{dataset}': correct --data")
    return data


def _choose(dataset: str, folder: Path, entity: str | None, known: Sequence[str]) -> str:
    place = "" if dataset in WITHOUT_FOLDER else f" in {folder}"
    if entity is None:
        if len(known) == 1:
            return known[0]
        raise InputError(
            f"{len(known)} entities{place}, expected a choice: give --entity, one of {first_names(known, 30)}"
        )
    if entity in known:
        return entity
    near = difflib.get_close_matches(entity, known, n=3, cutoff=0.6)
    hint = f"nearest: {', '.join(near)}; there are" if near else "there are"
    raise InputError(
        f"no entity '{entity}' of data set '{dataset}'{place}; {hint} {len(known)}: {first_names(known, 30)}"
    )
