"""`wheeltapper train DETECTOR --help`: the settings of one detector, from its spec."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from wheeltapper.models.settings import Setting, text_of
from wheeltapper.training.detectors.registry import DETECTORS
from wheeltapper.training.fitting.spec import DetectorSpec

if TYPE_CHECKING:
    from rich.console import Console


class DetectorHelp(argparse.Action):
    """In place of argparse's own help: shows a detector's settings where one was named before it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(
            option_strings,
            dest=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
            nargs=0,
            help="show this text, or after DETECTOR its settings, and end",
        )

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any, **__: Any) -> None:
        spec = DETECTORS.get(getattr(namespace, "detector", None) or "")
        if spec is None:
            parser.print_help()
        else:
            print(parser.format_usage())
            show_settings(spec)
        parser.exit()


def show_settings(spec: DetectorSpec[Any], console: Console | None = None) -> None:
    """Print what `--set` takes for a detector: type and range, default, meaning."""
    from rich.console import Console

    console = console or Console(highlight=False)
    console.print(f"{spec.name}: {spec.summary}", markup=False)
    console.print(f"needs wheeltapper[{spec.extra}]; trains in {spec.trains_in}", markup=False)
    if spec.preset_names:
        console.print("\npresets, --set preset=NAME:", markup=False)
        for name in spec.preset_names:
            told = spec.presets[name].description
            console.print(f"  {name}: {told}", markup=False)
    defaults = spec.default
    _table(console, "settings, --set NAME=VALUE", spec.own_settings, defaults.settings)
    if spec.trainer_settings:
        _table(console, "training, --set NAME=VALUE", spec.trainer_settings, defaults.trainer)


def _table(console: Console, title: str, settings: Iterable[Setting], defaults: object) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, title_justify="left", title=f"\n{title}")
    table.add_column("name", no_wrap=True)
    table.add_column("default", no_wrap=True)
    table.add_column("type and range")
    table.add_column("meaning")
    for setting in settings:
        default = text_of(getattr(defaults, setting.name))
        table.add_row(setting.name, default, setting.expected, setting.description.replace("`", ""))
    console.print(table)
