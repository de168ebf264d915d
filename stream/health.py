"""HTTP endpoints of a worker: /healthz, /readyz and Prometheus /metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.metrics import (
    build_metrics,
    bundle_metrics,
    distribution_metrics,
    input_metrics,
    machine_metrics,
)
from wheeltapper.stream.progress import Progress
from wheeltapper.stream.shell import Shell


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
        problem = self._progress.problem()
        return problem or (None if shell.assigned else "no partitions have been assigned yet")

    def collect(self) -> Iterable[Metric]:
        """Metrics in Prometheus's form."""
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
        dropped.add_metric(["late"], counts.late_rows)
        yield dropped
        yield counter("imputed_values", "Missing values carried forward.", counts.imputed_values)
        yield counter("clock_restarts", "Machines whose clock was set back.", counts.clock_restarts)
        yield counter("gaps", "Gaps that emptied a window.", counts.gaps)
        yield counter("sound_samples", "Samples of sound taken in, of each channel.", counts.sound_samples)
        yield counter("dead_microphones", "Microphones found dead.", counts.dead_microphones)
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
        commands = CounterMetricFamily("wheeltapper_alarm_commands", "Operators' commands.", labels=["action"])
        for action, number in sorted(counts.alarm_commands.items()):
            commands.add_metric([action], number)
        yield commands
        yield GaugeMetricFamily(
            "wheeltapper_newest_row_timestamp_seconds",
            "Newest event time of any machine.",
            value=counts.newest_time / 1e6,
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


def serve_health(status: WorkerStatus, host: str, port: int) -> Callable[[], None]:
    """Serve in a thread of its own; returns the function that ends it.

    Raises:
        InputError: the port is taken or may not be used.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/healthz":
                self._answer(200, "text/plain", b"ok\n")
            elif path == "/readyz":
                problem = status.problem()
                self._answer(503 if problem else 200, "text/plain", f"{problem or 'ready'}\n".encode())
            elif path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            else:
                self._answer(404, "text/plain", b"try /healthz, /readyz or /metrics\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are not logged: probes come every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InputError(f"worker.http_port {port} on {host} cannot be used ({error}); choose another") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.shutdown
