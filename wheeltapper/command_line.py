"""The parser of the command line: defaults in help texts, and one line for what is wrong, with the name that was probably meant."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, NoReturn

from wheeltapper.schemas.text import did_you_mean


def complain(line: str) -> None:
    """A line on standard error; where nobody reads that, the exit code alone must say it."""
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def load_structlog() -> None:
    """Load structlog as if rich were not installed, for a program that logs and prints no tables.

    structlog would load rich for tracebacks that show local variables, which ours never do (`stream.logs`): a tenth of a start.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        with asyncio_late():
            import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


def load_kafka_client() -> None:
    """Load confluent-kafka without asyncio, which only clients use that this project has none of."""
    with asyncio_late():
        import confluent_kafka.admin  # noqa: F401


@contextmanager
def asyncio_late() -> Iterator[None]:
    """What is imported meanwhile has an `asyncio` that is loaded when something of it is used first."""
    if "asyncio" in sys.modules:
        yield
        return
    late = ModuleType("asyncio")

    def find(name: str) -> Any:
        return getattr(importlib.import_module("asyncio"), name)

    late.__getattr__ = find  # type: ignore[method-assign]
    sys.modules["asyncio"] = late
    try:
        yield
    finally:
        if sys.modules.get("asyncio") is late:
            del sys.modules["asyncio"]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Says each option's default, unless the text already does or there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False) or (action.help and "default" in action.help):
            return action.help
        return super()._get_help_string(action)


class RawFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults after each option, and the epilog as it is written."""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line that names what was probably meant."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = self._chosen(getattr(found, "command", None))
            parser.error(f"does not know {' '.join(unknown)}{parser._nearest_option(unknown)}")
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words: Sequence[str] = [str(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """One line on standard error, and exit code 2."""
        message = " ".join(message.split())  # an argument may hold a line break
        if "required" in message:  # a misspelt option makes the right one a missing one
            message += self._nearest_option(getattr(self, "_words", ()))
        stop = "" if message.endswith("?") else ";"
        complain(f"{self.prog}: {message}{stop} '{self.prog} --help' shows what it takes")
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names: Sequence[str] = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            text = f"no command '{value}'{did_you_mean(str(value), names)}"
        else:
            text = f"'{value}' is none of {', '.join(names)}{did_you_mean(str(value), names)}"
        raise argparse.ArgumentError(None if isinstance(action, argparse._SubParsersAction) else action, text)

    def _nearest_option(self, words: Sequence[str]) -> str:
        """A hint for the first of the words that looks like an option and is none."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        names = [word.partition("=")[0] for word in words if word.startswith("--")]
        unknown = [name for name in names if len(name) > 2 and not any(option.startswith(name) for option in options)]
        hints = (did_you_mean(name, options) for name in unknown)
        return next((hint for hint in hints if hint), "")

    def _chosen(self, command: str | None) -> Parser:
        """The parser of a command; this one where there is none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and command in action.choices:
                chosen: Parser = action.choices[command]
                return chosen
        return self
