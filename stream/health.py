"""What the outside may ask of a worker: /healthz, /readyz and Prometheus /metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.engine import Engine
from wheeltapper.stream.settings import WorkerSettings


class WorkerStatus:
    """What is known of the running engine. Engines come and go with sessions; counts add up over them."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._ended: list[Engine] = []
        self._started = time.monotonic()

    def follow(self, engine: Engine) -> None:
        """Report on this engine from now on."""
        if self._engine is not None:
            self._engine.pipeline.partitions.clear()
            self._ended.append(self._engine)
        self._engine = engine

    def problem(self) -> str | None:
        """Why the worker is not ready; None where it is."""
        engine = self._engine
        if engine is None:
            return "bundles are being loaded"
        if not engine.assigned:
            return "no partitions have been assigned yet"
        silent_s = time.monotonic() - engine.progressed_at
        if silent_s > self._settings.stall_timeout_s:
            return f"no progress for {silent_s:.0f} s (worker.stall_timeout_s is {self._settings.stall_timeout_s:g})"
        return None

    def collect(self) -> Iterable[Metric]:
        """Metrics in Prometheus's form."""
        engines = [*self._ended, *([self._engine] if self._engine else [])]
        counters = [engine.pipeline.counters for engine in engines]

        def counter(name: str, text: str, value: float) -> CounterMetricFamily:
            return CounterMetricFamily(f"wheeltapper_{name}", text, value=value)

        yield counter("messages", "Input messages handled.", sum(c.messages for c in counters))
        yield counter("rows", "Rows taken into windows.", sum(c.rows for c in counters))
        yield counter(
            "late_rows", "Rows dropped as not newer than their machine's last.", sum(c.late_rows for c in counters)
        )
        yield counter("imputed_values", "Missing values carried forward.", sum(c.imputed_values for c in counters))
        yield counter("clock_restarts", "Machines whose clock was set back.", sum(c.clock_restarts for c in counters))
        yield counter("gaps", "Gaps that emptied a window.", sum(c.gaps for c in counters))
        yield counter("windows", "Windows scored.", sum(c.windows for c in counters))
        yield counter(
            "not_finite_scores", "Scores that were no finite number.", sum(c.not_finite_scores for c in counters)
        )
        yield counter(
            "label_requests", "Windows that a person was asked to judge.", sum(c.label_requests for c in counters)
        )
        yield counter("scoring_seconds", "Time spent in onnxruntime.", sum(e.pipeline.scoring_seconds for e in engines))
        yield GaugeMetricFamily(
            "wheeltapper_working_seconds",
            "Time spent on handling messages.",
            value=sum(e.working_seconds for e in engines),
        )
        dead = CounterMetricFamily("wheeltapper_dead_letters", "Messages sent to dead-letters.", labels=["reason"])
        for reason in sorted({reason for c in counters for reason in c.dead_letters}):
            dead.add_metric([reason], sum(c.dead_letters.get(reason, 0) for c in counters))
        yield dead
        alerts = CounterMetricFamily("wheeltapper_alert_events", "Alert events.", labels=["event"])
        for event in ("opened", "updated", "cleared"):
            alerts.add_metric([event], sum(c.alerts.get(event, 0) for c in counters))
        yield alerts
        yield GaugeMetricFamily(
            "wheeltapper_newest_row_timestamp_seconds",
            "Newest event time of any machine.",
            value=max((c.newest_time for c in counters), default=0) / 1e6,
        )
        yield GaugeMetricFamily("wheeltapper_ready", "1 where /readyz is 200.", value=self.problem() is None)
        if self._engine is not None:
            yield from self._partition_metrics(self._engine)

    @staticmethod
    def _partition_metrics(engine: Engine) -> Iterable[Metric]:
        positions = GaugeMetricFamily(
            "wheeltapper_position", "Offset of the next message to handle.", labels=["partition"]
        )
        commits = GaugeMetricFamily("wheeltapper_committed", "Offset that a restart reads from.", labels=["partition"])
        machines = GaugeMetricFamily("wheeltapper_machines", "Machines with rows.", labels=["partition"])
        # Copied: the worker's thread may change the dictionary meanwhile.
        for number, state in list(engine.pipeline.partitions.items()):
            positions.add_metric([str(number)], state.position)
            commits.add_metric([str(number)], engine.committed_offset(number))
            machines.add_metric([str(number)], state.machines)
        yield from (positions, commits, machines)
        yield GaugeMetricFamily(
            "wheeltapper_last_progress_seconds",
            "Since the last progress.",
            value=time.monotonic() - engine.progressed_at,
        )


def serve_health(status: WorkerStatus, host: str, port: int) -> Callable[[], None]:
    """Serve in a thread of its own; returns how to end it.

    Raises:
        InputError: the port cannot be had.
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
            """Probes every few seconds are not news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InputError(f"worker.http_port {port} on {host} cannot be used ({error}); choose another") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.shutdown
