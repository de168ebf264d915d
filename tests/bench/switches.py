"""How much later scores come while bundles are switched: p50, p99 and maximum with switches beside those without.

    python tests/bench/switches.py --runner direct
    python tests/bench/switches.py --runner faust

Rows of 50 machines are stamped with the clock when they are produced (their event time), a worker on the embedded broker scores
them by one of two PCA bundles of 15 channels, and a reader of `scores` notes when each can be read. Short spans with and without
switches take turns, so that a load from elsewhere meets both alike; of each pair the ratio of both p99 is taken, and the
median of the ratios is given with an interval by resampling the pairs. Rows come slowly enough that the machine is not saturated.
Every row is counted: a score that is missing or of two bundles is a failure.
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

from tests.integration.adaptation_tools import train_parent  # noqa: E402
from tests.integration.kafka_tools import Broker  # noqa: E402
from tests.integration.worker_tools import free_port, make_rig, metrics, wait_until  # noqa: E402
from wheeltapper.deploy.broker import EmbeddedBroker  # noqa: E402
from wheeltapper.schemas.adaptation import ActiveModel  # noqa: E402
from wheeltapper.schemas.bundle import open_bundle  # noqa: E402
from wheeltapper.training.datasets.simulated import CHANNELS, DAY, simulate  # noqa: E402

PARTITIONS = 4
JOIN_S = 12.0
RESAMPLED = 2_000


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
    parser.add_argument("--rate", type=float, default=300.0, help="rows per second (default: 300)")
    parser.add_argument("--pairs", type=int, default=16, help="of a span without and one with switches (default: 16)")
    parser.add_argument("--span", type=float, default=5.0, help="seconds of a span (default: 5)")
    parser.add_argument("--switches", type=int, default=2, help="in each span that has any (default: 2)")
    parser.add_argument("--runner", default="direct", choices=("direct", "faust"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(log_file=Path(folder) / "broker.log") as broker:
        print(json.dumps(measure(arguments, broker.client_address, Path(folder)), indent=2))


def measure(arguments: argparse.Namespace, address: str, folder: Path) -> dict[str, object]:
    rig = make_rig(Broker(address, "tansu", supports_transactions=False), arguments.runner, "bench.", folder)
    trained = [train_parent(folder / f"pca-{days}", days=days) for days in (7, 8)]
    bundles, window = [bundle.location for bundle in trained], trained[0].manifest.window
    rig.bundle = bundles[0]
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
        for number in range(2 * arguments.pairs):
            # Of one pair the span with switches comes first, of the next the other.
            switched = (number % 2) != (number // 2 % 2)
            begin = time.time_ns() // 1000
            for _ in range(arguments.switches):
                if switched:
                    deploy(address, f"{rig.prefix}models", bundles[(done + 1) % 2])
                    done += 1
                time.sleep(arguments.span / arguments.switches)
            spans.append((switched, begin, time.time_ns() // 1000))
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
        due -= {(machine, moment) for moment in sorted(m for name, m in stamps if name == machine)[: window - 1]}
    result: dict[str, object] = {
        "runner": arguments.runner,
        "rows": len(stamps),
        "switches": done,
        "deployments taken": taken,
        "rows without a score": len(due - observer.bundles.keys()),
        "rows scored by two bundles": sum(len(names) > 1 for names in observer.bundles.values()),
    }
    return {**result, **compared(observer.delays, spans)}


def compared(delays: list[tuple[int, float]], spans: list[tuple[bool, int, int]]) -> dict[str, object]:
    """Delays (ms) of rows produced in spans without and with switches, and how much p99 grows from the one to the other."""
    moments, taken = np.array([moment for moment, _ in delays]), np.array([delay for _, delay in delays])
    parts = [(kind, taken[(moments >= begin) & (moments < end)]) for kind, begin, end in spans]
    result: dict[str, object] = {}
    for switched, name in ((False, "without"), (True, "with switches")):
        pooled = np.concatenate([part for kind, part in parts if kind == switched])
        p50, p99, highest = np.percentile(pooled, [50, 99, 100])
        result[name] = {
            "scores": len(pooled),
            "p50_ms": round(float(p50), 1),
            "p99_ms": round(float(p99), 1),
            "max_ms": round(float(highest), 1),
        }
    p99s = {kind: np.array([np.percentile(part, 99) for one, part in parts if one == kind]) for kind in (False, True)}
    ratios = p99s[True] / p99s[False]
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (RESAMPLED, len(ratios))), axis=1)
    result["p99 with / without, median of pairs"] = round(float(np.median(ratios)), 3)
    result["90 % interval"] = [round(float(limit), 3) for limit in np.percentile(medians, [5, 95])]
    return result


def feed(
    arguments: argparse.Namespace, address: str, topic: str, stamps: list[tuple[str, int]], ended: threading.Event
) -> None:
    """Rows on schedule until `ended`."""
    client = Producer({"bootstrap.servers": address, "linger.ms": 1, "enable.idempotence": True})
    machines = [f"pump-{number:02d}" for number in range(arguments.machines)]
    series = simulate("pump-1", train_rows=DAY, test_rows=DAY).train[:997]
    values = [dict(zip(CHANNELS, row.round(3).tolist(), strict=True)) for row in series]
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
        rule="pca",
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
