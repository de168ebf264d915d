"""The two kinds of trouble that the outside world can cause."""

from __future__ import annotations


class InputError(Exception):
    """A person's mistake: a wrong path, setting, option or bundle.

    The text is one line that says what was found, what was expected and what to do. Commands print it
    without a traceback and leave with exit code 2.
    """


class DecodeError(Exception):
    """A message that is not what its topic carries; the only error that a decoder raises.

    Attributes:
        reason: one of `DeadLetterReason`, short and stable: metrics and dead-letter headers count by it.
        detail: one line for a person: what was found and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
