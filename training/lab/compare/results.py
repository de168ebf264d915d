"""From kept records to `results.json`: one row for each data set, entity, detector and seed, in plain types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wheeltapper.training.detectors.auto import AUTO, SeriesFacts, choose, kind_of
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.store import Record

Row = dict[str, Any]

RANKING = ("vus_pr", "auc_pr", "vus_roc", "auc_roc")
AT_THE_ALARM_LEVEL = ("range_f1", "point_f1", "event_recall", "detection_delay_s", "false_alarms_per_day")
COUNTS = ("events", "events_found", "alarms", "false_alarms")
LOCALIZATION = ("hit_rate_100", "hit_rate_150", "ndcg_100", "ndcg_150", "ips_100", "ips_150")
FLATTERING = (
    "point_adjusted_f1",
    "point_adjusted_f1_random_floor",
    "affiliation_f1",
    "affiliation_f1_random_floor",
)
COST = ("train_seconds", "train_processor_seconds", "windows_per_second", "bundle_bytes")
METRICS = (*RANKING, *AT_THE_ALARM_LEVEL, *COUNTS, *LOCALIZATION, *FLATTERING, *COST)
LEAK = ("vus_pr_leak", "auc_pr_leak")
FLOOR_PREFIX = "floor:"
FLOORS = {
    "random": "random",
    "l2": "L2 norm",
    "pca": "PCA error",
    "kmeans_ad": "KMeansAD",
    "isolation_forest": "isolation forest",
}
"""Floors by their name in rows ('floor:l2'), and what tables call them."""

Place = tuple[str, str]
"""(data set, entity)"""


def facts_of(records: Iterable[Record]) -> dict[Place, dict[str, Any]]:
    """What the series are like, of those that could be read."""
    return {
        (record["dataset"], record["entity"]): record["values"]
        for record in records
        if record["kind"] == "facts" and record["status"] == "done"
    }


def auto_choices(facts: Mapping[Place, Mapping[str, Any]]) -> dict[Place, tuple[Contender, str]]:
    """What `train auto` would pick for each entity, and why."""
    chosen = {}
    for place, values in facts.items():
        known = (values["moving_channels"], values["train_rows"], values["sampling_interval_s"])
        choice = choose(SeriesFacts(*known, kind=kind_of(place[0])))
        chosen[place] = (Contender.of(choice.detector, choice.settings), choice.reason)
    return chosen


def result_rows(
    records: Iterable[Record],
    contenders: Iterable[Contender],
    *,
    auto: Mapping[Place, Contender],
) -> list[Row]:
    """Rows in the order data set, entity, then floors, contenders, auto.

    `role` says what a row is: 'detector', 'auto' (a copy of the row of the detector that the rule chose, in `chosen`) or
    'floor'. A metric is None where it is not defined; where a job did not succeed all are, and `error` says why.
    """
    records = list(records)
    wanted = [contender.label for contender in contenders]
    leaks = {_identity(record): record for record in records if record["kind"] == "leak"}
    detectors = [record for record in records if record["kind"] == "detector"]
    places = list(dict.fromkeys((record["dataset"], record["entity"]) for record in records))
    floors = {(record["dataset"], record["entity"]): record for record in records if record["kind"] == "floors"}
    unread = {
        (record["dataset"], record["entity"]): record["error"]
        for record in records
        if record["kind"] == "facts" and record["status"] != "done"
    }
    by_place: dict[Place, list[Row]] = {place: [] for place in places}
    for record in detectors:
        by_place[record["dataset"], record["entity"]].append(_detector_row(record, leaks.get(_identity(record))))
    rows: list[Row] = []
    for place in places:
        if place in floors:
            rows += _floor_rows(floors[place])
        rows += sorted(
            (row for row in by_place[place] if row["detector"] in wanted),
            key=lambda row: (wanted.index(row["detector"]), row["seed"]),
        )
        rows += [_empty_row(*place, label, unread[place]) for label in wanted if place in unread]
        if place in auto:
            label = auto[place].label
            copies = [row | {"detector": AUTO, "role": "auto", "chosen": label} for row in by_place[place]]
            rows += [row for row, own in zip(copies, by_place[place], strict=True) if own["detector"] == label]
    return rows


def _identity(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("dataset", "entity", "label", "seed"))


def _empty_row(dataset: str, entity: str, label: str, error: str | None, *, seed: int = 0) -> Row:
    return {
        "dataset": dataset,
        "entity": entity,
        "detector": label,
        "role": "detector",
        "seed": seed,
        "settings": {},
        **dict.fromkeys(METRICS),
        **dict.fromkeys(LEAK),
        "cut": False,
        "error": error,
        "warnings": [],
    }


def _detector_row(record: Record, leak: Record | None) -> Row:
    values = record.get("values") or {}
    row = _empty_row(record["dataset"], record["entity"], record["label"], record["error"], seed=record["seed"])
    row |= {name: values.get(name) for name in METRICS}
    row |= {
        "settings": record["settings"],
        "cut": bool(values.get("cut")) or record["status"] == "killed",
        "budget_s": record.get("budget_s"),
        "warnings": values.get("warnings", []),
    }
    if leak is not None and leak["status"] == "done":
        row |= {f"{name}_leak": leak["values"].get(name) for name in ("vus_pr", "auc_pr")}
    return row


def _floor_rows(record: Record) -> list[Row]:
    if record["status"] != "done":
        row = _empty_row(record["dataset"], record["entity"], "floors", record["error"])
        return [row | {"role": "floor"}]
    rows = []
    for name, values in record["values"]["floors"].items():
        row = _empty_row(record["dataset"], record["entity"], FLOOR_PREFIX + name, None) | {"role": "floor"}
        rows.append(row | {key: value for key, value in values.items() if key in METRICS})
    return rows
