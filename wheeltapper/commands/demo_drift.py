"""`wheeltapper demo-drift`: a machine is serviced in mid-stream; drift, adaptation, shadow, take-over, and a fault found afterwards."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """
The machine is a pump of the simulated station. It ends with 1 where one of these did not happen. The bundle is kept in the
output folder, so that the next run is faster.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--detector", default="pca", metavar="DETECTOR", help="detector to train and adapt (default: pca)"
    )
    parser.add_argument(
        "--rows-per-second",
        type=float,
        default=400.0,
        metavar="N",
        help="how fast the pump sends its rows, of which there is one a minute of event time (default: 400)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo-drift"),
        metavar="DIR",
        help="where bundles, logs, the report and the plot go (default: out/demo-drift)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a folder that cannot be written, a process that ended."""
    from wheeltapper.schemas.errors import InputError

    if not 1 <= arguments.rows_per_second <= 100_000:
        raise InputError(f"--rows-per-second {arguments.rows_per_second:g}: expected 1 to 100000")
    from wheeltapper.demo_drift import DriftDemo

    return DriftDemo(arguments.detector, arguments.rows_per_second, arguments.out).run()
