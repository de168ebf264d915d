"""What the gate of adaptation is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from wheeltapper.stream.core.alert_life import SpanRule

_EMPTY = np.empty(0)
_NO_BLOCKS = np.empty(0, np.int64)


@dataclass(frozen=True)
class GatePolicy:
    """What the gate asks for.

    Attributes:
        false_alarms_per_day: asked, per machine.
        max_loss: of recall and of AUROC.
        least_gain: of recall or of AUROC, where the old bundle is quiet too.
        z: one-sided confidence bounds, in standard errors; 1.645 is 95 %.
        least_windows: held-out recent windows; least_disturbed: windows that were disturbed.
        most_open: share of the held-out recent windows with an alarm open, where that is more than the allowed alarms take.
        least_auroc: that a bundle needs to pass with reserve.
        most_below: AUROC that a bundle may lack of the old one's in its own regime.
        least_recovered: of the AUROC that the old bundle has lost since its own regime: a bundle that has regained that share may lack the
            rest, however much it is.
        seen_auroc: a channel is one that the old bundle sees, where the AUROC of faults in it alone is so high.
        most_blinded: AUROC that may be lost in such a channel.
        alarms: how alarms open and clear.
    """

    false_alarms_per_day: float = 0.25
    max_loss: float = 0.02
    least_gain: float = 0.02
    z: float = 1.645
    least_windows: int = 100
    least_disturbed: int = 60
    most_open: float = 0.05
    least_auroc: float = 0.7
    most_below: float = 0.06
    least_recovered: float = 0.7
    seen_auroc: float = 0.9
    most_blinded: float = 0.2
    alarms: SpanRule = field(default_factory=lambda: SpanRule(clear_windows=30))


@dataclass(frozen=True)
class ProbeScores:
    """Calibrated scores of windows with a plain disturbance in one channel alone.

    Attributes:
        normal: [k] windows as they are.
        undisturbed: [p] those of them that are disturbed.
        disturbed: channel and size -> [p] the same with the channel moved by so many standard deviations, up or down.
        blocks: [p] stretches of time that the disturbed windows lie in; empty: each in its own.
    """

    normal: np.ndarray = field(default_factory=lambda: _EMPTY)
    undisturbed: np.ndarray = field(default_factory=lambda: _EMPTY)
    disturbed: Mapping[tuple[str, float], np.ndarray] = field(default_factory=dict)
    blocks: np.ndarray = field(default_factory=lambda: _NO_BLOCKS)


@dataclass(frozen=True)
class GateScores:
    """Calibrated scores by one bundle; 1.0 is its alarm level.

    Attributes:
        interval_s: between scored windows.
        recent: [n] held-out recent windows, presumed normal, in time order.
        normal: [m] some of those windows, undisturbed.
        faults: kind -> [m] the same windows, disturbed.
        blocks: [m] stretches of time, at least a window long, that those windows lie in; empty: each in its own. Windows that share
            rows are no independent witnesses.
        probes: of the recent windows.
        reference_normal, reference_faults, reference_blocks, reference_probes: the same of the reference windows; asked of the old
            bundle alone.
        known_normal, known_faults: windows that operators labelled, stored faults.
        known_blocks: [f] stretches of time that the known faults lie in.
    """

    interval_s: float
    recent: np.ndarray
    normal: np.ndarray
    faults: Mapping[str, np.ndarray]
    blocks: np.ndarray = field(default_factory=lambda: _NO_BLOCKS)
    probes: ProbeScores = field(default_factory=ProbeScores)
    reference_normal: np.ndarray = field(default_factory=lambda: _EMPTY)
    reference_faults: Mapping[str, np.ndarray] = field(default_factory=dict)
    reference_blocks: np.ndarray = field(default_factory=lambda: _NO_BLOCKS)
    reference_probes: ProbeScores = field(default_factory=ProbeScores)
    known_normal: np.ndarray = field(default_factory=lambda: _EMPTY)
    known_faults: np.ndarray = field(default_factory=lambda: _EMPTY)
    known_blocks: np.ndarray = field(default_factory=lambda: _NO_BLOCKS)


@dataclass(frozen=True)
class Verdict:
    """
    Attributes:
        accepted: the new bundle may take over.
        with_reserve: it passed, but is not as good as the old bundle was in its own regime.
        reasons: sentences with numbers; what was not met comes first.
        figures: numbers for reports, JSON types.
    """

    accepted: bool
    with_reserve: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"reasons": list(self.reasons)}
