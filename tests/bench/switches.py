"""How much later scores come while bundles are switched: p50, p99 and maximum with switches beside those without.

    python tests/bench/switches.py --seconds 30 --switches 20

Rows of 50 machines are stamped with the clock when they are produced (their event time), a worker on the embedded broker scores
them, and a reader of `scores` notes when each can be read. Spans with and without switches take turns, so that a load from
elsewhere meets both alike. Every row is counted: a score that is missing or of two bundles is a failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.integration.kafka_tools import Broker  # noqa: E402
from tests.integration.worker_tools import free_port, make_rig, metrics, wait_until  # noqa: E402
from tests.unit.stream.bundles import Recipe, write_bundle  # noqa: E402
from wheeltapper.deploy.broker import EmbeddedBroker  # noqa: E402
from wheeltapper.schemas.adaptation import ActiveModel  # noqa: E402
from wheeltapper.schemas.bundle import open_bundle  # noqa: E402

CHANNELS = ("a", "b", "c", "d")
PARTITIONS = 4
WINDOW = 8
JOIN_S = 8.0
SPANS = 4


class Observer:
    """Reads `scores` until it is told to stop; (machine, event time) -> bundles, and delays with the moment of the row."""

    def __init__(self, brokers: str, topic: str) -> None:
        self.bundles: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.delays: list[tuple[int, float]] = []
        self._ended = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": brokers, "group.id": "observer", "fetch.wait.max.ms": 10})
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            for message in self._consumer.consume(500, timeout=0.02):
                if message.error() is not None:
                    continue
                now = time.time_ns() // 1000
                block = orjson.loads(message.value())
                for moment in block["time"]:
                    self.bundles[block["machine"], moment].add(block["bundle"])
                    self.delays.append((moment, (now - moment) / 1000))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1000.0, help="rows per second (default: 1000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="with switches, and as long without (default: 30)")
    parser.add_argument("--switches", type=int, default=20, help="(default: 20)")
    parser.add_argument("--runner", default="direct", choices=("direct", "faust"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(log_file=Path(folder) / "broker.log") as broker:
        print(json.dumps(measure(arguments, broker.client_address, Path(folder)), indent=2))


def measure(arguments: argparse.Namespace, address: str, folder: Path) -> dict[str, object]:
    rig = make_rig(Broker(address, "tansu", supports_transactions=False), arguments.runner, "bench.", folder)
    interval_s = arguments.machines / arguments.rate
    usual = Recipe(channels=CHANNELS, window=WINDOW, interval_s=interval_s)
    other = Recipe(channels=CHANNELS, window=WINDOW, interval_s=interval_s, weighting="mean")
    rig.bundle = write_bundle(folder, usual)
    bundles = [rig.bundle, write_bundle(folder, other)]
    port = free_port()
    observer = Observer(address, f"{rig.prefix}scores")
    stamps: list[tuple[str, int]] = []
    spans: list[tuple[bool, int, int]] = []
    ended = threading.Event()
    with rig.start(options=("--http-port", str(port))) as worker:
        worker.wait_for("partitions taken over", 60.0)
        feeding = threading.Thread(target=feed, args=(arguments, address, rig.sensors, stamps, ended))
        feeding.start()
        time.sleep(JOIN_S)
        done = 0
        span_s = 2 * arguments.seconds / (2 * SPANS)
        for number in range(2 * SPANS):
            begin = time.time_ns() // 1000
            if number % 2:
                wanted = arguments.switches // SPANS + (number // 2 < arguments.switches % SPANS)
                for _ in range(wanted):
                    deploy(address, f"{rig.prefix}models", bundles[(done + 1) % 2])
                    done += 1
                    time.sleep(span_s / wanted)
            else:
                time.sleep(span_s)
            spans.append((bool(number % 2), begin, time.time_ns() // 1000))
        ended.set()
        feeding.join()
        wait_until(lambda: metrics(port).get("wheeltapper_rows_total", 0) >= len(stamps), "all rows came", worker)
        taken = metrics(port).get("wheeltapper_deployments_total", 0)
        time.sleep(2.0)
        worker.terminate()
    time.sleep(1.0)
    observer.close()
    due = set(stamps)
    for machine in {machine for machine, _ in stamps}:  # the first window is not full before
        due -= {(machine, moment) for moment in sorted(m for name, m in stamps if name == machine)[: WINDOW - 1]}
    result: dict[str, object] = {
        "runner": arguments.runner,
        "rows": len(stamps),
        "switches": done,
        "deployments taken": taken,
        "rows without a score": len(due - observer.bundles.keys()),
        "rows scored by two bundles": sum(len(names) > 1 for names in observer.bundles.values()),
    }
    moments = np.array([moment for moment, _ in observer.delays])
    delays = np.array([delay for _, delay in observer.delays])
    for switched in (False, True):
        inside = np.zeros(len(moments), dtype=bool)
        for kind, begin, end in spans:
            if kind == switched:
                inside |= (moments >= begin) & (moments < end)
        p50, p99, highest = np.percentile(delays[inside], [50, 99, 100])
        result["with switches" if switched else "without"] = {
            "scores": int(inside.sum()),
            "p50_ms": round(float(p50), 1),
            "p99_ms": round(float(p99), 1),
            "max_ms": round(float(highest), 1),
        }
    return result


def feed(
    arguments: argparse.Namespace, address: str, topic: str, stamps: list[tuple[str, int]], ended: threading.Event
) -> None:
    """Rows on schedule until `ended`."""
    client = Producer({"bootstrap.servers": address, "linger.ms": 1, "enable.idempotence": True})
    rng = np.random.default_rng(1)
    machines = [f"press-{number:02d}" for number in range(arguments.machines)]
    values = [dict(zip(CHANNELS, row.round(3).tolist(), strict=True)) for row in rng.normal(0.5, 0.05, (997, 4))]
    start, number = time.perf_counter(), 0
    while not ended.is_set():
        wait = start + number / arguments.rate - time.perf_counter()
        if wait > 0:
            client.poll(0)
            time.sleep(max(wait, 0.0005))
        machine, moment = machines[number % len(machines)], time.time_ns() // 1000
        stamps.append((machine, moment))
        client.produce(
            topic, orjson.dumps({"machine": machine, "ts": moment, "values": values[number % 997]}), machine.encode()
        )
        number += 1
    client.flush(60)


def deploy(address: str, topic: str, bundle: Path) -> None:
    opened = open_bundle(bundle)
    model = ActiveModel(
        route="*",
        rule="distance",
        bundle=opened.manifest.bundle_id,
        uri=str(bundle),
        sha256=opened.manifest_sha256,
        at=time.time_ns() // 1000,
    )
    client = Producer({"bootstrap.servers": address})
    client.produce(topic, model.model_dump_json().encode(), model.key.encode())
    client.flush(10)


if __name__ == "__main__":
    main()
