"""`make bench`: how fast, against whom, on a real Kafka. Prints a table; writes out/bench.json and out/bench.md.

    python tests/bench/run.py                    everything; about 35 minutes (an estimate)
    python tests/bench/run.py --jobs default     range bands as `train` makes them; 7 minutes (an estimate)
    python tests/bench/run.py --jobs live        CPU and latency at 500, 5,000 and 20,000 rows/s; 5 minutes (an estimate)
    python tests/bench/run.py --quick            a smoke run; under 2 minutes
    python tests/bench/run.py --sound-only       streams of sound per core; a minute, no Kafka
    python tests/bench/run.py --only quix,direct --rows 300000 --repetitions 5 --latency-seconds 0

See docs/benchmark.md for the job, the method and what the numbers mean.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import report
from contenders import CONTENDERS, ensure_quix_environment, write_job
from default_detector import measure_default
from kafka_node import REPOSITORY, create_topics, fill, find_kafka, running_kafka
from latency import measure_latency
from live import measure_live
from messages import arrow_blocks, json_rows
from reference import reference_events
from scoring import measure_scoring
from sound import measure_sound
from throughput import Filled, measure
from workload import Detector, Workload, fit_detector, make_workload

# An Arrow run is many times faster than one of rows: it gets more rows, so that its CPU time stays measurable.
ARROW_FACTOR = 4
ROWS_PER_BLOCK = 64
FAULT_EVERY_ROWS = 1_500
JOBS = ("throughput", "default", "live", "scoring", "sound", "latency")
LATENCY_CONTENDERS = ("direct", "faust", "quix", "bare")


def main() -> int:
    arguments = _arguments()
    # A terminated bench leaves through its `finally` blocks: no broker and no contender stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    names = list(arguments.only or [name for name in CONTENDERS if name != "direct-scores"])
    if "throughput" not in arguments.jobs:
        names = []
    detector = fit_detector()
    outcome: dict[str, Any] = {"command": "python " + " ".join(sys.argv), "machine": _machine()}
    if arguments.sound:
        print("sound: log-mel against librosa, streams per core", flush=True)
        few = {"seconds": 30, "repetitions": 3} if arguments.quick else {}
        outcome["sound"] = measure_sound(**few)
    if arguments.scoring:
        print("scoring: a bare loop, and the worker's scorer", flush=True)
        outcome["scoring"] = measure_scoring(detector, repetitions=5 if arguments.quick else 25)
    needs_kafka = bool({"throughput", "default", "live", "latency"} & {*arguments.jobs})
    kafka = find_kafka() if needs_kafka else None
    if not needs_kafka:
        names = []
    elif kafka is None:
        print(
            "bench: skipped what needs a real Apache Kafka: no start script; name one in WHEELTAPPER_TEST_KAFKA "
            "(called as SCRIPT start DIR PORT and SCRIPT kill DIR)",
            flush=True,
        )
        names = []
    if kafka is not None and any(name.startswith("quix") for name in [*names, *arguments.latency]):
        reason = ensure_quix_environment()
        if reason is not None:
            print(f"bench: quix is left out: {reason}", flush=True)
            names = [name for name in names if not name.startswith("quix")]
            arguments.latency = [name for name in arguments.latency if not name.startswith("quix")]
    if kafka is not None:
        outcome |= _with_kafka(kafka, names, detector, arguments)
    report.add_ratios(outcome)
    text = report.markdown(outcome)
    print("\n" + text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bench.json").write_text(json.dumps(outcome, indent=2) + "\n")
    (arguments.out / "bench.md").write_text(text)
    print(f"written: {arguments.out / 'bench.json'}, {arguments.out / 'bench.md'}")
    if arguments.page is not None:
        arguments.page.write_text(report.placed(arguments.page.read_text(), outcome))
        print(f"written: the tables of {', '.join(report.tables(outcome))} in {arguments.page}")
    # A fast contender with wrong alerts has measured nothing; a missed promise is for the reader of the table to judge.
    entries = [entry for part in ("throughput", "latency", "live") for entry in outcome.get(part, {}).values()]
    entries += [entry for runners in outcome.get("default", {}).values() for entry in runners.values()]
    return 0 if all(entry.get("alerts") in ("as the reference", "as the first run") for entry in entries) else 1


def _with_kafka(kafka: Path, names: list[str], detector: Detector, arguments: argparse.Namespace) -> dict[str, Any]:
    """Throughput and latency on a broker of our own."""
    outcome: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="wheeltapper-bench-") as scratch:
        folder = Path(scratch)
        with running_kafka(kafka, folder / "kafka") as brokers:
            job = write_job(detector, folder / "job")
            if names and arguments.repetitions:
                encodings = sorted({CONTENDERS[name].encoding for name in names})
                filled = {e: _fill(brokers, e, detector, arguments, full=True) for e in encodings}
                idle = {e: _fill(brokers, e, detector, arguments, full=False) for e in encodings}
                results = measure(
                    names,
                    filled,
                    idle,
                    brokers=brokers,
                    job=job,
                    folder=folder,
                    repetitions=arguments.repetitions,
                    until_idle_s=arguments.until_idle,
                )
                outcome["throughput"] = {name: result.summary() for name, result in results.items()}
            if "default" in arguments.jobs:
                print("default: range bands as `train` makes them", flush=True)
                outcome["default"] = measure_default(
                    brokers,
                    folder,
                    repetitions=min(arguments.repetitions, 2),
                    until_idle_s=min(arguments.until_idle, 3.0),
                    quick=arguments.quick,
                )
            if "live" in arguments.jobs:
                print("live: steady rates", flush=True)
                outcome["live"] = measure_live(
                    detector,
                    brokers=brokers,
                    job=job,
                    folder=folder,
                    seconds=6.0 if arguments.quick else 20.0,
                )
            if arguments.latency_seconds and arguments.latency:
                outcome["latency"] = {
                    name: measure_latency(
                        CONTENDERS[name],
                        detector,
                        brokers=brokers,
                        job=job,
                        folder=folder,
                        machines=arguments.machines,
                        rate=arguments.rate,
                        seconds=arguments.latency_seconds,
                    )
                    for name in arguments.latency
                }
    return outcome


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=300_000, help="rows in a one-row run; Arrow runs take four times as many"
    )
    parser.add_argument("--machines", type=int, default=20, help="machines, on 4 partitions")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each contender; 0: no throughput")
    parser.add_argument("--only", type=_words, help=f"contenders, separated by commas, of {', '.join(CONTENDERS)}")
    parser.add_argument(
        "--latency", type=_words, default=",".join(LATENCY_CONTENDERS), help="contenders of the latency part"
    )
    parser.add_argument("--latency-seconds", type=float, default=60.0, help="measured time of each; 0: no latency part")
    parser.add_argument("--rate", type=float, default=5_000.0, help="rows per second of the latency part")
    parser.add_argument(
        "--until-idle", type=float, default=5.0, help="seconds without rows after which a contender ends"
    )
    parser.add_argument("--no-scoring", dest="scoring", action="store_false", help="leave out the scoring part")
    parser.add_argument("--no-sound", dest="sound", action="store_false", help="leave out the sound part")
    parser.add_argument("--sound-only", action="store_true", help="measure the sound part alone")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: few rows, one repetition; its numbers mean little"
    )
    parser.add_argument(
        "--jobs",
        type=_words,
        help=f"what to measure, separated by commas, of {', '.join(JOBS)}; without it all of them",
    )
    parser.add_argument(
        "--page", type=Path, help="a page whose tables are written anew, between its marks: docs/benchmark.md"
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out", help="folder of bench.json and bench.md")
    arguments = parser.parse_args()
    if arguments.jobs is None:
        arguments.jobs = [job for job in JOBS if not arguments.quick or job not in ("default", "live")]
    if arguments.sound_only:
        arguments.jobs = ["sound"]
    strange = sorted({*arguments.jobs} - {*JOBS})
    if strange:
        parser.error(f"unknown jobs {strange}; there are {', '.join(JOBS)}")
    arguments.scoring = arguments.scoring and "scoring" in arguments.jobs
    arguments.sound = "sound" in arguments.jobs and (arguments.sound or arguments.sound_only)
    if "latency" not in arguments.jobs:
        arguments.latency_seconds, arguments.latency = 0.0, []
    if arguments.quick:
        arguments.rows, arguments.repetitions = min(arguments.rows, 20_000), min(arguments.repetitions, 1)
        arguments.latency_seconds, arguments.until_idle = min(arguments.latency_seconds, 6.0), 2.0
        arguments.only = arguments.only or ["quix", "direct", "faust", "direct-arrow"]
        arguments.latency = arguments.latency[:1]
    unknown = sorted({*(arguments.only or ()), *arguments.latency} - set(CONTENDERS))
    if unknown:
        parser.error(f"unknown contenders {unknown}; there are {sorted(CONTENDERS)}")
    return arguments


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _fill(brokers: str, encoding: str, detector: Detector, arguments: argparse.Namespace, *, full: bool) -> Filled:
    """A topic of the workload; not `full`: one row a machine, for what starting costs."""
    factor = ARROW_FACTOR if encoding == "arrow" else 1
    rows_per_machine = arguments.rows * factor // arguments.machines if full else 1
    topic = f"bench.rows.{encoding}.{'full' if full else 'idle'}"
    started = time.monotonic()
    workload: Workload = make_workload(arguments.machines, rows_per_machine, fault_every=FAULT_EVERY_ROWS)
    events = reference_events(workload, detector) if full else set()
    create_topics(brokers, [topic])
    if encoding == "arrow":
        messages = arrow_blocks(workload, rows_per_machine, ROWS_PER_BLOCK)
    else:
        messages = json_rows(workload, rows_per_machine)
    count = fill(brokers, topic, messages)
    rows = rows_per_machine * arguments.machines
    print(
        f"{topic}: {rows:,} rows in {count:,} messages, {len(events)} steps of alerts, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return Filled(topic, rows, events)


def _machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("confluent-kafka", "faust-streaming", "aiokafka", "numpy", "orjson", "pyarrow", "wheeltapper")
    versions = {name: metadata.version(name) for name in packages}
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            versions["onnxruntime"] = metadata.version(name)
            break
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "versions": {**versions, "quixstreams": "3.28.1"},
        "load_before": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
