"""What /metrics tells: names as Prometheus wants them, and numbers that a dashboard can use."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.prometheus import program
from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, TOPIC, Message, batch_of, block_of, message_of, part_of
from wheeltapper.stream.core.distribution import Distribution
from wheeltapper.stream.health import WorkerStatus
from wheeltapper.stream.latency import note_latencies
from wheeltapper.stream.progress import Progress
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"
FLEET = 5
SENT_MS = 1_800_000_000_000


def shell_of(open_routes: OpenRoutes, **worker: object) -> Shell:
    """A shell of five machines, of which press-1 is in alarm; nothing listens at its broker."""
    settings = Settings.model_validate({"kafka": {"brokers": "127.0.0.1:1"}, "worker": worker})
    shell = Shell(open_routes(Recipe(window=1), settings=settings), settings, Publisher(settings))
    messages = [message_of(block_of(f"press-{number}", [[0.5, 0.5, 0.5]] * 4)) for number in range(FLEET)]
    messages.append(message_of(block_of("press-1", [[9.5, 0.5, 0.5]], times=[START + 4 * MINUTE])))
    messages.append(message_of(part_of(block_of("press-2", np.full((4, 3), 0.5)), 0, 1)))  # late
    messages.append(Message(b"no message", b"press-3", None))
    batch = batch_of(messages)
    batch.timestamps_ms = [SENT_MS] * len(messages)
    alerts = [output for output in shell.pipeline.handle([batch], 0.0) if output.topic == "alerts"]
    note_latencies(shell.pipeline.counters, alerts, [batch], SENT_MS / 1e3 + 0.2)
    shell.input_ends[TOPIC, 0] = 20
    return shell


def text_of(shell: Shell | None) -> str:
    """The page /metrics."""
    status = WorkerStatus(Progress(120.0))
    if shell is not None:
        status.follow(shell)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)
    return generate_latest(registry).decode()


def samples_of(text: str) -> dict[tuple[str, ...], float]:
    """(metric, label=value, ..) -> value."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_say_where_a_worker_stands(open_routes: OpenRoutes) -> None:
    # given five machines, one of them in alarm, a late row and a message that cannot be read
    shell = shell_of(open_routes)
    # when metrics are asked for
    found = samples_of(text_of(shell))
    # then they tell how far the worker is, and how far it could be
    where = ("partition=0", f"topic={TOPIC}")
    assert found["wheeltapper_position", *where] == 8
    assert found["wheeltapper_input_end", *where] == 20
    assert found["wheeltapper_input_lag_messages", *where] == 12
    # and which bundle scores, and what it says of whom
    (bundle,) = [labels for labels in found if labels[0] == "wheeltapper_bundle_info"]
    assert {"bundle=distance-3x1-s1-l0-rising", "detector=distance", "mode=active", "rule=distance"} <= set(bundle)
    assert found["wheeltapper_open_alerts",] == found["wheeltapper_open_alerts_by_rule", "rule=distance"] == 1
    assert found["wheeltapper_machine_state", "machine=press-1", "state=alarm"] == 1
    assert found["wheeltapper_machine_state", "machine=press-2", "state=normal"] == 1
    newest = found["wheeltapper_machine_newest_row_timestamp_seconds", "machine=press-1"]
    assert newest == (START + 4 * MINUTE) / 1e6
    # and what was left out
    assert found["wheeltapper_rows_dropped_total", "reason=late"] == 1
    assert found["wheeltapper_dead_letters_total", "reason=not-decodable"] == 1


def test_scores_and_latencies_are_histograms(open_routes: OpenRoutes) -> None:
    # given 20 windows without a fault, one far above the alarm level, and an alert 0.2 s behind its record's timestamp
    found = samples_of(text_of(shell_of(open_routes)))
    # then scores are counted by bucket
    assert found["wheeltapper_score_bucket", "detector=distance", "le=1"] == 4 * FLEET
    assert found["wheeltapper_score_bucket", "detector=distance", "le=30"] == 4 * FLEET
    assert found["wheeltapper_score_count", "detector=distance"] == 4 * FLEET + 1
    assert found["wheeltapper_score_sum", "detector=distance"] == pytest.approx(81)
    # and the alert's latency, once from its record's timestamp, once from its row's event time
    broker, event = ("since=broker",), ("since=event",)
    assert found["wheeltapper_alert_latency_seconds_bucket", "le=0.1", *broker] == 0
    assert found["wheeltapper_alert_latency_seconds_bucket", "le=0.25", *broker] == 1
    assert found["wheeltapper_alert_latency_seconds_sum", *event] == pytest.approx(
        SENT_MS / 1e3 + 0.2 - (START + 4 * MINUTE) / 1e6
    )


@pytest.mark.parametrize(("limit", "shown"), [(5, 5), (4, 1), (0, 0)])
def test_a_fleet_of_any_size_has_few_series(open_routes: OpenRoutes, limit: int, shown: int) -> None:
    # given a limit of series, when there are more machines: then only those that are not normal are shown
    found = samples_of(text_of(shell_of(open_routes, metrics_machines=limit)))
    states = [labels for labels in found if labels[0] == "wheeltapper_machine_state"]
    assert len(states) == shown
    if shown == 1:
        assert states == [("wheeltapper_machine_state", "machine=press-1", "state=alarm")]
    assert found["wheeltapper_machines_not_shown",] == FLEET - shown
    # but none goes uncounted
    assert found["wheeltapper_open_alerts",] == 1
    assert sum(value for labels, value in found.items() if labels[0] == "wheeltapper_machines") == FLEET


@pytest.mark.parametrize("started", [False, True])
def test_names_are_as_prometheus_wants_them(open_routes: OpenRoutes, started: bool) -> None:
    # given a worker that works, and one that has just been started
    text = text_of(shell_of(open_routes) if started else None)
    # when its metrics are read by Prometheus' own client
    families = list(text_string_to_metric_families(text))
    # then each has a help text and our prefix, counters end as counters do, and none stands there twice
    kinds: dict[str, list[str]] = defaultdict(list)
    for family in families:
        assert family.name.startswith("wheeltapper_")
        assert family.documentation.endswith("."), family.name
        kinds[family.type].append(family.name)
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{family.name}_total"}
    names = [family.name for family in families]
    assert len(names) == len(set(names)) > 20
    assert set(kinds) == {"counter", "gauge", "histogram"}


def test_promtool_has_nothing_to_say_against_them(open_routes: OpenRoutes) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text_of(shell_of(open_routes)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("file", ["grafana.json", "wheeltapper.rules.yml"])
def test_dashboard_and_rules_ask_for_metrics_that_there_are(open_routes: OpenRoutes, file: str) -> None:
    # given the files that are shipped for a dashboard
    text = (MONITORING / file).read_text("utf-8")
    if file.endswith(".json"):
        assert len({panel["id"] for panel in json.loads(text)["panels"]}) > 10
    # when their questions are looked at: then each asks for what a worker tells
    told = {labels[0] for labels in samples_of(text_of(shell_of(open_routes)))}
    asked = set(re.findall(r"\bwheeltapper_[a-z_]+", text))
    assert asked - told == set()
    assert len(asked) > 3


def test_distributions_add_up_and_take_whatever_comes() -> None:
    # given counts of two sessions, with values that are no numbers among them
    one, two = Distribution((1.0, 2.0)), Distribution((1.0, 2.0))
    one.observe(np.array([0.5, 1.0, 1.5, np.inf]))
    two.observe(3.0)
    two.observe(np.array([np.nan]))
    # when they are added, as sums of sessions are: then no value is lost, and the sum has those that are finite
    both = 0 + one + two
    assert both.cumulative() == [("1", 2), ("2", 3), ("+Inf", 6)]
    assert both.total == 6.0
