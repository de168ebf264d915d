"""What a user may choose of windows and alarms, as the core needs it; the worker's settings have the same names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

ThresholdMethod: TypeAlias = Literal["fixed", "spot"]


class WindowRules(Protocol):
    """Read-only form of `WindowPolicy`, which the worker's settings section [windows] has too."""

    @property
    def stride(self) -> int | None: ...
    @property
    def clock_restart_rows(self) -> int: ...
    @property
    def max_gap_intervals(self) -> int: ...


class AlarmRules(Protocol):
    """Read-only form of `AlarmPolicy`, which the worker's settings section [threshold] has too."""

    @property
    def method(self) -> ThresholdMethod: ...
    @property
    def raise_level(self) -> float: ...
    @property
    def clear_ratio(self) -> float: ...
    @property
    def min_duration(self) -> int: ...
    @property
    def clear_duration(self) -> int: ...
    @property
    def false_alarms_per_day(self) -> float: ...
    @property
    def spot_tail(self) -> float: ...


@dataclass(frozen=True)
class WindowPolicy:
    """How rows become windows.

    Attributes:
        stride: rows between scored windows; None: the bundle's own.
        clock_restart_rows: late rows in a row after which a machine's clock counts as restarted; 0: never.
        max_gap_intervals: a gap of more than so many sampling intervals empties the window; 0: gaps are bridged.
    """

    stride: int | None = None
    clock_restart_rows: int = 300
    max_gap_intervals: int = 0


@dataclass(frozen=True)
class AlarmPolicy:
    """When a calibrated score becomes an alert; 1.0 is the bundle's alarm level.

    Attributes:
        method: of the threshold, a name in `stream.core.thresholds.THRESHOLDS`.
        raise_level: calibrated score that raises an alert (method fixed).
        clear_ratio: an open alert clears below this share of the raise level.
        min_duration, clear_duration: windows in a row, above the raise level before an alert opens, below the clear level
            before it clears.
        false_alarms_per_day: expected per machine (method spot).
        spot_tail: share of normal scores that the tail is fitted on (method spot).
    """

    method: ThresholdMethod = "fixed"
    raise_level: float = 1.0
    clear_ratio: float = 0.8
    min_duration: int = 1
    clear_duration: int = 10
    false_alarms_per_day: float = 0.1
    spot_tail: float = 0.02
