"""Machines with a known past for tests of drift: a tiny bundle whose normal blocks are known, and rows of event time."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.stream.bundles import Recipe, files_of, manifest_of
from wheeltapper.schemas.bundle import open_bundle, write_bundle_folder
from wheeltapper.schemas.bundle.normal_blocks import DRIFT
from wheeltapper.schemas.bundle.store import CALIBRATION, sha256_of
from wheeltapper.stream.core.alert_judge import AlertJudge
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.core.drift import DriftFinding, DriftPolicy, DriftReference, DriftWatch
from wheeltapper.stream.core.judging import Judged, RuleMemory
from wheeltapper.stream.core.policies import AlarmPolicy, WindowPolicy
from wheeltapper.stream.core.row_memory import RowBlock, RowMemory, row_layout
from wheeltapper.stream.core.rule import RuleSpec
from wheeltapper.stream.core.scoring_loop import RuleRuntime
from wheeltapper.training.fitting.bundle_parts import parquet_bytes
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.drift_blocks import drift_blocks

CHANNELS = ("a", "b", "c", "d", "e", "f")
RECIPE = Recipe(channels=CHANNELS, window=5, interval_s=60.0, alarm_level=6.0)
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
START = 20_000 * DAY
DAYS = 20


def normal_rows(days: float, seed: int, wander: float = 0.0) -> np.ndarray:
    """[n, 6] float32, one a minute: a day's swing and noise.

    Args:
        wander: standard deviation of each channel's slow wandering, which forgets itself in a day and a half.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(days * 1440))[:, None]
    swing = 0.1 * np.sin(2 * np.pi * (time / 1440 + np.arange(6) / 6))
    rows = 0.5 + swing + rng.normal(0, 0.2, (len(time), 6))
    return (rows + _wandering(rng, len(time), wander) if wander else rows).astype(np.float32)


def _wandering(rng: np.random.Generator, count: int, size: float) -> np.ndarray:
    kept = np.exp(-1 / 36)
    hourly = [rng.normal(0, size, 6)]
    for _ in range(count // 60 + 1):
        hourly.append(kept * hourly[-1] + np.sqrt(1 - kept**2) * rng.normal(0, size, 6))
    knots = np.stack(hourly)
    at = np.arange(count) / 60
    return np.stack([np.interp(at, np.arange(len(knots)), knots[:, channel]) for channel in range(6)], axis=1)


def write_drift_bundle(folder: Path, *, blocks: bool = True, wander: float = 0.0) -> Path:
    """A bundle that knows `DAYS` days of its machine's normal; without `blocks` as old ones were."""
    rows = normal_rows(DAYS, seed=1, wander=wander)
    times = START - DAYS * DAY + MINUTE * np.arange(len(rows))
    windows = np.lib.stride_tricks.sliding_window_view(rows, RECIPE.window, axis=0).transpose(0, 2, 1)
    raw = RECIPE.contribution(windows).sum(axis=1)
    files = files_of(RECIPE)
    manifest = manifest_of(RECIPE, files)
    scores = CalibrationScores(raw, times[RECIPE.window - 1 :], 60.0, "held out")
    sink = BytesIO()
    pq.write_table(pa.table({"score": raw[::8], "time": scores.time[::8]}), sink)
    files[CALIBRATION] = sink.getvalue()
    if blocks:
        files[DRIFT] = parquet_bytes(drift_blocks(rows, times, 60.0, scores, manifest.calibration))
    manifest = manifest.model_copy(update={"files": sha256_of(files)})
    return write_bundle_folder(folder / "drift", manifest, files).location


@dataclass
class Stream:
    """A machine's rows through alert judge and drift judge, as `evaluate` and the laboratory would run them."""

    folder: Path
    policy: DriftPolicy = field(default_factory=DriftPolicy)
    reference: DriftReference | None = None

    def __post_init__(self) -> None:
        bundle = open_bundle(self.folder)
        self.rule = RuleSpec("rule", bundle, bundle.open_graph(), 1)
        self.counters = Counters()
        self.found: list[tuple[int, DriftFinding]] = []
        self.watch = DriftWatch(self.rule, self.policy, self._note, self.counters, self.reference)
        alerts = AlertJudge(self.rule, AlarmPolicy(), lambda *_: (), self.counters)
        self.runtime = RuleRuntime(self.rule, [alerts, self.watch])
        self.memory: RuleMemory = self.runtime.new_memory()
        self.rows = RowMemory(row_layout([self.rule]))
        self.fed = 0

    def _note(self, judged: Judged, position: int, finding: DriftFinding) -> tuple[()]:
        self.found.append((int(judged.due.times[position]), finding))
        return ()

    def feed(self, values: np.ndarray, times: np.ndarray) -> None:
        """Take rows in, as one batch; offsets count rows."""
        block = RowBlock(np.arange(self.fed, self.fed + len(values)), times, values)
        self.fed += len(values)
        for part in self.rows.take(block, WindowPolicy(), self.counters, "m"):
            due = self.rows.due(part, self.rule)
            if due is not None:
                self.runtime.collect("m", self.memory, due)
        if self.runtime.has_windows:
            list(self.runtime.judge(self.counters))

    def restart(self) -> None:
        """Through a snapshot of the rule's memory."""
        self.memory = self.runtime.load(self.runtime.dump(self.memory), _unreadable)


def _unreadable(slot: str, error: Exception) -> None:
    raise AssertionError(f"{slot}: {error}")


def minutes(count: int) -> np.ndarray:
    """[count] event times, one a minute from START."""
    return START + MINUTE * np.arange(count, dtype=np.int64)
