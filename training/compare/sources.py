"""Which data sets and entities a comparison runs over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.errors import InputError
from training.datasets import registry
from training.datasets.registry import DATASETS, WITHOUT_FOLDER, list_entities

ALL = "all"
# Sets that are whatever a person puts there, or made up: part of a run only when they are named.
_ONLY_BY_NAME = frozenset({"csv", *WITHOUT_FOLDER})


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        dataset: its name in the registry.
        folder: its own folder; None where it has none, or where the environment names it.
        entities: those that take part, in order.
        scaled_over_test: as published, its values are scaled over train and test part together.
    """

    dataset: str
    folder: Path | None
    entities: tuple[str, ...]
    scaled_over_test: bool = False


def find_sources(datasets: Sequence[str], data: Path | None, entities: Sequence[str] = ()) -> tuple[Source, ...]:
    """The data sets by name, or all that are found; of these the entities asked for.

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
        sources = tuple(_everything(data))
        if not sources:
            raise InputError(
                f"no data set found {f'in {data}' if data else 'by $' + registry.DATA_VARIABLE}; expected folders named "
                f"{', '.join(sorted(set(DATASETS) - _ONLY_BY_NAME))}: correct --data"
            )
    else:
        names = tuple(dict.fromkeys(datasets))
        sources = tuple(_named(name, data, several=len(names) > 1) for name in names)
    if not entities:
        return sources
    missing = [name for name in entities if not any(name in source.entities for source in sources)]
    if missing:
        known = ", ".join(name for source in sources for name in source.entities[:20])
        raise InputError(
            f"--entities: no {', '.join(missing)} in {', '.join(s.dataset for s in sources)}; there are {known}"
        )
    chosen = (replace(s, entities=tuple(name for name in s.entities if name in entities)) for s in sources)
    return tuple(source for source in chosen if source.entities)


def _named(name: str, data: Path | None, *, several: bool) -> Source:
    folder = data
    if data is not None and several and name not in WITHOUT_FOLDER:
        folder = data / name
    # The registry resolves $WHEELTAPPER_DATA and says what is wrong with a folder.
    return Source(name, folder, _once(list_entities(name, folder)), _scaled_over_test(name))


def _everything(data: Path | None) -> Iterator[Source]:
    if data is not None and not data.is_dir():
        raise InputError(f"{data} is no folder; --data takes the folder that holds smd/, nab/ and the like")
    finder = getattr(registry, "found", None)
    if finder is not None:
        for found in finder(data):
            if found.name not in _ONLY_BY_NAME:
                yield Source(found.name, found.folder, _once(found.entities), _scaled_over_test(found.name))
        return
    for name in DATASETS:
        if name in _ONLY_BY_NAME:
            continue
        try:
            yield _named(name, data, several=True)
        except InputError:
            continue


def _once(entities: Sequence[str]) -> tuple[str, ...]:
    """Without 'all', where a loader offers its files one by one and joined: nothing is to count twice."""
    single = tuple(name for name in entities if name.rpartition("/")[2] != ALL)
    return single or tuple(entities)


def _scaled_over_test(name: str) -> bool:
    info = getattr(registry, "dataset_info", None)
    if info is not None:
        return bool(info(name).scaled_over_test)
    return name == "smd"


def folder_of(source: Source) -> Path | None:
    """Where its files are; None where it has none."""
    if source.dataset in WITHOUT_FOLDER:
        return None
    return source.folder or Path(os.environ[registry.DATA_VARIABLE]) / source.dataset
