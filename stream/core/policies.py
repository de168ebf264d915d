"""What a user may choose of windows, alarms and drift, as the core needs it; the worker's settings have the same names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

ThresholdMethod: TypeAlias = Literal["budget", "fixed", "spot", "dspot", "aci", "quantile", "ewma"]


class WindowRules(Protocol):
    """Read-only form of `WindowPolicy`, which the worker's settings section [windows] has too."""

    @property
    def stride(self) -> int | None: ...
    @property
    def clock_restart_rows(self) -> int: ...
    @property
    def max_gap_intervals(self) -> int: ...
    @property
    def max_jump_intervals(self) -> int: ...


class AlarmRules(Protocol):
    """Read-only form of `AlarmPolicy`, which the worker's settings section [threshold] has too."""

    @property
    def method(self) -> ThresholdMethod: ...
    @property
    def false_alarms_per_day(self) -> float: ...
    @property
    def raise_level(self) -> float | None: ...
    @property
    def clear_ratio(self) -> float: ...
    @property
    def min_duration_s(self) -> float: ...
    @property
    def clear_duration_s(self) -> float | None: ...
    @property
    def cool_down_s(self) -> float: ...
    @property
    def reopen_s(self) -> float: ...
    @property
    def spot_tail(self) -> float: ...


@dataclass(frozen=True)
class WindowPolicy:
    """How rows become windows.

    Attributes:
        stride: rows between scored windows; None: the bundle's own.
        clock_restart_rows: late rows in a row after which a machine's clock counts as restarted; 0: never.
        max_gap_intervals: a gap of more than so many sampling intervals empties the window; 0: gaps are bridged.
        max_jump_intervals: a row that is further ahead of the one before waits for others that prove it; 0: it is believed.
    """

    stride: int | None = None
    clock_restart_rows: int = 300
    max_gap_intervals: int = 0
    max_jump_intervals: int = 60


@dataclass(frozen=True)
class AlarmPolicy:
    """When a calibrated score becomes an alert; 1.0 is the bundle's alarm level. Durations are event time.

    Attributes:
        method: of the threshold, a name in `stream.core.thresholds.THRESHOLDS`.
        false_alarms_per_day: expected per machine: the sensitivity of every method.
        raise_level: calibrated score that raises an alert (method fixed); None: the level for `false_alarms_per_day`.
        clear_ratio: an open alert clears below this share of the raise level.
        min_duration_s: how long the score must stay above the raise level before an alert opens; 0: one window opens it.
        clear_duration_s: how long it must stay below the clear level before an alert clears; None: 30 intervals between
            scored windows, an hour at most.
        cool_down_s: after an alert has cleared no other opens for so long, unless it is far more severe; 0: none.
        reopen_s: an alert that would open so soon after the last one cleared is the last one again; 0: always a new one.
        spot_tail: share of normal scores that the tail is fitted on (methods spot and dspot).
    """

    method: ThresholdMethod = "budget"
    false_alarms_per_day: float = 0.25
    raise_level: float | None = None
    clear_ratio: float = 0.8
    min_duration_s: float = 0.0
    clear_duration_s: float | None = None
    cool_down_s: float = 0.0
    reopen_s: float = 0.0
    spot_tail: float = 0.02


class DriftRules(Protocol):
    """Read-only form of `DriftPolicy`, which the worker's settings section [drift] has too."""

    @property
    def false_drifts_per_month(self) -> float: ...
    @property
    def agreement(self) -> int: ...
    @property
    def min_dwell_s(self) -> float: ...
    @property
    def block_s(self) -> float | None: ...


@dataclass(frozen=True)
class DriftPolicy:
    """When a machine's normal counts as changed.

    Attributes:
        false_drifts_per_month: expected per machine; sets the levels of the tests.
        agreement: families of evidence (scores, inputs, embedding) that must speak at the same time.
        min_dwell_s: how long they must agree before a drift starts, and disagree before it ends; event time.
        block_s: event time of a block; None: the bundle's own.
    """

    false_drifts_per_month: float = 1.0
    agreement: int = 2
    min_dwell_s: float = 43_200.0
    block_s: float | None = None
