"""From the moment a row is produced to the moment the alert that it causes can be read, at a steady rate.

Three processes: a producer notes the wall clock just before it produces a row; the contender scores; an observer reads the alerts
topic (read_committed) and notes the wall clock. An alert's `time` is the event time of the row that caused the step, so what
passed from sending that row to reading the alert is the latency, both clients' and the broker's parts included. Event times are
evenly spaced, whatever the producer was kept from: gaps and durations of alerts would else not be those of the reference. Machines
are disturbed in turns, so that hundreds of alerts open and clear. The producer starts slowly, until the contender has joined its
group; only alerts of rows after that count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, TopicPartition
from contenders import Contender, Job, Run
from kafka_node import create_topics, new_producer
from messages import decimals
from processes import MeasuredProcess
from reference import reference_events
from workload import CHANNEL_NAMES, INTERVAL_US, PARTITIONS, Detector, Workload, make_workload

JOIN_S = 15.0  # a slow start while the contender starts and joins: Faust takes up to 8 s on a busy machine
JOIN_RATE = 100.0  # rows per second meanwhile
SETTLE_S = 4.0  # at the full rate before alerts count
FAULT_EVERY_S, LEAST_FAULT_ROWS = 2.0, 250  # of each machine; its windows must be quiet again in between
IDLE_S = 6.0
MOST_PREPARING_S = 240.0


def measure_latency(
    contender: Contender,
    detector: Detector,
    *,
    brokers: str,
    job: Job,
    folder: Path,
    machines: int,
    rate: float,
    seconds: float,
    label: str = "",
) -> dict[str, Any]:
    """p50, p99 and maximum in milliseconds, over every opened and cleared step; or why there are none.

    Args:
        label: names this run among others of the same contender.
    """
    label = label or contender.name
    name = f"bench-latency-{label}"
    run = Run(name, brokers, f"{name}.rows", folder / "run", job, IDLE_S)
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir()
    side = folder / "latency"
    shutil.rmtree(side, ignore_errors=True)
    for part in ("producer", "observer"):
        (side / part).mkdir(parents=True)
    create_topics(brokers, [run.topic])
    command = contender.prepare(run)
    seen, stamps = side / "observer" / "seen.json", side / "producer" / "sent.npz"
    me: list[str | Path] = [sys.executable, Path(__file__).resolve()]
    observe = [*me, "observe", "--brokers", brokers, "--topic", run.alerts_topic, "--out", seen]
    produce = [*me, "produce", "--brokers", brokers, "--topic", run.topic, "--out", stamps, "--machines", str(machines)]
    produce += ["--rate", str(rate), "--seconds", str(seconds)]
    try:
        with (
            contextlib.ExitStack() as stack,
            MeasuredProcess(observe, folder=side / "observer") as observer,
            MeasuredProcess(produce, folder=side / "producer") as producer,
        ):
            # Making the rows takes longer than a contender waits for the first of them.
            _await(stamps.with_suffix(".ready"), producer)
            process = stack.enter_context(MeasuredProcess(command, folder=run.folder))
            busy = _CpuBetween(process, stamps)
            producer.wait(MOST_PREPARING_S + JOIN_S + SETTLE_S + seconds + 120)
            busy.join()
            usage = process.wait(JOIN_S + SETTLE_S + seconds + 240)
            time.sleep(0.5)
            observer.end()
            observer.wait(MOST_PREPARING_S + JOIN_S + SETTLE_S + seconds + 300)
    except RuntimeError as error:
        print(f"  latency {label}: {error}", flush=True)
        return {"failed": str(error)}
    received = [tuple(event) for event in json.loads(seen.read_text())]
    with np.load(stamps) as noted:
        result = _summary(
            received, noted["sent"], noted["times"], _workload(machines, rate, seconds), detector, rate, seconds
        )
    result["cpu_s"] = round(usage.cpu_s, 2)
    if busy.cpu_s is not None:
        result["cpu_us_a_row"] = round(busy.cpu_s * 1e6 / (int(seconds * rate / machines) * machines), 1)
    print(f"  latency {label}: {result}", flush=True)
    return result


def _await(mark: Path, producer: MeasuredProcess) -> None:
    """Until the producer has made its rows.

    Raises:
        RuntimeError: it ended, or did not in time.
    """
    deadline = time.monotonic() + MOST_PREPARING_S
    while not mark.exists():
        if producer.cpu_s_so_far() is None or time.monotonic() > deadline:
            raise RuntimeError("the producer has not made its rows; see process.log in its folder")
        time.sleep(0.05)


class _CpuBetween(threading.Thread):
    """What a process takes from the moment at which the rows begin to count to the last of them; the producer marks both.

    Attributes:
        cpu_s: None where it is not known.
    """

    def __init__(self, process: MeasuredProcess, stamps: Path) -> None:
        super().__init__(daemon=True)
        self.cpu_s: float | None = None
        self._process, self._marks = process, [stamps.with_suffix(".begin"), stamps.with_suffix(".end")]
        self.start()

    def run(self) -> None:
        found = []
        for mark in self._marks:
            deadline = time.monotonic() + 600
            while not mark.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            found.append(self._process.cpu_s_so_far())
        if None not in found:
            self.cpu_s = found[1] - found[0]  # type: ignore[operator]


def _rows(rate: float, seconds: float, machines: int) -> tuple[int, int]:
    """Rows per machine while joining, and after."""
    return int(JOIN_S * JOIN_RATE / machines), int((SETTLE_S + seconds) * rate / machines)


def _workload(machines: int, rate: float, seconds: float) -> Workload:
    """The rows, with their index as event time."""
    count = sum(_rows(rate, seconds, machines))
    fault_every = max(LEAST_FAULT_ROWS, int(FAULT_EVERY_S * rate / machines))
    workload = make_workload(machines, count, fault_every=fault_every)
    return replace(workload, ts=np.arange(count, dtype=np.int64))


def _summary(
    received: list[tuple[Any, ...]],
    sent: np.ndarray,
    times: np.ndarray,
    workload: Workload,
    detector: Detector,
    rate: float,
    seconds: float,
) -> dict[str, Any]:
    """
    Args:
        received: machine, event, opened_at, time, wall clock; times in microseconds.
        sent: [M, T] int64, wall clock at which every row was sent; times: [T] int64, the rows' event times.
    """
    index_of = {machine: index for index, machine in enumerate(workload.machines)}
    expected = {
        (machine, event, int(times[opened]), int(times[moment]))
        for machine, event, opened, moment in reference_events(workload, detector)
    }
    begin = int(sent[:, -int(seconds * rate / len(workload.machines))].max())
    found = {tuple(event[:4]) for event in received}
    last = len(times) - 1  # of an alert that the reference does not know
    caused = [sent[index_of[event[0]], min(int(np.searchsorted(times, event[3])), last)] for event in received]
    delays_ms = np.array([(event[4] - row) / 1000 for event, row in zip(received, caused, strict=True) if row >= begin])
    span_s = (sent[:, -1].max() - begin) / 1e6
    result: dict[str, Any] = {"alert_steps": len(delays_ms), "rows_per_s": round(float((sent >= begin).sum()) / span_s)}
    if len(delays_ms):
        p50, p90, p99 = np.percentile(delays_ms, [50, 90, 99])
        result |= {
            "p50_ms": round(float(p50), 1),
            "p90_ms": round(float(p90), 1),
            "p99_ms": round(float(p99), 1),
            "max_ms": round(float(delays_ms.max()), 1),
        }
    wrong = len(expected ^ found)
    result["alerts"] = (
        "as the reference" if not wrong else f"{len(expected - found)} missing, {len(found - expected)} not expected"
    )
    return result


def produce(brokers: str, topic: str, out: Path, machines: int, rate: float, seconds: float) -> None:
    """Sends the workload on schedule; writes when every row was sent [M, T], and the rows' event times [T]."""
    joining, count = _rows(rate, seconds, machines)
    workload = _workload(machines, rate, seconds)
    rows = decimals(workload.values)
    keys = [machine.encode() for machine in workload.machines]
    values = [
        [
            orjson.dumps(dict(zip(CHANNEL_NAMES, rows[index, step].tolist(), strict=True)))
            for step in range(joining + count)
        ]
        for index in range(machines)
    ]
    sent = np.zeros((machines, joining + count), dtype=np.int64)
    times = time.time_ns() // 1000 + INTERVAL_US * np.arange(joining + count, dtype=np.int64)
    stamps = times.tolist()
    client = new_producer(brokers, **{"linger.ms": 1})
    total = machines * (joining + count)
    begins = total - int(seconds * rate / machines) * machines
    out.with_suffix(".ready").touch()
    start = time.perf_counter()
    for number in range(total):
        if number == begins:
            out.with_suffix(".begin").touch()
        step, index = divmod(number, machines)
        early = min(number, machines * joining)
        due = start + early / JOIN_RATE + (number - early) / rate
        wait = due - time.perf_counter()
        if wait > 0:
            client.poll(0)
            time.sleep(max(wait, 0.0005))
        sent[index, step] = time.time_ns() // 1000
        row = b'{"machine":"%s","ts":%d,"values":%s}' % (keys[index], stamps[step], values[index][step])
        client.produce(topic, row, keys[index])
        if number % 200 == 0:
            client.poll(0)
    client.flush(60)
    out.with_suffix(".end").touch()
    np.savez(out, sent=sent, times=times)


def observe(brokers: str, topic: str, out: Path) -> None:
    """Notes when each step of an alert can be read, until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-observer",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    events = []
    while not ended:
        message = consumer.poll(0.1)
        now = time.time_ns() // 1000
        if message is None or message.error() is not None:
            continue
        alert = orjson.loads(message.value())
        if alert["event"] in ("opened", "cleared"):
            events.append((alert["machine"], alert["event"], alert["opened_at"], alert["time"], now))
    consumer.close()
    out.write_text(json.dumps(events))


def main() -> None:
    parser = argparse.ArgumentParser(description="one part of the latency measurement; run.py starts them")
    parser.add_argument("part", choices=["produce", "observe"])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5000.0, help="rows per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    if arguments.part == "produce":
        produce(
            arguments.brokers, arguments.topic, arguments.out, arguments.machines, arguments.rate, arguments.seconds
        )
    else:
        observe(arguments.brokers, arguments.topic, arguments.out)


if __name__ == "__main__":
    main()
