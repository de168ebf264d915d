"""`wheeltapper pack`: make a bundle from an ONNX graph: check, calibrate, write."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from wheeltapper.command_line import RawFormatter
from wheeltapper.commands.train import add_bundle_arguments, add_data_arguments, check_rate, print_summary
from wheeltapper.loaded import load_for_training
from wheeltapper.schemas.errors import InputError
from wheeltapper.train_run import write_trained

EPILOG = """
The graph: input 'window' [N, W, C] float32 in raw units, N dynamic, W and C fixed; outputs 'score' [N] (larger is
more anomalous) and 'contribution' [N, C] (0 or more), optionally 'expected' [N, C] and 'embedding' [N, D].
docs/bundle.md shows how to export one. It is calibrated on the last quarter of the entity's train part, so train it on
the other three.

example:
  wheeltapper pack mine.onnx --dataset smd --data ServerMachineDataset --entity machine-1-2 --out bundles/mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="the graph")
    add_data_arguments(parser)
    parser.add_argument("--name", default="custom", help="name of the detector in manifest and alerts")
    parser.add_argument(
        "--lag",
        type=int,
        default=0,
        metavar="ROWS",
        help="rows between the row that a score belongs to and the window's last",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the disturbances in the golden windows"
    )
    add_bundle_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: no such file, a graph that breaks the contract, or data that does not fit it."""
    from wheeltapper.training.fitting.brought_graph import pack_graph, read_model
    from wheeltapper.training.fitting.bundle_writer import check_place
    from wheeltapper.training.fitting.options import TrainOptions

    started = time.perf_counter()
    check_rate(arguments.false_alarms_per_day)
    check_place(arguments.out, force=arguments.force)
    options = TrainOptions(seed=arguments.seed, stride=arguments.stride, threads=arguments.threads)
    if not arguments.name.strip():
        raise InputError("--name is empty, expected a word for manifest and alerts, e.g. mine")
    model = read_model(arguments.model)
    series = load_for_training(arguments.dataset, arguments.data, arguments.entity)
    fitted, scores = pack_graph(
        model, series, options, file=str(arguments.model), detector=arguments.name.strip(), lag=arguments.lag
    )
    bundle = write_trained(arguments, fitted, series, scores)
    print_summary(bundle, fitted, series, scores, time.perf_counter() - started)
    return 0
