"""The two kinds of trouble that the outside world can cause."""

from __future__ import annotations


class InputError(Exception):
    """A person's mistake: a wrong path, setting, option or bundle.

    The text is one line that says what was found, what was expected and what to do. Commands print it
    without a traceback and leave with exit code 2. Whatever names and cells it quotes, it stays one line that can be shown.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def one_line(text: str) -> str:
    """The text with everything escaped that ends a line, moves a terminal's cursor or cannot be written as UTF-8."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


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
