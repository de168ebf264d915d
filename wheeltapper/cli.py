"""`wheeltapper COMMAND`: parses the command line and keeps the promise about exit codes.

0 done, 2 wrong use or input (one line, never a traceback), 1 a fault of ours.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from wheeltapper import __version__
from wheeltapper.command_line import HelpFormatter, Parser, complain
from wheeltapper.schemas.errors import InputError

# Command -> one line for `wheeltapper --help`. The module of the same name in wheeltapper.commands does the work.
COMMANDS = {
    "demo": "run a broker, training, a worker and live alerts on this machine, with a summary and a plot",
    "demo-drift": "service a simulated machine in mid-stream: drift, adaptation, shadow, take-over, a fault found afterwards",
    "demo-sound": "a fan with a microphone: faults of known moment and frequency, alerts that name both, and their clip",
    "broker": "run the embedded Kafka-compatible broker in the foreground",
    "topics": "create or list the topics",
    "datasets": "list which data sets are found, broken or missing, and where they are offered",
    "train": "fit a detector on an entity's train part and write a bundle",
    "pack": "check and calibrate an ONNX graph of your own and write a bundle",
    "bundle": "show, compare, check and sign bundles",
    "evaluate": "judge a bundle on an entity's test part",
    "compare": "run every detector on every entity of data sets and write tables, figures and a report",
    "reproduce": "reproduce the published table of a system and explain the differences",
    "shifts": "run streams with a known change or lasting fault under several strategies and report what each makes of them",
    "backtest": "run the live pipeline over a test part without Kafka; alerts as JSON lines",
    "what-if": "show the alarms that would have been under other threshold settings",
    "replay": "send an entity's test part to Kafka as live rows",
    "record": "send a live microphone, or PCM from another program, to Kafka",
    "worker": "score machines from Kafka, raise alerts and localizations",
    "adapt-worker": "adapt the bundles of machines that have changed, and take them into service",
    "alerts": "show alerts from Kafka",
    "clip": "cut the sound of an alert out of Kafka, as WAV and as a spectrogram",
    "alarm": "tell the workers what an alarm was: accept, reset, confirm, reject, maintenance",
    "models": "show and change which bundles serve which machines while workers run",
    "adaptations": "show how bundles were adapted, and what became of them",
    "label": "say what a window or an alert was: windows that workers are uncertain about, alerts that were false or right",
    "scores": "show scores from Kafka",
    "dead-letters": "show messages that could not be used, or send them again",
    "config": "check the settings, or show those that are in force and where each comes from",
    "completion": "print what makes the shell complete commands, options and names: bash, zsh, fish",
}

# The variable by which a shell asks for completions (argcomplete's).
COMPLETING = "_ARGCOMPLETE"


# What a command needs beside the core, by pip extra; others that lack a library need 'training'.
EXTRAS = {
    "compare": "lab",
    "reproduce": "lab",
    "shifts": "lab",
    "record": "record",
    "clip": "training",
    "demo": "training,broker",
    "demo-drift": "training,broker",
    "demo-sound": "training,broker",
    "broker": "broker",
}


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The whole parser; only `command`'s own arguments are filled in, so that others cost no imports."""
    parser = Parser(
        prog="wheeltapper",
        description="Streaming anomaly detection for machines on Kafka.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wheeltapper {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        child = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=HelpFormatter,
            conflict_handler="resolve",  # a command may have a --help of its own
        )
        if name == command:
            command_module(name).add_arguments(child)
    return parser


def command_module(name: str) -> ModuleType:
    """The module that does a command's work."""
    return importlib.import_module(f"wheeltapper.commands.{name.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    words = list(sys.argv[1:] if argv is None else argv)
    if (
        argv is None
    ):  # the process is ours: what is loaded stays, and looking for cycles in it took a tenth of every start
        gc.set_threshold(100_000, 50, 1_000)
        # pydantic would look through every package that is installed for plugins of its own.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        return _run(words)
    except SystemExit as end:
        # rich turns the closed pipe of `| head` into an exit with code 1.
        if not _is_of_closed_pipe(end):
            raise
        return 0
    except BrokenPipeError:
        return 0
    finally:
        _let_go_of_closed_pipes()


def _run(words: Sequence[str]) -> int:
    if COMPLETING in os.environ:
        from wheeltapper.completion import complete

        complete(build_parser, COMMANDS)  # ends the process
    command = next((word for word in words if not word.startswith("-")), None)
    if command not in COMMANDS:
        command = None
    try:
        arguments = build_parser(command).parse_args(words)
        return int(command_module(arguments.command).run(arguments))
    except InputError as error:
        complain(f"wheeltapper: {error}")
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "wheeltapper":
            raise  # a fault of ours
        extra = EXTRAS.get(command or "", "training")
        complain(
            f"wheeltapper: {command} needs {error.name}, which is not installed: pip install 'wheeltapper[{extra}]'"
        )
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise  # the reader of our output went away: not a fault
    except Exception:
        complain(traceback.format_exc().rstrip())
        complain("wheeltapper: this is a fault of wheeltapper, not of your input; please report the lines above")
        return 1


def _is_of_closed_pipe(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__context__
    return False


def _let_go_of_closed_pipes() -> None:
    """What is still to be written goes out, or nowhere: at its end Python would find the pipe closed, and call that a fault."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed already
            pass


if __name__ == "__main__":
    sys.exit(main())
