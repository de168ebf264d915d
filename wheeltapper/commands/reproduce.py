"""`wheeltapper reproduce`: published numbers of a system next to ours, by the same protocol."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from wheeltapper.command_line import RawFormatter

# System -> the module with `reproduce(options)`; imported on use.
SYSTEMS = {
    "alora": "wheeltapper.training.lab.reproduce.alora",
    "vae-lstm": "wheeltapper.training.lab.reproduce.vae_lstm",
    "rl-vae": "wheeltapper.training.lab.reproduce.rl_vae",
    "da": "wheeltapper.training.lab.reproduce.domain_adaptation",
    "astra": "wheeltapper.training.lab.reproduce.astra",
}

EPILOG = """
Published numbers are shown next to ours under the same protocol (called oracle if it chooses a threshold with test labels),
with the value that random scores reach under it, and next to ours without test labels. OUT/SYSTEM.html
and OUT/SYSTEM.md are the reports.

example:
  wheeltapper reproduce vae-lstm --data data --out out/reproduce --budget 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument("system", choices=tuple(SYSTEMS), help="which published system")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="ROOT",
        help="folder of data set folders: smd/, nab/ and the like (default: $WHEELTAPPER_DATA)",
    )
    parser.add_argument("--out", type=Path, default=Path("out/reproduce"), metavar="DIR", help="folder for the report")
    parser.add_argument("--seeds", nargs="+", default=["1"], metavar="N", help="how many, or a list such as 0,1,2")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="limit for one training (default: none)")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: wrong options, or data that the system needs is not there."""
    import importlib

    from rich.console import Console

    from wheeltapper.schemas.errors import InputError
    from wheeltapper.training.lab.compare.contenders import parse_seeds
    from wheeltapper.training.lab.reproduce import ReproduceOptions
    from wheeltapper.training.lab.reproduce.render import print_reproduction, write_reproduction

    if arguments.budget is not None and not 0 < arguments.budget < float("inf"):
        raise InputError(f"--budget is {arguments.budget:g} minutes, expected above 0")
    if arguments.data is not None and not arguments.data.is_dir():
        raise InputError(f"--data {arguments.data}: no such folder; give the one that holds smd/, nab/ and the like")
    if arguments.out.is_file():
        raise InputError(f"--out {arguments.out}: is a file; give a folder")
    options = ReproduceOptions(
        data=arguments.data,
        out=arguments.out,
        seeds=parse_seeds(arguments.seeds),
        budget_s=None if arguments.budget is None else 60 * arguments.budget,
        progress=True,
    )
    found = importlib.import_module(SYSTEMS[arguments.system]).reproduce(options)
    print_reproduction(found, Console(highlight=False, soft_wrap=False))
    words = ["wheeltapper", "reproduce", arguments.system, "--seeds", *arguments.seeds]
    if arguments.budget is not None:
        words += ["--budget", f"{arguments.budget:g}"]
    html, markdown = write_reproduction(found, arguments.out, shlex.join(words))
    print(f"report       {html}, {markdown}")
    return 0
