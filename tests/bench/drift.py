"""Drifts found on machines of SMD and ASD, as they are and changed in the middle of their test part. Needs no Kafka.

    python tests/bench/drift.py --bundles FOLDER        FOLDER/machine-1-2, FOLDER/omi-1, ..: bundles of 'wheeltapper train'

Changes: gain 1.2 or offset 0.5 or 2 standard deviations on a third of the channels, ageing to 1.5 standard deviations, another
machine's rows. 'none' is what is told in that time without a change.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.core.alert_judge import AlertJudge
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.drift import DriftFinding, DriftPolicy, DriftReference, DriftWatch, drift_reference
from wheeltapper.stream.core.judging import Judged
from wheeltapper.stream.core.policies import AlarmPolicy, WindowPolicy
from wheeltapper.stream.core.row_memory import RowBlock, RowMemory, row_layout
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import SensorSeries

CHANGES = ("none", "gain", "offset", "offset 2", "ageing", "swap")
DATASETS = ("smd", "asd")
CHOSEN_ON = ("machine-1-2", "machine-1-3", "machine-1-6", "machine-3-4", "machine-3-5", "omi-6", "omi-7", "omi-9")
"""Machines by which the tests and their levels were chosen; the others are reported on."""
BATCH = 2048


def drifts(
    rule: RuleSpec, policy: DriftPolicy, reference: DriftReference, values: np.ndarray, times: np.ndarray
) -> list[tuple[int, DriftFinding]]:
    """(event time with which it was noticed, finding), in order."""
    found: list[tuple[int, DriftFinding]] = []

    def note(judged: Judged, position: int, finding: DriftFinding) -> tuple[()]:
        found.append((int(judged.due.times[position]), finding))
        return ()

    counters = Counters()
    alerts = AlertJudge(rule, AlarmPolicy(), lambda *_: (), counters)
    runtime = RuleRuntime(rule, [alerts, DriftWatch(rule, policy, note, counters, reference)])
    memory, rows = runtime.new_memory(), RowMemory(row_layout([rule]))
    for start in range(0, len(values), BATCH):
        part = slice(start, start + BATCH)
        block = RowBlock(np.arange(len(values))[part], times[part], values[part])
        for taken in rows.take(block, WindowPolicy(), counters, "machine"):
            due = rows.due(taken, rule)
            if due is not None:
                runtime.collect("machine", memory, due)
        if runtime.has_windows:
            list(runtime.judge(counters))
    return found


def changed(series: SensorSeries, other: SensorSeries, change: str) -> np.ndarray:
    """The test part with a change from its middle on."""
    rows, half = series.test.copy(), len(series.test) // 2
    picked = np.random.default_rng(0).choice(rows.shape[1], -(-rows.shape[1] // 3), replace=False)
    spread = series.train.std(axis=0)[picked] + 1e-6
    if change == "gain":
        rows[half:, picked] *= 1.2
    elif change in ("offset", "offset 2"):
        rows[half:, picked] += (2.0 if change == "offset 2" else 0.5) * spread
    elif change == "ageing":
        rows[half:, picked] += 1.5 * spread * np.linspace(0, 1, len(rows) - half)[:, None]
    elif change == "swap":
        rows[half:] = np.resize(other.test[half:], rows[half:].shape)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, required=True)
    folder = parser.parse_args().bundles
    policy = DriftPolicy()
    starts: dict[tuple[str, str], list[float]] = {}
    months: dict[str, float] = {}
    for dataset in DATASETS:
        entities = [name for name in list_entities(dataset) if (folder / name).exists()]
        for index, entity in enumerate(entities):
            series, other = load_series(dataset, None, entity), load_series(dataset, None, entities[index - 1])
            bundle = open_bundle(folder / entity)
            rule = RuleSpec(bundle.manifest.detector, bundle, bundle.open_graph(), bundle.manifest.stride)
            reference = drift_reference(rule, policy)
            months[entity] = float(series.test_ts[-1] - series.test_ts[0]) / (30.4 * 86_400e6)
            middle = int(series.test_ts[len(series.test) // 2])
            for change in CHANGES:
                found = drifts(rule, policy, reference, changed(series, other, change), series.test_ts)
                starts[entity, change] = [
                    (time - middle) / 3.6e9 for time, finding in found if finding.event == "started"
                ]
    for name, part in (
        ("chosen on", [entity for entity in months if entity in CHOSEN_ON]),
        ("reported on", [entity for entity in months if entity not in CHOSEN_ON]),
    ):
        if not part:
            continue
        counts = [len(starts[entity, "none"]) for entity in part]
        rate = sum(counts) / sum(months[entity] for entity in part)
        print(f"{name} {len(part)} machines: as they are {rate:.2f} drifts a month, {counts}")
        for change in CHANGES:
            within = [
                sum(any(0 <= h <= hours for h in starts[entity, change]) for entity in part) for hours in (48, 96)
            ]
            first = sorted(min((h for h in starts[entity, change] if h >= 0), default=np.inf) for entity in part)
            told = [round(h) for h in first if h < np.inf]
            print(f"  {change}: told {within[0]} in 48 h, {within[1]} in 96 h, of {len(part)}; after hours {told}")


if __name__ == "__main__":
    main()
