"""Means over seeds and entities: what the tables of a report are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.training.lab.compare.results import FLOOR_PREFIX, Row


@dataclass(frozen=True)
class Mean:
    """
    Attributes:
        value: mean over entities of the mean over seeds.
        deviation: standard deviation over seeds (n - 1) of the mean over entities; None with one seed.
        entities: how many had a value.
        seeds: the largest number of seeds of an entity.
    """

    value: float
    deviation: float | None
    entities: int
    seeds: int


class Summary:
    """Rows of `results.json`, looked up by data set, detector and entity; detectors keep the order of the rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._values: dict[tuple[str, str], dict[str, list[Row]]] = {}
        for row in rows:
            self._values.setdefault((row["dataset"], row["detector"]), {}).setdefault(row["entity"], []).append(row)

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(row["dataset"] for row in self.rows))

    def detectors(
        self, dataset: str | None = None, *, roles: Iterable[str] = ("detector", "auto", "floor")
    ) -> list[str]:
        """Names that have rows, of one data set or of any."""
        wanted = tuple(roles)
        rows = (row for row in self.rows if dataset in (None, row["dataset"]) and row["role"] in wanted)
        return list(dict.fromkeys(row["detector"] for row in rows))

    def entities(self, dataset: str) -> list[str]:
        return list(dict.fromkeys(row["entity"] for row in self.rows if row["dataset"] == dataset))

    def runs(self, dataset: str, detector: str) -> list[Row]:
        return [row for rows in self._values.get((dataset, detector), {}).values() for row in rows]

    def per_entity(self, dataset: str, detector: str, metric: str) -> dict[str, tuple[float, float | None]]:
        """Mean over seeds and its deviation (None with one), of the entities that have a value."""
        found = {}
        for entity, rows in self._values.get((dataset, detector), {}).items():
            values = _known(rows, metric)
            if values:
                found[entity] = (float(np.mean(values)), _deviation(values))
        return found

    def mean(self, dataset: str, detector: str, metric: str, entities: Iterable[str] | None = None) -> Mean | None:
        """Macro mean over all entities with a value, or over those given; None where there is none."""
        of_entity = self._values.get((dataset, detector), {})
        chosen = [of_entity[name] for name in (of_entity if entities is None else entities) if name in of_entity]
        values = [_known(rows, metric) for rows in chosen]
        values = [known for known in values if known]
        if not values:
            return None
        seeds = max(map(len, values))
        complete = [known for known in values if len(known) == seeds]
        by_seed = [float(np.mean(column)) for column in zip(*complete, strict=True)]
        return Mean(float(np.mean([np.mean(known) for known in values])), _deviation(by_seed), len(values), seeds)

    def common(self, dataset: str, detectors: Sequence[str], metric: str) -> list[str]:
        """Entities on which every one of these has a value."""
        tables = [self.per_entity(dataset, name, metric) for name in detectors]
        return [entity for entity in self.entities(dataset) if all(entity in table for table in tables)]

    def difference(self, dataset: str, first: str, second: str, metric: str) -> tuple[float, float, int] | None:
        """Macro means of two over the entities that both have, and how many these are."""
        entities = self.common(dataset, (first, second), metric)
        means = [self.mean(dataset, name, metric, entities) for name in (first, second)]
        if means[0] is None or means[1] is None:
            return None
        return means[0].value, means[1].value, len(entities)


def comparable(
    values: Mapping[str, Mapping[Any, float]], least_share: float = 0.9
) -> tuple[list[str], list[Any], np.ndarray]:
    """Detectors that nearly all have results, the entities that all of these share, and their [n, k] scores.

    A detector with results on fewer than `least_share` of what the fullest one has would shrink the comparison for all.
    """
    most = max((len(table) for table in values.values()), default=0)
    names = [name for name, table in values.items() if table and len(table) >= least_share * most]
    if not names:
        return [], [], np.zeros((0, 0))
    shared = [entity for entity in values[names[0]] if all(entity in values[name] for name in names)]
    return (
        names,
        shared,
        np.array([[values[name][entity] for name in names] for entity in shared]).reshape(-1, len(names)),
    )


def is_floor(detector: str) -> bool:
    return detector.startswith(FLOOR_PREFIX)


def _known(rows: Sequence[Row], metric: str) -> list[float]:
    return [float(row[metric]) for row in sorted(rows, key=lambda row: row["seed"]) if row.get(metric) is not None]


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
