"""`wheeltapper demo-drift`: a machine changes for good; drift, adaptation, take-over, and a fault found afterwards."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """
A pump of the simulated station is serviced in mid-stream: three sensors are replaced and read differently from then on. One sees
the drift, the alarm that an operator accepts as the new normal where one stays open, the adaptation and what its gate says, the
new bundle in shadow and in service, and a worn bearing that it finds afterwards. Exit code 1 where one of these did not happen.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--detector", default="range-bands", metavar="D", help="detector to train and adapt (default: range-bands)"
    )
    parser.add_argument(
        "--runner", choices=("faust", "direct"), default="direct", help="which runner scores (default: direct)"
    )
    parser.add_argument(
        "--rows-per-second",
        type=float,
        default=300.0,
        metavar="N",
        help="how fast the machine's minutes pass (default: 300)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo-drift"),
        metavar="DIR",
        help="where bundles, logs, the report and the plot go (default: out/demo-drift)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a folder that cannot be written, no such detector, a process that ended."""
    from wheeltapper.demo_drift import DriftDemo

    return DriftDemo(arguments).run()
