"""What a user may choose of drift, as the core needs it; the worker's settings section [drift] has the same names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
