"""From when on rows are learned, when there are enough, and when a rejected job is tried again.

The shift laboratory asks the same."""

from __future__ import annotations

import math

DAY_US = 86_400_000_000
SAME_CHANGE_US = 36 * 3_600_000_000
"""A drift and an alert that begin within this time are of the same change: so long does the drift judge remember."""


def beginning_of(*, alert_us: int | None, drift_us: int | None) -> int:
    """Event time (us) from which what an operator accepts has been so.

    Args:
        alert_us: opening of the accepted alert. drift_us: `since` of the open drift. None: there is none; one of them there is.
    """
    if alert_us is None or drift_us is None:
        known = drift_us if alert_us is None else alert_us
        assert known is not None
        return known
    # A drift that has been open for long is of another change, and its rows are of two normals.
    return min(alert_us, drift_us) if alert_us - drift_us <= SAME_CHANGE_US else alert_us


def rows_needed(interval_s: float, *, least_rows: int, least_s: float, most_rows: int) -> int:
    """Rows that may be learned from before the ladder is climbed.

    Args:
        interval_s: seconds between rows.
        least_rows, least_s: so many, and so many seconds of them.
        most_rows: that are kept, those that must not be learned from among them. More than half of them are not waited
            for: a machine that sends often would wait for ever.
    """
    return max(min(max(least_rows, math.ceil(least_s / interval_s)), most_rows // 2), 1)


def next_try_at(newest_us: int) -> int:
    """Event time (us) from which a rejected adaptation is tried again, from that of the newest row that it knew.

    It is time that counts, not rows: a drift that is told late has rows enough for every try at once, and a change that was
    still under way would be judged by the same rows each time.
    """
    return newest_us + DAY_US
