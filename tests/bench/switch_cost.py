"""What a switch of bundles takes of the thread that scores: CPU time, so that a load from elsewhere does not count.

    python tests/bench/switch_cost.py

50 machines of one partition, two PCA bundles of 15 channels in turns. Each is prepared in another thread, as a worker does it; then
the time of `Pipeline.apply` is taken, beside that of handling three rows.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests.integration.adaptation_tools import train_parent  # noqa: E402
from wheeltapper.stream.control.log import ControlMessage  # noqa: E402
from wheeltapper.stream.deployment import Deployment  # noqa: E402
from wheeltapper.stream.pipeline import Pipeline  # noqa: E402
from wheeltapper.stream.records import PartitionBatch  # noqa: E402
from wheeltapper.stream.routes import load_routes  # noqa: E402
from wheeltapper.stream.settings import Settings  # noqa: E402
from wheeltapper.training.datasets.simulated import CHANNELS, DAY, simulate  # noqa: E402

MACHINES, SWITCHES, START, MINUTE_US = 50, 40, 1_700_000_000_000_000, 60_000_000


class Rows:
    """Rows of all machines in turn, as a partition brings them."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._values = simulate("pump-1", train_rows=DAY, test_rows=DAY).train.tolist()
        self._sent = 0

    def take(self, count: int) -> PartitionBatch:
        batch = PartitionBatch(self._topic, 0)
        for number in range(self._sent, self._sent + count):
            name, row = f"pump-{number % MACHINES:02d}", number // MACHINES
            values = dict(zip(CHANNELS, self._values[row % len(self._values)], strict=True))
            batch.offsets.append(number)
            batch.keys.append(name.encode())
            batch.values.append(orjson.dumps({"machine": name, "ts": START + row * MINUTE_US, "values": values}))
            batch.headers.append(None)
            batch.timestamps_ms.append(0)
        self._sent += count
        return batch


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this thread."""
    started = time.thread_time()
    work()
    return 1_000 * (time.thread_time() - started)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundles = [train_parent(Path(folder) / f"pca-{days}", days=days) for days in (7, 8)]
        settings = Settings()
        pipeline = Pipeline(load_routes([str(bundles[0].location)], settings), settings)
        rows = Rows(settings.topics.full_name("sensors"))
        for _ in range(40):
            pipeline.handle([rows.take(MACHINES)], 0.0)
        handled, applied = [], []
        for number in range(SWITCHES):
            bundle = bundles[(number + 1) % 2]
            change = Deployment("pca", "active", bundle=str(bundle.location), sha256=bundle.manifest_sha256)
            preparing = threading.Thread(target=pipeline.prepare, args=(change,))
            preparing.start()
            preparing.join()
            message = ControlMessage("models", number, change)
            applied.append(cpu_ms(lambda message=message: pipeline.apply([message], 0.0)))
            for _ in range(10):
                batch = rows.take(3)
                handled.append(cpu_ms(lambda batch=batch: pipeline.handle([batch], 0.0)))
    for name, taken in (("three rows", handled), ("a switch", applied)):
        median, high, highest = np.percentile(taken, [50, 90, 100])
        print(f"{name}: median {median:.2f} ms, 90 % {high:.2f} ms, highest {highest:.2f} ms")


if __name__ == "__main__":
    main()
