"""Which data sets and entities a comparison runs over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.found import found
from wheeltapper.training.datasets.registry import (
    DATA_VARIABLE,
    DATASETS,
    WITHOUT_FOLDER,
    dataset_folder,
    dataset_info,
    list_entities,
)

ALL = "all"
# Sets that are whatever a person puts there, or made up: part of a run only when they are named.
_ONLY_BY_NAME = frozenset({"csv", *WITHOUT_FOLDER})


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        dataset: its name in the registry.
        folder: its own folder; None where it needs none.
        entities: those that take part, in order.
        scaled_over_test: as published, its values are scaled over train and test part together.
    """

    dataset: str
    folder: Path | None
    entities: tuple[str, ...]
    scaled_over_test: bool = False


def find_sources(
    datasets: Sequence[str], data: Path | None, entities: Sequence[str] = ()
) -> tuple[tuple[Source, ...], list[str]]:
    """The data sets by name, or all that are found (views of another one left out); of these the entities asked for.

    Also returns what to say of data sets that are there but cannot be listed, one line each.

    Args:
        datasets: names, or 'all'.
        data: for one named data set its own folder; for several, or 'all', the folder that holds theirs.
        entities: names; none takes every one.

    Raises:
        InputError: no such data set, nothing found, or an entity that none of them has.
    """
    if ALL in datasets:
        if len(datasets) > 1:
            raise InputError(f"--dataset {' '.join(datasets)}: 'all' stands alone; leave the others out")
        every, notes = _everything(data)
        sources = tuple(every)
        if not sources:
            raise InputError(
                f"no data set found {f'in {data}' if data else 'by $' + DATA_VARIABLE}; expected folders named "
                f"{', '.join(sorted(set(DATASETS) - _ONLY_BY_NAME))}: correct --data"
            )
    else:
        names, notes = tuple(dict.fromkeys(datasets)), []
        sources = tuple(_named(name, data, several=len(names) > 1) for name in names)
    if not entities:
        return sources, notes
    missing = [name for name in entities if not any(name in source.entities for source in sources)]
    if missing:
        known = ", ".join(name for source in sources for name in source.entities[:20])
        raise InputError(
            f"--entities: no {', '.join(missing)} in {', '.join(s.dataset for s in sources)}; there are {known}"
        )
    chosen = (replace(s, entities=tuple(name for name in s.entities if name in entities)) for s in sources)
    return tuple(source for source in chosen if source.entities), notes


def _named(name: str, data: Path | None, *, several: bool) -> Source:
    info = dataset_info(name)
    folder = data
    if several and data is not None and name not in WITHOUT_FOLDER:
        # Where there is none, the registry says what it expected.
        folder = dataset_folder(name, data) or data / info.folders[0]
    entities = list_entities(name, folder)
    if folder is None and name not in WITHOUT_FOLDER:
        folder = dataset_folder(name, Path(os.environ[DATA_VARIABLE]).expanduser())
    return _source(name, folder, entities)


def _everything(data: Path | None) -> tuple[list[Source], list[str]]:
    """Every data set once, and one line for each that is there but cannot be listed."""
    sources, notes = [], []
    for seen in found(data, counted=False):
        info = dataset_info(seen.name)
        if seen.name in _ONLY_BY_NAME or info.variant_of or info.holds != "rows":
            continue
        notes += [f"{seen.name} is left out: {error}" for error in seen.errors]
        if seen.entities:
            sources.append(_source(seen.name, seen.folder, seen.entities))
    return sources, notes


def _source(name: str, folder: Path | None, entities: Sequence[str]) -> Source:
    # Without 'all', where a loader offers its files one by one and joined: nothing is to count twice.
    single = tuple(entity for entity in entities if entity.rpartition("/")[2] != ALL)
    return Source(name, folder, single or tuple(entities), dataset_info(name).scaled_over_test)
