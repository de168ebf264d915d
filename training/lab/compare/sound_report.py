"""The report of a comparison of sound: its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wheeltapper.training.detectors.auto import AUTO
from wheeltapper.training.judging.metrics.sound import harmonic_mean
from wheeltapper.training.lab.compare.document import Block, Bullets, Cell, Command, Document, Grid, Heading, Paragraph
from wheeltapper.training.lab.compare.results import FLOOR_PREFIX, Place

LEAST_CLIPS = 3
"""Test clips of each kind that an entity needs for the harmonic mean."""
_FLOORS = {"random": "random", "loudness": "loudness", "knn_mel": "1-NN log-mel"}
_READING = (
    "AUC of clips, then averaged over entities; pAUC up to a false positive rate of 0.1, scaled so that 0.5 is chance (McClish), as "
    "DCASE has it. Splits are in the order of time: neighbouring clips are pieces of one recording. Everything is fitted on the train "
    "clips; the threshold is the 90 % quantile of held-out normal windows; test labels choose nothing. Rows called floor are what a "
    "detector has to beat. docs/evaluation.md defines every number."
)
_MEASURES = (
    ("auc", "AUC"),
    ("pauc", "pAUC"),
    ("auc_source", "AUC source"),
    ("auc_target", "AUC target"),
    ("recall", "found at threshold"),
    ("false_alarm_rate", "normal called"),
    ("patch_share", "blame in the fault"),
    ("patch_area", "its area"),
)
_COST = (
    ("train_seconds", "train s"),
    ("windows_per_second", "windows/s of a core"),
    ("streams_per_core", "streams a core"),
    ("bundle_bytes", "bundle MB"),
)

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class SoundRun:
    """What a report says of the run: what to type for the same, of each series, and further lines."""

    command: str
    facts: Mapping[Place, Mapping[str, Any]]
    notes: Sequence[str]


def build_sound_report(rows: Rows, run: SoundRun) -> tuple[Document, Grid]:
    """The whole report, and its first table."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    overview = _overview(rows, datasets, run.facts)
    blocks: list[Block] = [
        Command(run.command),
        Bullets(run.notes),
        Paragraph(_READING),
        Heading("All data sets"),
        overview,
    ]
    for dataset in datasets:
        mine = [row for row in rows if row["dataset"] == dataset]
        blocks += [Heading(dataset), Paragraph(_about(run.facts, dataset))]
        blocks += [_measures(mine), _entities(mine), _costs(mine)]
    refused = [
        f"{row['dataset']} {row['entity']} {row['detector']}: {row['error']}"
        for row in rows
        if row["error"] and row["role"] != "auto"
    ]
    blocks += [Heading("What was cut, and what failed")]
    blocks.append(
        Bullets(refused) if refused else Paragraph("Nothing: every job ran to its end and within its budget.")
    )
    return Document("Comparison of detectors of sound", blocks), overview


def mean_of(rows: Rows, detector: str, metric: str) -> float | None:
    """Over entities, of the means over seeds."""
    by_entity: dict[str, list[float]] = {}
    for row in rows:
        if row["detector"] == detector and row.get(metric) is not None:
            by_entity.setdefault(f"{row['dataset']} {row['entity']}", []).append(float(row[metric]))
    return float(np.mean([np.mean(values) for values in by_entity.values()])) if by_entity else None


def shown(detector: str) -> str:
    """What tables call a row."""
    if detector.startswith(FLOOR_PREFIX):
        name = detector.removeprefix(FLOOR_PREFIX)
        return f"floor: {_FLOORS.get(name, name)}"
    return detector


def _names(rows: Rows) -> list[str]:
    """Best first by mean AUC; those without come last."""
    names = list(dict.fromkeys(row["detector"] for row in rows if row["detector"] != "floors"))
    means = {name: mean_of(rows, name, "auc") for name in names}
    return sorted(names, key=lambda name: -(value if (value := means[name]) is not None else -1.0))


def _overview(rows: Rows, datasets: Sequence[str], facts: Mapping[Place, Mapping[str, Any]]) -> Grid:
    names = _names(rows)
    # One clip on the wrong side of one other is an AUC of 0, which a harmonic mean never forgets.
    telling = {
        place
        for place, values in facts.items()
        if min(values["anomalous"], values["test_clips"] - values["anomalous"]) >= LEAST_CLIPS
    }
    table: list[list[Cell]] = []
    for name in names:
        cells: list[Cell] = [mean_of([row for row in rows if row["dataset"] == d], name, "auc") for d in datasets]
        official = harmonic_mean(
            [
                row.get("official")
                for row in rows
                if row["detector"] == name and (row["dataset"], row["entity"]) in telling
            ]
        )
        table.append([shown(name), *cells, mean_of(rows, name, "pauc"), official])
    return _grid(
        "AUC, mean over entities",
        ["detector", *datasets, "pAUC, all", "harmonic mean, all"],
        table,
        names,
        note=f"Harmonic mean: of AUC (of each domain) and pAUC, over entities with {LEAST_CLIPS} test clips or more of each kind. "
        f"'{AUTO}' is what `train auto` takes.",
    )


def _measures(rows: Rows) -> Grid:
    names = _names(rows)
    used = [(key, title) for key, title in _MEASURES if any(row.get(key) is not None for row in rows)]
    table: list[list[Cell]] = [[shown(name), *(mean_of(rows, name, key) for key, _ in used)] for name in names]
    return _grid("Means over entities", ["detector", *(title for _, title in used)], table, names)


def _entities(rows: Rows) -> Grid:
    names = _names(rows)
    entities = list(dict.fromkeys(row["entity"] for row in rows))
    table: list[list[Cell]] = [
        [entity, *(mean_of([row for row in rows if row["entity"] == entity], name, "auc") for name in names)]
        for entity in entities
    ]
    return Grid("AUC by entity", ["entity", *(shown(name) for name in names)], table)


def _costs(rows: Rows) -> Grid:
    names = [name for name in _names(rows) if not name.startswith(FLOOR_PREFIX)]
    table: list[list[Cell]] = []
    for name in names:
        cells: list[Cell] = [mean_of(rows, name, key) for key, _ in _COST]
        size = cells[-1]
        table.append([shown(name), *cells[:-1], size / 1e6 if isinstance(size, float) else None])
    return Grid(
        "Cost",
        ["detector", *(title for _, title in _COST)],
        table,
        note="Streams: at the bundle's hop, one window at a time.",
    )


def _grid(title: str, columns: Sequence[str], table: list[list[Cell]], names: Sequence[str], note: str = "") -> Grid:
    floors = frozenset(index for index, name in enumerate(names) if name.startswith(FLOOR_PREFIX))
    return Grid(title, columns, table, note=note, muted=floors)


def _about(facts: Mapping[Place, Mapping[str, Any]], dataset: str) -> str:
    mine = [values for (name, _), values in facts.items() if name == dataset]
    if not mine:
        return "No clips of it could be read."
    rates = "/".join(map(str, sorted({values["sample_rate"] for values in mine})))
    return (
        f"{len(mine)} entities, {sum(values['train_clips'] for values in mine)} train clips ({sum(values['train_seconds'] for values in mine):.4g} s), "
        f"{sum(values['test_clips'] for values in mine)} test clips of which {sum(values['anomalous'] for values in mine)} are anomalous; "
        f"{max(values['channels'] for values in mine)} channel(s) at {rates} Hz."
    )
