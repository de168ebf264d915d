"""`wheeltapper demo-sound`: a fan with a microphone; faults of known moment and frequency, alerts that name both."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """
The sound is made by this program: a fan, then a squeal, knocking and hiss. It ends with 1 where one of them was not heard, or not
blamed where it is. Bundles are kept in the output folder, so that the next run is faster. Where $WHEELTAPPER_DATA has the data set MIMII,
the detector is judged on recordings of its fan too.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--speed",
        type=float,
        default=10.0,
        metavar="X",
        help="times real time that the sound is sent with (default: 10)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo-sound"),
        metavar="DIR",
        help="where bundles, logs, sound and plots go (default: out/demo-sound)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a folder that cannot be written, a process that ended."""
    from wheeltapper.schemas.errors import InputError

    if not 0.5 <= arguments.speed <= 1000:
        raise InputError(f"--speed {arguments.speed:g}: expected 0.5 to 1000")
    from wheeltapper.demo_sound import SoundDemo

    return SoundDemo(arguments.speed, arguments.out).run()
