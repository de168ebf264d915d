"""The job as a bare confluent-kafka loop with batched scoring: nothing survives a crash. What the clients allow at best."""

from __future__ import annotations

import argparse
import json
import time
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from arrow_rows import rows_of
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

LARGEST_BATCH = 512  # windows in one session.run
TAIL_ROWS = 8192  # rows a machine's buffer takes before its tail moves to the front


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--job", type=Path, required=True, help="job.json written by run.py")
    parser.add_argument("--input", required=True)
    parser.add_argument("--alerts", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--encoding", choices=["json", "arrow"], default="json")
    parser.add_argument("--until-idle", type=float, default=5.0, help="seconds")
    arguments = parser.parse_args()
    loop = Loop(json.loads(arguments.job.read_text()), arguments.encoding)

    consumer = Consumer(
        {
            "bootstrap.servers": arguments.brokers,
            "group.id": arguments.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": arguments.brokers, "enable.idempotence": True})
    consumer.subscribe([arguments.input])
    try:
        last = 0.0
        committed = time.monotonic()
        while not last or time.monotonic() - last < arguments.until_idle:
            # Waits for one message only, then takes what lies ready: consume(n, t) alone would wait for n messages.
            first = consumer.poll(0.1)
            if first is None:
                continue
            last = time.monotonic()
            for machine, alert in loop.handle([first, *consumer.consume(2000, 0)]):
                producer.produce(arguments.alerts, orjson.dumps(alert), machine)
            producer.poll(0)
            if last - committed > 1.0:
                consumer.commit(asynchronous=True)
                committed = last
        producer.flush()
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # all of it is committed already
                raise
    finally:
        consumer.close()


class Machine:
    """Rows of one machine in one buffer; `end` rows are in it, `seen` have been."""

    def __init__(self, window: int, channels: int) -> None:
        self.rows = np.empty((window + TAIL_ROWS, channels), dtype=np.float32)
        self.end = 0
        self.seen = 0
        self.opened_at = 0
        self.below = 0


class Loop:
    def __init__(self, job: dict[str, Any], encoding: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(job["graph"], sess_options=options, providers=["CPUExecutionProvider"])
        self.job = job
        self.names: list[str] = job["channels"]
        self.pick = itemgetter(*self.names)
        self.json = encoding == "json"
        self.machines: dict[str, Machine] = {}

    def handle(self, messages: list[Any]) -> list[tuple[str, dict[str, Any]]]:
        """Rows of a batch in, steps of alerts out."""
        collected: dict[str, tuple[list[Any], list[Any]]] = {}
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
            if self.json:
                row = orjson.loads(message.value())
                times, rows = collected.setdefault(row["machine"], ([], []))
                times.append(row["ts"])
                rows.append(self.pick(row["values"]))
            else:
                times, rows = collected.setdefault(message.key().decode(), ([], []))
                block_times, block_rows = rows_of(message.value(), self.names)
                times.append(block_times)
                rows.append(block_rows)
        windows: list[np.ndarray] = []
        owners: list[tuple[str, int]] = []
        for name, (times, rows) in collected.items():
            if self.json:
                self.add(name, np.array(times), np.array(rows, dtype=np.float32), windows, owners)
            else:
                self.add(name, np.concatenate(times), np.concatenate(rows), windows, owners)
        alerts = []
        for start in range(0, len(windows), LARGEST_BATCH):
            batch = np.stack(windows[start : start + LARGEST_BATCH])
            raw, contribution = self.session.run(["score", "contribution"], {"window": batch})
            for index, (name, moment) in enumerate(owners[start : start + LARGEST_BATCH]):
                alert = self.judge(name, moment, float(raw[index]), contribution[index])
                if alert is not None:
                    alerts.append((name, alert))
        return alerts

    def add(
        self, name: str, times: np.ndarray, rows: np.ndarray, windows: list[np.ndarray], owners: list[tuple[str, int]]
    ) -> None:
        """Rows [n, C] of one machine; the windows that they complete are appended (as views) to `windows`."""
        width, stride = self.job["window"], self.job["stride"]
        machine = self.machines.get(name)
        if machine is None:
            machine = self.machines[name] = Machine(width, len(self.names))
        for start in range(0, len(rows), TAIL_ROWS):
            part = rows[start : start + TAIL_ROWS]
            if machine.end + len(part) > len(machine.rows):
                # A fresh buffer, as earlier windows are views of the old one.
                fresh = np.empty_like(machine.rows)
                kept = min(machine.end, width)
                fresh[:kept] = machine.rows[machine.end - kept : machine.end]
                machine.rows, machine.end = fresh, kept
            machine.rows[machine.end : machine.end + len(part)] = part
            first = machine.seen + 1
            for count in range(max(width, first + (width - first) % stride), machine.seen + len(part) + 1, stride):
                stop = machine.end + count - machine.seen
                windows.append(machine.rows[stop - width : stop])
                owners.append((name, int(times[start + count - machine.seen - 1])))
            machine.end += len(part)
            machine.seen += len(part)

    def judge(self, name: str, moment: int, raw: float, contribution: np.ndarray) -> dict[str, Any] | None:
        """Move the rule on by one score; the alert's step if there is one."""
        job, machine = self.job, self.machines[name]
        score = max((raw - job["center"]) / (job["alarm_level"] - job["center"]), 0.0)
        if not machine.opened_at:
            if score < job["raise_level"]:
                return None
            machine.opened_at, machine.below, event = moment, 0, "opened"
            opened_at = moment
        else:
            machine.below = machine.below + 1 if score < job["raise_level"] * job["clear_ratio"] else 0
            if machine.below < job["clear_duration"]:
                return None
            opened_at, machine.opened_at, event = machine.opened_at, 0, "cleared"
        shares = contribution / contribution.sum()
        worst = np.argsort(-shares)[:5]
        return {
            "machine": name,
            "event": event,
            "opened_at": opened_at,
            "time": moment,
            "score": score,
            "channels": [{"channel": self.names[i], "share": float(shares[i])} for i in worst],
        }


if __name__ == "__main__":
    main()
