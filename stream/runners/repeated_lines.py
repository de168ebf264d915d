"""aiokafka says ten times a second that its broker is away: of such lines one a minute is let through."""

from __future__ import annotations

import logging

PERIOD_S = 60.0


class SeldomRepeated(logging.Filter):
    """Holds back a logger's line that came with the same words, whatever their values, less than a minute ago."""

    def __init__(self, logger: str) -> None:
        """
        Args:
            logger: name of the library whose lines are thinned; others pass.
        """
        super().__init__()
        self._logger = logger
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != self._logger or not isinstance(record.msg, str):
            return True
        line = (record.name, record.msg)
        if record.created - self._told.get(line, -PERIOD_S) < PERIOD_S:
            return False
        if len(self._told) > 1_000:  # lines that are put together beforehand differ every time
            self._told.clear()
        self._told[line] = record.created
        return True


def thin_out(logger: str) -> None:
    """Hold back repeated lines of a library on every handler."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(SeldomRepeated(logger))
