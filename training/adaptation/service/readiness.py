"""When there are rows enough for a job, and when a rejected one is tried again; the shift laboratory asks the same."""

from __future__ import annotations

import math

DAY_US = 86_400_000_000


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
