"""What a worker has loaded when it works: memory and CPU time of every start, on every machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import RUNNERS, make_rig

pytestmark = pytest.mark.broker

# What no worker uses that scores rows of sensors and is not asked for its metrics; some of it is installed with what it does use.
ABSENT = (
    "torch", "onnx", "sklearn", "scipy", "pandas", "numba", "matplotlib", "librosa", "soundfile", "soxr", "pyarrow.compute",
    "rich.console", "pygments", "attr", "aiohttp.client", "yaml.loader", "croniter.croniter", "jsonschema", "cryptography", "prometheus_client", "icalendar",
    "wheeltapper.training", "wheeltapper.models", "wheeltapper.deploy", "wheeltapper.stream.metrics",
)  # fmt: skip
# What the other runner is made of.
OTHERS = {
    "direct": ("faust", "mode", "aiokafka", "venusian", "wheeltapper.stream.runners.faust_runner"),
    "faust": ("wheeltapper.stream.runners.direct_runner",),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_worker_loads_nothing_that_it_does_not_use(
    runner: str, embedded_broker: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker that took its partitions over and ended as it was idle
    rig = make_rig(Broker(embedded_broker, "tansu", supports_transactions=False), runner, topics_prefix, tmp_path)
    log = rig.run(environment={"PYTHONPROFILEIMPORTTIME": "1"}).log()
    # when Python's own list of what it loaded is read
    loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", log, re.MULTILINE))
    assert {"numpy", "onnxruntime", "confluent_kafka", f"wheeltapper.stream.runners.{runner}_runner"} <= loaded
    # then nothing is there that it has no use for
    assert sorted(loaded & {*ABSENT, *OTHERS[runner]}) == []
