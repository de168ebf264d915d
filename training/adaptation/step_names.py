"""The steps of the ladder by name."""

from __future__ import annotations

OPERATING_LEVEL, INPUT_SCALING, REFIT, REFIT_RECENT, FINE_TUNE = (
    "operating-level",
    "input-scaling",
    "refit",
    "refit-recent",
    "fine-tune",
)

LEARNING = frozenset({REFIT, REFIT_RECENT, FINE_TUNE})
"""Steps that learn; the others move an alarm level or channels."""

KEEP_BOTH = frozenset({OPERATING_LEVEL, REFIT_RECENT, FINE_TUNE})
"""Steps by which the old normal stays known. No others are taken where nobody accepted the change: it may go as it came."""
