"""CPU-seconds that a worker needs until it is ready, for each runner, and those of the commonest commands.

    python tests/bench/start.py                          this checkout; about a minute
    python tests/bench/start.py --beside ../before       another checkout too, in turns: before and after in one run
    python tests/bench/start.py --only worker            the workers alone; or: --only alerts

User and system time of all threads of the process: of a command from its start to its exit, of a worker from its start until /readyz
says yes (asked ten times a second), with the bundle that `train range-bands` makes by default. Medians; needs the embedded broker.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes import THREAD_LIMITS

from wheeltapper.deploy.broker import EmbeddedBroker

CHECKOUT = Path(__file__).resolve().parents[2]
RUNNERS = ("direct", "faust")
READY_TIMEOUT_S = 120.0
ASK_EVERY_S = 0.1

DATA = "--dataset simulated --entity pump-1"

# Words of a command; BROKER, BUNDLE and OUT stand for what a run has made.
COMMANDS = (
    "--help",
    "worker --help",
    "train --help",
    "bundle inspect BUNDLE",
    "config show",
    "topics list --brokers BROKER",
    "alerts --brokers BROKER",
    "scores --brokers BROKER",
    "label --list --brokers BROKER",
    "models list --brokers BROKER",
    "replay simulated --entity pump-1 --limit 10 --speed 0 --brokers BROKER",
    f"train range-bands {DATA} --out OUT",
    f"train pca {DATA} --out OUT",
    f"evaluate BUNDLE {DATA}",
)


Way = Callable[[Path], float]
"""Runs once in the checkout given; the CPU-seconds that it took."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout, measured in turns with this one")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each, after one that counts for nobody")
    parser.add_argument("--only", default="", metavar="TEXT", help="what has this text in its name (default: all)")
    arguments = parser.parse_args()
    checkouts = [CHECKOUT] if arguments.beside is None else [arguments.beside.resolve(), CHECKOUT]
    with tempfile.TemporaryDirectory(prefix="wheeltapper-start-") as scratch, EmbeddedBroker() as broker:
        folder, brokers = Path(scratch), broker.client_address
        bundle = folder / "bundle"
        for words in (f"train range-bands {DATA} --out {bundle}", f"topics create --brokers {brokers}"):
            _run_command(CHECKOUT, words.split(), folder)
        ways: dict[str, Way] = {
            f"worker --runner {runner}": partial(
                _run_worker, runner=runner, brokers=brokers, bundle=bundle, folder=folder
            )
            for runner in RUNNERS
        }
        for words in COMMANDS:
            names = {"BROKER": brokers, "BUNDLE": str(bundle), "OUT": str(folder / "trained")}
            ways[words] = partial(_run_command, words=[names.get(word, word) for word in words.split()], folder=folder)
        ways = {name: way for name, way in ways.items() if arguments.only in name}
        _measure(ways, checkouts, arguments.repetitions)
    return 0


def _measure(ways: dict[str, Way], checkouts: list[Path], repetitions: int) -> None:
    """Prints a line for each way: the median of each checkout, and the least and most of this one."""
    print("CPU-seconds; medians of", repetitions, "runs" + (" in turns: before, after" if len(checkouts) > 1 else ""))
    for name, way in ways.items():
        taken: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
        for repetition in range(repetitions + 1):
            for checkout in checkouts:
                seconds = way(checkout)
                if repetition:  # the first writes Python's byte code
                    taken[checkout].append(seconds)
        medians = "  ".join(f"{statistics.median(taken[checkout]):6.2f}" for checkout in checkouts)
        print(f"{medians}  ({min(taken[CHECKOUT]):.2f} to {max(taken[CHECKOUT]):.2f})  {name}", flush=True)


def _start(checkout: Path, words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    # Byte code is kept, as pip does when it installs: compiling takes longer than all the rest.
    left_out = ("WHEELTAPPER_", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "wheeltapper", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited, **THREAD_LIMITS, "PYTHONPATH": str(checkout)},
        )


def _run_command(checkout: Path, words: list[str], folder: Path) -> float:
    process = _start(checkout, words, folder)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}: {(folder / 'output.txt').read_text()}")
    return usage.ru_utime + usage.ru_stime


def _run_worker(checkout: Path, *, runner: str, brokers: str, bundle: Path, folder: Path) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = ["worker", "--runner", runner, "--brokers", brokers, "--bundle", str(bundle), "--http-port", str(port)]
    process = _start(checkout, [*words, "--group", f"start-{time.monotonic_ns()}"], folder)
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(words)}: is not ready: {(folder / 'output.txt').read_text()}")
            time.sleep(ASK_EVERY_S)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")  # own, and of children that ended
    finally:
        process.kill()
        process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
