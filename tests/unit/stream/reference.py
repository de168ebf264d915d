"""The stream's rules once more, one row at a time in plain Python: slow, obvious, and sharing no code with stream/."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tests.unit.stream.bundles import USUAL, Recipe
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.settings import Settings


@dataclass
class Reference:
    """One machine under one recipe.

    Attributes:
        window_rows: longest window of the machine's rules: not looked at, a machine keeps all rows here.
        scores: time of the scored row -> (raw, calibrated, quality), in order.
        events: (event, alert id, opened at, time, severity, peak), in order.
        late, restarts, gaps, imputed: counts.
    """

    recipe: Recipe
    settings: Settings
    machine: str
    scores: list[tuple[int, float, float, float]] = field(default_factory=list)
    events: list[tuple[str, str, int, int, int, float]] = field(default_factory=list)
    late: int = 0
    restarts: int = 0
    gaps: int = 0
    imputed: int = 0
    _rows: list[tuple[int, list[float], int]] = field(default_factory=list)
    _last: int | None = None
    _late_run: int = 0
    _run: list[tuple[int, float]] = field(default_factory=list)
    _quiet: list[int] = field(default_factory=list)
    _open: dict[str, float] | None = None

    def take(self, block: SensorBlock) -> Reference:
        """Every row of a block."""
        for time, values in zip(block.ts.tolist(), block.values.tolist(), strict=True):
            self._take_row(time, values)
        return self

    def _take_row(self, time: int, values: list[float]) -> None:
        windows = self.settings.windows
        if self._last is not None:
            if time <= self._last:
                self._late_run += 1
                if windows.clock_restart_rows == 0 or self._late_run < windows.clock_restart_rows:
                    self.late += 1
                    return
                self.restarts += 1
                self._rows = []
            elif (
                windows.max_gap_intervals
                and time - self._last > windows.max_gap_intervals * self.recipe.interval_s * 1e6
            ):
                self.gaps += 1
                self._rows = []
        self._late_run = 0
        self._last = time
        before = self._rows[-1][1] if self._rows else self.recipe.fill.tolist()
        filled = [old if math.isnan(new) else new for old, new in zip(before, values, strict=True)]
        absent = sum(math.isnan(value) for value in values)
        self.imputed += absent
        self._rows.append((time, filled, absent))
        self._score()

    def _score(self) -> None:
        recipe = self.recipe
        stride = self.settings.windows.stride or recipe.stride
        first = recipe.warm_up or recipe.window
        if len(self._rows) < first or (len(self._rows) - first) % stride:
            return
        window = self._rows[-recipe.window :]
        usual = [USUAL] * len(recipe.channels)
        window = [(0, usual, len(usual))] * (recipe.window - len(window)) + window
        values = np.array([row for _, row, _ in window])
        raw = float(sum(w * ((row - 0.5) ** 2).sum() for w, row in zip(recipe.weights.tolist(), values, strict=True)))
        score = max((raw - recipe.center) / (recipe.alarm_level - recipe.center), 0.0)
        time = window[-1 - recipe.lag][0]
        quality = 1 - sum(absent for _, _, absent in window) / values.size
        self.scores.append((time, raw, score, quality))
        self._judge(time, score)

    def _judge(self, time: int, score: float) -> None:
        rule = self.settings.threshold
        assert rule.raise_level is not None
        if self._open is None:
            if score < rule.raise_level:
                self._run = []
                return
            self._run.append((time, score))
            if self._lasts([at for at, _ in self._run], rule.min_duration_s):
                peak = max(score for _, score in self._run)
                self._open = {"at": self._run[0][0], "peak": peak, "told": _severity(peak)}
                self._quiet = []
                self._run = []
                self._tell("opened", time)
            return
        alert = self._open
        alert["peak"] = max(alert["peak"], score)
        self._quiet = [*self._quiet, time] if score < rule.clear_ratio * rule.raise_level else []
        severity = _severity(alert["peak"])
        assert rule.clear_duration_s is not None
        if self._quiet and self._lasts(self._quiet, rule.clear_duration_s):
            self._tell("cleared", time)
            self._open = None
        elif severity - alert["told"] >= 10 or (severity == 100 and alert["told"] < 100):
            alert["told"] = severity
            self._tell("updated", time)

    def _lasts(self, times: list[int], wanted_s: float) -> bool:
        """Whether windows in a row at these times last so long: each for the time to the next, ten intervals at most."""
        interval = self.recipe.interval_s * (self.settings.windows.stride or self.recipe.stride)
        steps = [(after - before) / 1e6 for before, after in pairwise(times)]
        lasted = interval + sum(min(max(step, 0.0), 10 * interval) for step in steps)
        return lasted >= wanted_s - interval / 10

    def _tell(self, event: str, time: int) -> None:
        assert self._open is not None
        opened = int(self._open["at"])
        space = uuid.uuid5(uuid.NAMESPACE_URL, "urn:wheeltapper:alert")
        recipe = self.recipe
        name = "\x1f".join((self.machine, recipe.detector, recipe.bundle_id, str(opened)))
        peak = self._open["peak"]
        self.events.append((event, str(uuid.uuid5(space, name)), opened, time, _severity(peak), peak))


def _severity(score: float) -> int:
    return min(100, round(100 * score / (1 + score)))
