"""Every detector on every entity of a data set: train on the train part, judge on the test part, macro table.

    python tests/bench/detectors.py --dataset smd --data DIR --detectors range-bands pca alora:preset=small

A detector may carry settings after a colon, as `--set` takes them, separated by commas. Prints a Markdown table of VUS-PR
(buffer 100) and AUC-PR with the floors, and writes everything that `wheeltapper evaluate --json` would to --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from training.bundle_writer import write_bundle
from training.datasets.registry import list_entities, load_series
from training.detectors import TrainOptions, train_detector
from training.evaluation import evaluate_bundle
from training.options import parse_assignments

SHOWN = ("vus_pr", "auc_pr", "auc_roc", "range_f1", "event_recall", "false_alarms_per_day", "hit_rate_100", "ips_100")
FLOOR_METRICS = ("vus_pr", "auc_pr", "auc_roc")


def judge(dataset: str, data: Path | None, entity: str, detector: str, *, seed: int, floors: bool) -> dict[str, Any]:
    """One row: the report's keys, and what training took."""
    name, _, settings = detector.partition(":")
    series = load_series(dataset, data, entity)
    begin = time.process_time()
    options = TrainOptions(seed=seed, settings=parse_assignments([s for s in settings.split(",") if s]))
    fitted, scores = train_detector(name, series, options)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(fitted, series, Path(folder) / "bundle", scores=scores, seed=seed, torchscript=False)
        trained = time.process_time() - begin
        report = evaluate_bundle(bundle, series, floors=floors).to_json()
    return report | {"detector": detector, "seed": seed, "train_cpu_s": round(trained, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="smd")
    parser.add_argument("--data", type=Path, help="default: $WHEELTAPPER_DATA/DATASET")
    parser.add_argument("--detectors", nargs="+", default=["range-bands", "pca", "alora"])
    parser.add_argument("--entities", nargs="+", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/detectors.json"))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for entity in arguments.entities or list_entities(arguments.dataset, arguments.data):
        for position, detector in enumerate(arguments.detectors):
            row = judge(arguments.dataset, arguments.data, entity, detector, seed=arguments.seed, floors=position == 0)
            rows.append(row)
            arguments.out.write_text(json.dumps(rows, indent=1))
            print(f"{entity} {detector}: VUS-PR {row['vus_pr']:.3f}, AUC-PR {row['auc_pr']:.3f}", flush=True)
    print(table(rows, arguments.detectors))


def table(rows: list[dict[str, Any]], detectors: list[str]) -> str:
    """Macro means over entities as Markdown."""
    lines = [f"| macro over {len({row['entity'] for row in rows})} | " + " | ".join(SHOWN) + " | train CPU-s |"]
    lines.append("|---|" + "--:|" * (len(SHOWN) + 1))
    for detector in detectors:
        mine = [row for row in rows if row["detector"] == detector]
        values = [_mean(row[metric] for row in mine) for metric in SHOWN]
        lines.append(f"| {detector} | " + " | ".join(values) + f" | {_mean(row['train_cpu_s'] for row in mine)} |")
    first = [row for row in rows if row["detector"] == detectors[0]]
    for floor in first[0]["floors"] if first else ():
        values = [
            _mean(row["floors"][floor].get(metric) for row in first) if metric in FLOOR_METRICS else ""
            for metric in SHOWN
        ]
        lines.append(f"| floor: {floor} | " + " | ".join(values) + " | |")
    return "\n".join(lines)


def _mean(values: Any) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else "-"


if __name__ == "__main__":
    main()
