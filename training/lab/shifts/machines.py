"""Which machines take part in a laboratory run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import DATA_VARIABLE
from wheeltapper.training.lab.compare.sources import find_sources
from wheeltapper.training.lab.shifts.motors import DATASET as MOTORS
from wheeltapper.training.lab.shifts.motors import motor_entities

FEW = 2
"""Machines of a data set, where neither names nor `full` say otherwise."""


@dataclass(frozen=True)
class Machines:
    """Machines of a data set that take part; `every` also holds those that a swap may bring."""

    dataset: str
    folder: Path | None
    entities: tuple[str, ...]
    every: tuple[str, ...]

    def other(self, entity: str) -> str:
        """The machine whose rows come after a swap: the next one; '' where there is none."""
        other = self.every[(self.every.index(entity) + 1) % len(self.every)]
        return "" if other == entity or self.dataset == MOTORS else other


def find_machines(
    datasets: Sequence[str], data: Path | None, entities: Sequence[str] = (), *, full: bool = False
) -> tuple[tuple[Machines, ...], list[str]]:
    """The machines that take part, and what to say of data sets that cannot be listed.

    Args:
        datasets: names of the registry, or 'cbm_motor', which only the laboratory reads.
        data: for one data set its own folder; for several the folder that holds theirs.
        entities: names; none takes the first few, or all with `full`.

    Raises:
        InputError: no such data set or machine.
    """
    found: list[Machines] = []
    notes: list[str] = []
    others = [name for name in datasets if name != MOTORS]
    if others:
        # With several data sets, each is looked for below `data`; one alone may be `data` itself.
        place = data if len(others) == len(datasets) or data is None else _below(data, others)
        sources, notes = find_sources(others, place)
        found += [Machines(source.dataset, source.folder, (), source.entities) for source in sources]
    if MOTORS in datasets:
        found.append(Machines(MOTORS, _motor_folder(data), (), motor_entities()))
    chosen = [Machines(one.dataset, one.folder, _chosen(one.every, entities, full), one.every) for one in found]
    missing = [name for name in entities if not any(name in one.entities for one in chosen)]
    if missing:
        known = ", ".join(name for one in found for name in one.every[:20])
        raise InputError(f"--entity {missing[0]}: no such machine in {', '.join(datasets)}; there are {known}")
    return tuple(one for one in chosen if one.entities), notes


def _chosen(every: tuple[str, ...], entities: Sequence[str], full: bool) -> tuple[str, ...]:
    if entities:
        return tuple(name for name in every if name in entities)
    return every if full else every[:FEW]


def _below(data: Path, names: Sequence[str]) -> Path:
    """Beside the motors there is one other data set: its folder is below `data` too, as for several."""
    return data / names[0] if len(names) == 1 and (data / names[0]).is_dir() else data


def _motor_folder(data: Path | None) -> Path:
    root = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if root is None:
        raise InputError(f"{MOTORS} needs its recordings: give --data DIR, or set {DATA_VARIABLE}")
    below = root.expanduser() / MOTORS
    return below if below.is_dir() else root.expanduser()
