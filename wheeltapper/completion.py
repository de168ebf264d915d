"""Completion in the shell, by argcomplete: the parser itself is asked, with the arguments of the one command alone."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def complete(build_parser: Callable[[str | None], argparse.ArgumentParser], commands: Collection[str]) -> None:
    """Answer the shell that asks, and end the process. Nothing is printed but completions, whatever goes wrong."""
    import argcomplete

    parser = build_parser(_command(os.environ.get("COMP_LINE", ""), commands))
    _attach(parser)
    argcomplete.autocomplete(parser, always_complete_options="long")
    sys.exit(0)


def shell_code(shell: str) -> str:
    """What a shell must read to ask for completions."""
    import argcomplete

    code: str = argcomplete.shellcode(["wheeltapper"], shell=shell)
    return code.strip() + "\n"


def _command(line: str, commands: Collection[str]) -> str | None:
    try:
        words = shlex.split(line)
    except ValueError:  # an open quotation
        words = line.split()
    return next((word for word in words[1:] if word in commands), None)


def _attach(parser: argparse.ArgumentParser) -> None:
    """Names that are no `choices`: detectors, entities, settings of a detector."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _attach(child)
        elif action.dest == "detector" and action.choices is None:
            action.completer = _detectors  # type: ignore[attr-defined]
        elif action.dest == "entity":
            action.completer = _entities  # type: ignore[attr-defined]
        elif action.dest == "set":
            action.completer = _settings  # type: ignore[attr-defined]


def _detectors(**_: Any) -> Iterable[str]:
    from wheeltapper.training.detectors.registry import DETECTORS

    return ("auto", *DETECTORS)


def _entities(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    from wheeltapper.schemas.errors import InputError
    from wheeltapper.training.datasets.registry import list_entities

    dataset, data = getattr(parsed_args, "dataset", None), getattr(parsed_args, "data", None)
    if not dataset:
        return ()
    try:
        with warnings.catch_warnings(action="ignore"):
            return list_entities(dataset, None if data is None else Path(data))
    except InputError:
        return ()


def _settings(parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    from wheeltapper.training.detectors.registry import DETECTORS

    spec = DETECTORS.get(getattr(parsed_args, "detector", "") or "")
    return () if spec is None else [f"{name}=" for name in spec.setting_names]
