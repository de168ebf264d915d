"""Every number of range bands, with the meaning it has in the formulas of `fit` and `graph`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wheeltapper.models.row_scaling import Scale
from wheeltapper.schemas.errors import InputError

# Faults that come and go against faults that stay: how much of an excess counts once it is no longer news.
PRESETS = {"events": 0.1, "sustained": 0.5}

# Below that, 'normal variation left after the first components' is not a meaningful thing to watch.
RESIDUAL_MIN_CHANNELS = 6


@dataclass(frozen=True)
class RangeBandSettings:
    """Chosen by measurement on 13 machines; no number is on a knife's edge.

    Attributes:
        window: W, rows; `scored_rows`: K, the last rows that the score averages over, K < W.
        range_quantile: q; the band is the q and 1 - q quantile of training.
        change_quantile: ql, the same for the change against the recent past.
        excess_weight: rk; how far training's own excesses widen the scale.
        scale_floor: least scale, in units of the training range.
        cap: a row's scaled excess saturates there; its score at cap^2.
        leak: share of an excess that counts without being news.
        baseline_half_life: h_base, rows, of the recent past's average.
        score_half_life: h_score, rows, of the average over scored rows.
        clip: scaled values are cut at -clip and 1 + clip, standardised ones at -clip and clip.
        components: k, removed for the residual view.
        residual_weight: of the second view.
        inside: weight of the squared distance from the median, in ranges of training: so small that it ranks channels and
            windows that are inside of their bands, and no others. A single channel goes without.
        down: weight of an excess below the band (1: as above it; .5 suits servers, where idle is no fault).
        residual_view: False leaves the second view out (half the cost).
        lag: rows between the scored row and the window's last; the score then sees what came after.
        scale: 'train' takes each channel's range of training as its unit; 'given' takes values as they come, for data
            that its publisher has scaled to the range 0 .. 1.
    """

    window: int = 192
    scored_rows: int = 64
    range_quantile: float = 0.01
    change_quantile: float = 0.01
    excess_weight: float = 4.0
    scale_floor: float = 0.01
    cap: float = 5.0
    leak: float = PRESETS["events"]
    baseline_half_life: float = 30.0
    score_half_life: float = 8.0
    clip: float = 10.0
    components: int = 5
    residual_weight: float = 0.3
    inside: float = 5e-4
    down: float = 1.0
    residual_view: bool = True
    lag: int = 0
    scale: Scale = "train"

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: a setting outside of its range.
        """
        positive = ("scale_floor", "cap", "baseline_half_life", "score_half_life", "clip")
        for name in positive:
            if not getattr(self, name) > 0:
                raise InputError(f"range-bands: {name} is {getattr(self, name)}, expected a number above 0")
        for name in ("range_quantile", "change_quantile"):
            if not 0 <= getattr(self, name) < 0.5:
                raise InputError(f"range-bands: {name} is {getattr(self, name)}, expected 0 <= {name} < 0.5")
        for name in ("leak", "down", "inside", "residual_weight", "excess_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"range-bands: {name} is {getattr(self, name)}, expected 0 or more")
        if not 1 <= self.scored_rows < self.window:
            raise InputError(
                f"range-bands: window is {self.window} and scored_rows {self.scored_rows} rows, expected "
                "1 <= scored_rows < window; the rows before them are the recent past that a row is compared with"
            )
        if not 0 <= self.lag < self.scored_rows:
            raise InputError(f"range-bands: lag is {self.lag} rows, expected 0 <= lag < {self.scored_rows}")
        if self.components < 1:
            raise InputError(f"range-bands: components is {self.components}, expected 1 or more")

    @classmethod
    def of_window(cls, window: int, **others: Any) -> RangeBandSettings:
        """Settings for another W; K keeps its share of it (a third) where it is not given."""
        others.setdefault("scored_rows", max(1, round(window / 3)))
        return cls(window=window, **others)

    @property
    def baseline_rows(self) -> int:
        """Rows of the recent past's average, the row itself included: W - K."""
        return self.window - self.scored_rows
