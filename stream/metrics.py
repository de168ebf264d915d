"""Metrics about machines, rules, partitions and alerts; what is merely counted stands in `stream.health`.

No metric has more series than `worker.metrics_machines` allows: a fleet of any size must not fill a Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric

from wheeltapper.stream.core.alert_judge import ALERT
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.partition import PartitionState
from wheeltapper.stream.shell import Shell

PREFIX = "wheeltapper"
STATES = ("alarm", "silent", "maintenance", "normal")
"""In the order in which machines are shown where there are too many."""


def build_metrics() -> Iterator[Metric]:
    """Which version runs."""
    try:
        found = version("wheeltapper")
    except PackageNotFoundError:  # run from a checkout
        found = "unknown"
    yield InfoMetricFamily(f"{PREFIX}_build", "Version of the worker.", value={"version": found})


def distribution_metrics(counts: Counters) -> Iterator[Metric]:
    """Histograms of scores and of alerts' latencies."""
    scores = HistogramMetricFamily(
        f"{PREFIX}_score", "Calibrated scores of windows; 1 is the alarm level.", labels=["detector"]
    )
    for detector, found in sorted(counts.scores.items()):
        scores.add_metric([detector], found.cumulative(), found.total)
    yield scores
    latencies = HistogramMetricFamily(
        f"{PREFIX}_alert_latency_seconds",
        "Until an alert that opened or was updated was given to Kafka: from the row's event time, from its record's timestamp.",
        labels=["since"],
    )
    for stage, found in sorted(counts.latencies.items()):
        latencies.add_metric([stage], found.cumulative(), found.total)
    yield latencies


def bundle_metrics(shell: Shell) -> Iterator[Metric]:
    """Which bundles score; as many as machines may have metrics of their own."""
    bundles = InfoMetricFamily(
        f"{PREFIX}_bundle", "Bundles that score.", labels=["kind", "rule", "bundle", "detector", "device", "mode"]
    )
    found: dict[tuple[str, ...], None] = {}  # a bundle may serve several routes
    for runtime in shell.pipeline.rules_at_work:
        rule = runtime.rule
        manifest = rule.manifest
        mode = "shadow" if runtime.shadow else "active"
        found[manifest.kind, rule.name, manifest.bundle_id, manifest.detector, rule.graph.device, mode] = None
    for labels in list(found)[: shell.pipeline.settings.worker.metrics_machines]:
        bundles.add_metric(labels, {})
    yield bundles
    yield GaugeMetricFamily(f"{PREFIX}_bundles", "Bundles that score, all of them.", value=len(found))


def input_metrics(shell: Shell) -> Iterator[Metric]:
    """How far each partition is, and how far it could be."""
    labels = ["topic", "partition"]
    positions = GaugeMetricFamily(f"{PREFIX}_position", "Offset of the next message to handle.", labels=labels)
    commits = GaugeMetricFamily(f"{PREFIX}_committed", "Offset that a restart reads from.", labels=labels)
    machines = GaugeMetricFamily(f"{PREFIX}_machines", "Machines with rows.", labels=labels)
    ends = GaugeMetricFamily(f"{PREFIX}_input_end", "Offset behind the partition's last message.", labels=labels)
    lags = GaugeMetricFamily(
        f"{PREFIX}_input_lag_messages",
        "Offsets between the next message to handle and the partition's end; marks of transactions count too.",
        labels=labels,
    )
    # Copied: the worker's thread may change the dictionary meanwhile.
    for key, state in list(shell.pipeline.partitions.items()):
        values = [key[0], str(key[1])]
        positions.add_metric(values, state.position)
        commits.add_metric(values, shell.committed_offset(key))
        machines.add_metric(values, state.machines)
        end = shell.input_ends.get(key)
        if end is not None:
            ends.add_metric(values, end)
            lags.add_metric(values, max(0, end - max(state.position, 0)))
    yield from (positions, commits, machines, ends, lags)


def machine_metrics(shell: Shell) -> Iterator[Metric]:
    """Open alerts of all, and the newest row and state of each machine: of a large fleet, of those not normal alone."""
    limit = shell.pipeline.settings.worker.metrics_machines
    seen = [
        (machine, _open_alerts(machine), partition)
        for partition in list(shell.pipeline.partitions.values())
        for machine in partition.all_machines
        if machine.memory.last_time is not None
    ]
    by_rule: dict[str, int] = {}
    for machine, alerts, _ in seen:
        for rule in alerts:
            by_rule[rule] = by_rule.get(rule, 0) + 1
        if machine.silent_since is not None:
            by_rule["no-data"] = by_rule.get("no-data", 0) + 1
    yield GaugeMetricFamily(f"{PREFIX}_open_alerts", "Alerts that are open.", value=sum(by_rule.values()))
    rules = GaugeMetricFamily(f"{PREFIX}_open_alerts_by_rule", "Alerts that are open, by rule.", labels=["rule"])
    for rule, number in sorted(by_rule.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]:
        rules.add_metric([rule], number)
    yield rules
    shown = [(machine, _state(machine, alerts, partition)) for machine, alerts, partition in seen]
    if len(shown) > limit:
        shown = [entry for entry in shown if entry[1] != "normal"]
    shown = sorted(shown, key=lambda entry: (STATES.index(entry[1]), entry[0].name))[:limit]
    newest = GaugeMetricFamily(
        f"{PREFIX}_machine_newest_row_timestamp_seconds", "Event time of the machine's newest row.", labels=["machine"]
    )
    states = GaugeMetricFamily(
        f"{PREFIX}_machine_state",
        "1 for the machine's state: normal, alarm, silent, or maintenance.",
        labels=["machine", "state"],
    )
    for machine, state in shown:
        newest.add_metric([machine.name], (machine.memory.last_time or 0) / 1e6)
        states.add_metric([machine.name, state], 1)
    yield from (newest, states)
    yield GaugeMetricFamily(
        f"{PREFIX}_machines_not_shown",
        "Machines without metrics of their own, as there are more than worker.metrics_machines.",
        value=len(seen) - len(shown),
    )


def _open_alerts(machine: Machine) -> list[str]:
    """Rules of the machine that have an open alert; shadows have none that anybody heard of."""
    return [
        served.runtime.rule.name
        for served in list(machine.rules.values())
        if not served.runtime.shadow and served.memory.slots[ALERT].opened_at is not None
    ]


def _state(machine: Machine, alerts: Iterable[str], partition: PartitionState) -> str:
    if machine.silent_since is not None:
        return "silent"
    if alerts:
        return "alarm"
    calendar, last = partition.calendar, machine.memory.last_time
    if calendar.is_empty or last is None:
        return "normal"
    times = np.array([last], dtype=np.int64)
    return "normal" if calendar.mask(machine.name, times, machine.patterned) is None else "maintenance"
