"""`wheeltapper demo`: broker, training, worker, replay, live alerts, summary and plot."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """
With a data folder (--data, WHEELTAPPER_DATA or ../shared/data) the machine is a real server of SMD, without one a
pump of the simulated station that wheeltapper ships. Bundles are kept in the output folder, so that the next run is faster.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with the data sets' folders (default: WHEELTAPPER_DATA, else ../shared/data, else simulated)",
    )
    parser.add_argument(
        "--entity", metavar="E", help="machine to show (default: machine-1-2 of SMD, pump-1 of the simulated station)"
    )
    parser.add_argument("--simulated", action="store_true", help="the simulated pump station, even with a data folder")
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=["range-bands", "alora"],
        metavar="DETECTOR",
        help="detectors to train and run at the same time (default: range-bands alora)",
    )
    parser.add_argument(
        "--runner", choices=("faust", "direct"), default="faust", help="which runner scores (default: faust)"
    )
    parser.add_argument("--brokers", metavar="HOST:PORT", help="your own Kafka (default: an embedded broker)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="how long the replay takes, seconds; 0: as fast as possible (default: 20)",
    )
    parser.add_argument("--limit", type=int, metavar="ROWS", help="replay only the first ROWS rows (default: all)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        metavar="DIR",
        help="where bundles, logs and the plot go (default: out/demo)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: data that is not there, a folder that cannot be written, no broker."""
    from wheeltapper.demo import Demo

    return Demo(arguments).run()
