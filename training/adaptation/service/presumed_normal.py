"""Which rows of a machine may be learned from: none under an alert that nobody accepted, none in maintenance, none labelled anomalous.

The shift laboratory asks the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wheeltapper.schemas.events import ClearReason
from wheeltapper.training.adaptation.service.alerts import KnownAlert

Span = tuple[int, int | None]
"""Event time (us) of the first and the last row; None: to the end."""


def spans_under_alerts(alerts: Iterable[KnownAlert], *, accepted: bool, margin_us: int) -> list[Span]:
    """What must not be learned, from the alerts of a machine, of any of its rules.

    An alert that ended with the operator's *accept* excludes nothing, nor does one that was rejected and has ended. Where the
    change was accepted, no alert does, neither one before nor one after: until another bundle serves, alarms of the old one say nothing of the new normal. An alert that an
    operator confirmed always excludes its rows.

    Args:
        accepted: an operator has accepted the change that is adapted to.
        margin_us: how long before the opening an alert may have begun: the window that opened it.
    """
    spans: list[Span] = []
    for alert in alerts:
        rejected = alert.verdict == "reject" and not alert.is_open
        normal = accepted or rejected or alert.reason is ClearReason.ACCEPTED
        if not normal or alert.verdict == "confirm":
            spans.append((alert.opened_at - margin_us, alert.ended_at))
    return spans


def outside(times: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """[T] bool: rows at `times` ([T] int64, us) that lie in none of the spans."""
    kept = np.ones(len(times), dtype=bool)
    for start, stop in spans:
        under = times >= start
        if stop is not None:
            under &= times <= stop
        kept &= ~under
    return kept
