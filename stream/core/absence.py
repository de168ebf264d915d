"""Notices channels of a machine that have never had a value, and says so once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from wheeltapper.schemas.text import first_names

log = structlog.get_logger(__name__)

LOOKED_AT = 1_000
"""Rows after which a channel without any value is told of: a sensor may speak later than others, but not by so much."""


class Absence:
    """What one machine has measured since the worker has known it. Not part of a snapshot: it decides nothing but a line.

    Attributes:
        settled: nothing is left to be said.
    """

    __slots__ = ("_rows", "_unmeasured", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._rows = 0
        self._unmeasured: np.ndarray | None = None

    def see(self, absent: np.ndarray, machine: str, channels: Sequence[str]) -> None:
        """Rows came.

        Args:
            absent: [n, C] bool, values that are missing.
        """
        unmeasured = np.asarray(absent.all(axis=0))
        if self._unmeasured is not None:
            unmeasured &= self._unmeasured
        self._unmeasured = unmeasured
        self._rows += len(absent)
        if not unmeasured.any():
            self.settled = True
        elif self._rows >= LOOKED_AT:
            self.settled = True
            names = [channels[column] for column in np.flatnonzero(unmeasured)]
            log.warning(
                "channels have had no value so far: they count as what is usual, and a fault in them goes unseen",
                machine=machine,
                channels=first_names(names, 20),
                number=len(names),
                rows=self._rows,
                likely_cause="the sensor sends null, another name (input.rename), or not at all (input.missing_channels)",
            )
