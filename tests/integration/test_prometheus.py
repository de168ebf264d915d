"""A real Prometheus reads a real worker's metrics, and a dashboard's questions have answers."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.plant import make_plant, messages_of
from tests.helpers.prometheus import program
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import RUNNERS, await_rows, free_port, make_rig, wait_until

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


def test_the_rules_and_the_configuration_are_valid() -> None:
    for kind, name in (("config", "prometheus.yml"), ("rules", "wheeltapper.rules.yml")):
        done = subprocess.run(
            [program("promtool"), "check", kind, str(MONITORING / name)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """Prometheus that scrapes a port of this machine every second; its own port."""
    port = free_port()
    config = folder / "prometheus.yml"
    scrape = {
        "job_name": "wheeltapper",
        "scrape_interval": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
    }
    config.write_text(json.dumps({"scrape_configs": [scrape]}))  # JSON is YAML too
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(120)


def ask(port: int, query: str) -> list[tuple[dict[str, str], float]]:
    """An instant query: (labels, value) of each series; none while Prometheus starts."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return []
    return [(series["metric"], float(series["value"][1])) for series in found["data"]["result"]]


@pytest.mark.broker
@pytest.mark.one_runner
@pytest.mark.parametrize("runner", RUNNERS)
def test_prometheus_reads_what_a_worker_tells(
    runner: str, embedded_broker: str, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker that has read a plant's rows, some of which led to alerts
    rig = make_rig(Broker(embedded_broker, "tansu", supports_transactions=False), runner, topics_prefix, tmp_path)
    plant, port = make_plant(machines=2, rows=100), free_port()
    rig.produce(messages_of(plant))
    opened = sum(alert["event"] != "cleared" for alert in rig.expect(plant).alerts)
    with rig.start(options=("--http-port", str(port))) as worker, prometheus(tmp_path, port) as server:
        await_rows(worker, port, plant.rows)
        # when Prometheus has scraped it: then it holds all rows, and nothing is left to read
        wait_until(lambda: ask(server, f"wheeltapper_rows_total == {plant.rows}") != [], "it was scraped", worker)
        lag = f"sum(wheeltapper_input_lag_messages) == 0 and sum(wheeltapper_input_end) == {rig.produced}"
        wait_until(lambda: ask(server, lag) != [], "the end was known", worker)
        # and what dashboards ask for has an answer: quantiles, distributions, machines, bundles, versions
        alerts = f'sum(wheeltapper_alert_latency_seconds_count{{since="event"}}) == {opened}'
        assert opened > 0
        wait_until(lambda: ask(server, alerts) != [], "its alerts were counted", worker)
        latency = 'histogram_quantile(0.99, sum by (le) (wheeltapper_alert_latency_seconds_bucket{since="broker"}))'
        assert 0 < ask(server, latency)[0][1] < 300
        assert ask(server, "sum(wheeltapper_score_count)")[0][1] == len(rig.expect(plant).scores)
        assert {labels["machine"] for labels, _ in ask(server, "wheeltapper_machine_state")} == set(plant.machines)
        (bundle, _), *_ = ask(server, "wheeltapper_bundle_info")
        assert {"kind", "rule", "bundle", "detector", "device", "mode"} <= bundle.keys()
        assert ask(server, "wheeltapper_build_info")[0][0]["version"]
        assert ask(server, "up")[0][1] == 1
        assert time.time() - ask(server, "timestamp(wheeltapper_ready)")[0][1] < 60
