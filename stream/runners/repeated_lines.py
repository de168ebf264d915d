"""Limits repeated log lines: aiokafka reports an unreachable broker ten times a second, one line a minute is kept."""

from __future__ import annotations

import logging

PERIOD_S = 60.0


class SeldomRepeated(logging.Filter):
    """Drops a logger's line if one with the same template was logged less than a minute ago."""

    def __init__(self, logger: str) -> None:
        """
        Args:
            logger: name of the library whose repeated lines are dropped; others pass.
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
        if len(self._told) > 1_000:  # lines formatted before logging differ every time
            self._told.clear()
        self._told[line] = record.created
        return True


def limit_repeats(logger: str) -> None:
    """Drop repeated lines of a library on every handler."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(SeldomRepeated(logger))
