"""Which data sets a folder holds: what `wheeltapper datasets` lists and `wheeltapper compare --dataset all` runs over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import (
    DATA_VARIABLE,
    EVERY_DATASET,
    WITHOUT_FOLDER,
    dataset_folder,
    holds_sound,
    list_entities,
    load_series,
    load_sound,
)

State = Literal["found", "broken", "missing"]


@dataclass(frozen=True)
class FoundDataset:
    """One data set in a folder of data sets.

    Attributes:
        name: one of `EVERY_DATASET`.
        folder: its own folder (what `load_series` takes as `data`); None where it is missing or needs none.
        entities: their names, what `load_series` takes; empty where it is missing or cannot be listed.
        rows, test_rows: rows, or clips of sound, of the train and test parts of all readable entities, and of their test parts; None if not counted.
        channels: of the widest entity; None if not counted.
        anomalous_rows: labelled rows, or clips, of the test parts; None where not counted, or where nothing has labels.
        errors: what could not be read and why, one line each; the other entities are counted.
        warnings: what the loaders had to say, one line each.
    """

    name: str
    folder: Path | None
    entities: tuple[str, ...]
    rows: int | None = None
    test_rows: int | None = None
    channels: int | None = None
    anomalous_rows: int | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """'found', 'broken' (there, but not all of it can be read) or 'missing'."""
        if self.errors:
            return "broken"
        return "found" if self.entities else "missing"


def found(root: Path | None = None, *, counted: bool = True) -> list[FoundDataset]:
    """Every data set, in the order of `EVERY_DATASET`: found, broken or missing below `root`.

    Args:
        root: the folder of data set folders; None takes $WHEELTAPPER_DATA, and without it only what ships is found.
        counted: read every entity to count its rows, which also proves that it can be read. False is quick: it lists
            entities without reading them.

    Raises:
        InputError: `root` is no folder.
    """
    return list(look(root, counted=counted))


def look(root: Path | None = None, *, counted: bool = True) -> Iterator[FoundDataset]:
    """As `found`, one data set at a time, for who wants to show progress."""
    named = os.environ.get(DATA_VARIABLE)
    place = Path(root).expanduser() if root is not None else Path(named).expanduser() if named else None
    if place is not None and not place.is_dir():
        said = "correct --data" if root is not None else f"correct {DATA_VARIABLE}"
        raise InputError(f"{place} is no folder; expected one that holds folders such as smd/ and nab/: {said}")
    return (_look_at(name, place, counted) for name in EVERY_DATASET)


def _look_at(name: str, root: Path | None, counted: bool) -> FoundDataset:
    folder = dataset_folder(name, root) if root is not None else None
    if folder is None and name not in WITHOUT_FOLDER:
        return FoundDataset(name, None, ())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            names = list_entities(name, folder)
        except (InputError, OSError) as error:
            return FoundDataset(name, folder, (), errors=(_line(error),))
        if not counted:
            return FoundDataset(name, folder, names)
        return _count(name, folder, names, said)


def _count(
    name: str, folder: Path | None, entities: tuple[str, ...], said: list[warnings.WarningMessage]
) -> FoundDataset:
    rows = test_rows = channels = anomalous = 0
    labelled = False
    errors = []
    for entity in entities:
        try:
            seen = _counts(name, folder, entity)
        except (InputError, OSError) as error:
            errors.append(_line(error))
            continue
        rows += seen.train + seen.test
        test_rows += seen.test
        channels = max(channels, seen.channels)
        if seen.anomalous is not None:
            labelled = True
            anomalous += seen.anomalous
    return FoundDataset(
        name,
        folder,
        entities,
        rows=rows,
        test_rows=test_rows,
        channels=channels,
        anomalous_rows=anomalous if labelled else None,
        errors=tuple(errors),
        warnings=tuple(dict.fromkeys(str(warning.message) for warning in said)),
    )


@dataclass(frozen=True)
class _Counts:
    """Rows, or clips, of one entity; `anomalous` is None where nothing has labels."""

    train: int
    test: int
    channels: int
    anomalous: int | None


def _counts(name: str, folder: Path | None, entity: str) -> _Counts:
    if holds_sound(name):
        sound = load_sound(name, folder, entity)
        told = [clip.anomalous for clip in sound.test if clip.anomalous is not None]
        return _Counts(len(sound.train), len(sound.test), len(sound.channels), sum(told) if told else None)
    series = load_series(name, folder, entity)
    labels = series.test_labels
    return _Counts(
        len(series.train), len(series.test), len(series.channels), None if labels is None else int(labels.sum())
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
