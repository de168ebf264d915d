"""Notices a machine whose rows, or readings, come at another rate than its bundle was trained on: once, early, by the median step."""

from __future__ import annotations

import numpy as np
import structlog

from wheeltapper.stream.core.counters import Counters

log = structlog.get_logger(__name__)

STEPS = 32
"""Steps whose median is looked at: the first ones of a machine since its worker started."""
TOLERANCE = 1.25
"""A median step of more than so many intervals, or of less than one part in so many, is another rate."""
MOST_LINES = 20
"""Machines that are named in the log; more are counted."""


class RateCheck:
    """Steps of one machine's clock until there are enough of them."""

    __slots__ = ("_last", "_steps")

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._last: int | None = None

    def see(self, times: np.ndarray) -> float | None:
        """Take rising [n] int64 times (us); the median step (us) once there are enough: the check is done then."""
        for time in times[: STEPS + 1 - len(self._steps)].tolist():
            if self._last is not None:
                self._steps.append(time - self._last)
            self._last = time
        return float(np.median(self._steps[:STEPS])) if len(self._steps) >= STEPS else None

    def restart(self) -> None:
        """The next time does not follow the last one."""
        self._last = None


def tell_of_rate(step_us: float, interval_us: int, counters: Counters, machine: str, *, readings: bool) -> None:
    """Say and count that a machine's median step is not its bundle's interval; nothing where it is.

    Args:
        readings: the step is that of its fastest channel, whose readings are put on a grid; else of its rows.
    """
    ratio = step_us / interval_us
    if 1 / TOLERANCE <= ratio <= TOLERANCE:
        return
    counters.odd_rates += 1
    if counters.odd_rates > MOST_LINES:
        return
    if not readings:
        meaning = (
            f"a window of its bundle now spans {ratio:.3g} times the time it was trained on: train on rows of this rate"
        )
    elif ratio > 1:
        meaning = "most rows repeat the readings of the one before: train on rows of this rate"
    else:
        meaning = "of the readings within an interval only the last one counts"
    if counters.odd_rates == MOST_LINES:
        meaning += "; further machines are only counted (wheeltapper_odd_rates_total)"
    log.warning(
        "readings come at another rate than the bundle's"
        if readings
        else "rows come at another rate than the bundle's",
        machine=machine,
        every_s=step_us / 1e6,
        interval_s=interval_us / 1e6,
        meaning=meaning,
    )
