"""Every number of range bands, with the meaning it has in the formulas of `fit` and `graph`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from wheeltapper.models.row_scaling import Scale
from wheeltapper.models.settings import DetectorSettings

# Faults that come and go against faults that stay: how much of an excess counts once it is no longer news.
PRESETS = {"events": 0.1, "sustained": 0.5}

# Below that, 'normal variation left after the first components' is not a meaningful thing to watch.
RESIDUAL_MIN_CHANNELS = 6


@dataclass(frozen=True)
class RangeBandSettings(DetectorSettings):
    """Chosen by measurement on 13 machines; no number is on a knife's edge."""

    DETECTOR: ClassVar[str] = "range-bands"

    window: Annotated[int, Field(ge=2, description="rows that a score looks at")] = 192
    scored_rows: Annotated[
        int,
        Field(
            ge=1,
            description="last rows that the score averages, fewer than the window; those before are the recent past. A third "
            "of `--window` where that is given",
        ),
    ] = 64
    range_quantile: Annotated[
        float, Field(ge=0, lt=0.5, description="share of training that lies outside of a channel's band, on each side")
    ] = 0.01
    change_quantile: Annotated[
        float, Field(ge=0, lt=0.5, description="the same for the change against the recent past")
    ] = 0.01
    excess_weight: Annotated[
        float, Field(ge=0, description="how far training's own excesses widen a channel's scale")
    ] = 4.0
    scale_floor: Annotated[float, Field(gt=0, description="least scale, as a share of the training range")] = 0.01
    cap: Annotated[float, Field(gt=0, description="where a row's scaled excess saturates; its score does at cap^2")] = (
        5.0
    )
    leak: Annotated[
        float, Field(ge=0, description="share of an excess that counts when it is no longer new; `preset` sets it")
    ] = PRESETS["events"]
    baseline_half_life: Annotated[float, Field(gt=0, description="rows, of the recent past's average")] = 30.0
    score_half_life: Annotated[float, Field(gt=0, description="rows, of the average over scored rows")] = 8.0
    clip: Annotated[float, Field(gt=0, description="training ranges beyond which a value counts no further")] = 10.0
    components: Annotated[int, Field(ge=1, description="common movements that the second view takes away")] = 5
    residual_weight: Annotated[float, Field(ge=0, description="weight of the second view")] = 0.3
    inside: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the squared distance from the median, in training ranges: ranks channels that are inside "
            "of their bands; 0 leaves it out. A single channel goes without",
        ),
    ] = 5e-4
    down: Annotated[
        float, Field(ge=0, description="weight of values below the band; 0.5 suits servers, where idle is no fault")
    ] = 1.0
    residual_view: Annotated[
        bool,
        Field(
            description="second view: what the channels do not have in common. Left out where fewer than "
            f"{RESIDUAL_MIN_CHANNELS} channels vary; false halves the cost"
        ),
    ] = True
    lag: Annotated[
        int,
        Field(
            ge=0,
            description="rows, fewer than `scored_rows`, that the score waits to see what comes after; the alarm comes later by as much",
        ),
    ] = 0
    scale: Annotated[
        Scale,
        Field(
            description="`train` takes each channel's range of training as its unit; `given` takes values as they come, for "
            "data that its publisher has scaled to 0 .. 1"
        ),
    ] = "train"

    def check(self) -> None:
        if self.scored_rows >= self.window:
            self.refuse(
                "scored_rows",
                f"fewer rows than the window of {self.window}; the rows before them are the recent past that a row is "
                "compared with",
            )
        if self.lag >= self.scored_rows:
            self.refuse("lag", f"fewer rows than scored_rows, which is {self.scored_rows}")

    def with_window(self, window: int) -> RangeBandSettings:
        """The same for another W; of its rows a third is scored."""
        return replace(self, window=window, scored_rows=max(1, round(window / 3)))

    @property
    def least_rows(self) -> int:
        """Training rows that a fit needs."""
        return 2 * self.window

    @property
    def baseline_rows(self) -> int:
        """Rows of the recent past's average, the row itself included: W - K."""
        return self.window - self.scored_rows
