"""What a worker tells of itself: whether it is ready, and its metrics in Prometheus's form."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.progress import Progress
from wheeltapper.stream.shell import Shell

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(frozen=True)
class _Totals:
    """What metrics tell of shells that have ended, and of the running one."""

    counters: Counters = field(default_factory=Counters)
    working_seconds: float = 0.0
    scoring_seconds: float = 0.0

    @staticmethod
    def of(shell: Shell) -> _Totals:
        return _Totals(shell.pipeline.counters, shell.working_seconds, shell.pipeline.scoring_seconds)

    def __add__(self, other: _Totals) -> _Totals:
        return _Totals(
            self.counters + other.counters,
            self.working_seconds + other.working_seconds,
            self.scoring_seconds + other.scoring_seconds,
        )


class WorkerStatus:
    """What is known of the running shell. Shells come and go with sessions; counts add up over them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shell: Shell | None = None
        self._ended = _Totals()
        # A scrape between the two steps of `follow` would miss a session's counts, or have them twice.
        self._lock = threading.Lock()

    def follow(self, shell: Shell) -> None:
        """Report on this shell from now on. Of the one before only its counts are kept: it holds a Kafka client."""
        with self._lock:
            if self._shell is not None:
                self._ended = self._ended + _Totals.of(self._shell)
            self._shell = shell

    def problem(self) -> str | None:
        """Why the worker is not ready; None where it is."""
        shell = self._shell
        if shell is None:
            return "bundles are being loaded"
        problem = self._progress.problem() or shell.input.problem()
        return problem or (None if shell.assigned else "no partitions have been assigned yet")

    def collect(self) -> Iterable[Metric]:
        """Metrics in Prometheus's form."""
        # At the first scrape: many workers never see one.
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        from wheeltapper.stream.metrics import (
            build_metrics,
            bundle_metrics,
            distribution_metrics,
            input_metrics,
            machine_metrics,
        )

        with self._lock:
            shell, totals = self._shell, self._ended
        if shell is not None:
            totals = totals + _Totals.of(shell)
        counts = totals.counters

        def counter(name: str, text: str, value: float) -> CounterMetricFamily:
            return CounterMetricFamily(f"wheeltapper_{name}", text, value=value)

        yield counter("messages", "Input messages handled.", counts.messages)
        yield counter("rows", "Rows taken into windows.", counts.rows)
        dropped = CounterMetricFamily("wheeltapper_rows_dropped", "Rows left out.", labels=["reason"])
        for reason, number in (
            ("late", counts.late_rows),
            ("ahead", counts.ahead_rows),
            ("repeated", counts.repeated_rows),
        ):
            dropped.add_metric([reason], number)
        yield dropped
        changes = CounterMetricFamily(
            "wheeltapper_input_changes", "Input partitions that were not what they were.", labels=["event"]
        )
        for event, number in sorted(counts.input_events.items()):
            changes.add_metric([event], number)
        yield changes
        yield counter("expired_messages", "Messages gone before they were read, at most.", counts.expired_messages)
        yield counter("imputed_values", "Missing values carried forward.", counts.imputed_values)
        yield counter("clock_restarts", "Machines whose clock was set back.", counts.clock_restarts)
        yield counter("gaps", "Gaps that emptied a window.", counts.gaps)
        yield counter("sound_samples", "Samples of sound taken in, of each channel.", counts.sound_samples)
        yield counter("dead_microphones", "Microphones found dead.", counts.dead_microphones)
        yield counter("odd_rates", "Machines whose rows come at another rate than their bundle's.", counts.odd_rates)
        readings = CounterMetricFamily("wheeltapper_readings", "What was noticed of readings.", labels=["event"])
        for event, number in sorted(counts.readings.items()):
            readings.add_metric([event], number)
        yield readings
        sound = CounterMetricFamily("wheeltapper_sound", "What was noticed of sound.", labels=["event"])
        for event, number in sorted(counts.sound.items()):
            sound.add_metric([event], number)
        yield sound
        yield counter("windows", "Windows scored.", counts.windows)
        yield counter("not_finite_scores", "Scores that were no finite number.", counts.not_finite_scores)
        yield counter("label_requests", "Windows that a person was asked to judge.", counts.label_requests)
        yield counter("silent_machines", "Machines found silent (NO_DATA).", counts.silent_machines)
        yield counter(
            "forgotten_machines", "Machines dropped after state.forget_machine_after_s.", counts.forgotten_machines
        )
        yield counter("scoring_seconds", "Time spent in onnxruntime.", totals.scoring_seconds)
        yield counter("working_seconds", "Time spent on handling messages.", totals.working_seconds)
        dead = CounterMetricFamily("wheeltapper_dead_letters", "Messages sent to dead-letters.", labels=["reason"])
        for reason, number in sorted(counts.dead_letters.items()):
            dead.add_metric([reason], number)
        yield dead
        for name, text, found in (
            ("cut_messages", "Messages larger than their topic takes, sent without a part.", counts.cut_messages),
            ("split_messages", "Messages larger than their topic takes, sent in several.", counts.split_messages),
            ("remade_topics", "Topics made anew under the worker that writes them.", counts.remade_topics),
        ):
            family = CounterMetricFamily(f"wheeltapper_{name}", text, labels=["topic"])
            for topic, number in sorted(found.items()):
                family.add_metric([topic], number)
            yield family
        alerts = CounterMetricFamily("wheeltapper_alert_events", "Alert events.", labels=["event"])
        for event in ("opened", "updated", "cleared"):
            alerts.add_metric([event], counts.alerts.get(event, 0))
        yield alerts
        drifts = CounterMetricFamily("wheeltapper_drift_events", "Drift events.", labels=["event"])
        for event in ("started", "ended"):
            drifts.add_metric([event], counts.drifts.get(event, 0))
        yield drifts
        blocks = CounterMetricFamily(
            "wheeltapper_drift_blocks", "Blocks of event time by what drift made of them.", labels=["outcome"]
        )
        for outcome, number in sorted(counts.drift_blocks.items()):
            blocks.add_metric([outcome], number)
        yield blocks
        deployments = CounterMetricFamily(
            "wheeltapper_deployments", "Deployments from the topic models.", labels=["result"]
        )
        for result in ("taken", "refused"):
            deployments.add_metric([result], counts.deployments.get(result, 0))
        yield deployments
        refused = CounterMetricFamily(
            "wheeltapper_state_refused",
            "Records of the topic state, or parts of them, that were not used.",
            labels=["reason"],
        )
        for reason, number in sorted(counts.state_refused.items()):
            refused.add_metric([reason], number)
        yield refused
        commands = CounterMetricFamily("wheeltapper_alarm_commands", "Operators' commands.", labels=["action"])
        for action, number in sorted(counts.alarm_commands.items()):
            commands.add_metric([action], number)
        yield commands
        yield GaugeMetricFamily(
            "wheeltapper_newest_row_timestamp_seconds",
            "Newest event time of any machine.",
            value=counts.newest_time / 1e6,
        )
        yield GaugeMetricFamily(
            "wheeltapper_transactions",
            "1 where output, state and offsets commit together.",
            value=shell is not None and shell.publisher.transactional,
        )
        yield GaugeMetricFamily("wheeltapper_ready", "1 where /readyz is 200.", value=self.problem() is None)
        yield GaugeMetricFamily(
            "wheeltapper_progress_age_seconds", "Time since the last progress.", value=self._progress.silent_s
        )
        yield from build_metrics()
        yield from distribution_metrics(counts)
        if shell is not None:
            yield from bundle_metrics(shell)
            yield from input_metrics(shell)
            yield from machine_metrics(shell)
