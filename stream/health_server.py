"""HTTP endpoints of a worker: /healthz, /readyz and Prometheus /metrics.

Connections are bounded in number and in time: one more than `MOST_CONNECTIONS` closes the oldest, so that a probe is answered
however many others sit idle, and none stays longer than `LONGEST_S`, however slowly it sends.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.health import WorkerStatus

log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 32
"""Open at a time: a Prometheus, two probes and a person with a browser need fewer than ten."""

LONGEST_S = 10.0
"""From connecting to the end of the answer. Prometheus gives up after 10 s by default, Kubernetes's probes after 1 s."""

SWEEP_S = 0.5


def serve_health(status: WorkerStatus, host: str, port: int) -> Callable[[], None]:
    """Serve in a thread of its own; returns the function that ends it.

    Raises:
        InputError: the port is taken or may not be used.
    """

    class Handler(_Handler):
        def answer(self, path: str) -> tuple[int, str, bytes]:
            if path == "/healthz":
                return 200, "text/plain", b"ok\n"
            if path == "/readyz":
                problem = status.problem()
                return 503 if problem else 200, "text/plain", f"{problem or 'ready'}\n".encode()
            if path == "/metrics":
                return 200, *_scrape(status)
            return 404, "text/plain", b"try /healthz, /readyz or /metrics\n"

    try:
        server = BoundedServer((host, port), Handler)
    except OSError as error:
        raise InputError(f"worker.http_port {port} on {host} cannot be used ({error}); choose another") from error
    thread = threading.Thread(target=server.serve_forever, args=(SWEEP_S,), name="health", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def _scrape(status: WorkerStatus) -> tuple[str, bytes]:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)
    return CONTENT_TYPE_LATEST, generate_latest(registry)


class BoundedServer(ThreadingHTTPServer):
    """A thread for each connection, of which there are never more than `MOST_CONNECTIONS`, none older than `LONGEST_S`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, float] = {}
        """Connection -> when it was accepted, monotonic s; the oldest first."""
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a new connection its thread, and close the oldest where there are too many."""
        with self._lock:
            while len(self._open) >= MOST_CONNECTIONS:
                self._end(next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close what has been open for too long; called several times a second."""
        oldest = time.monotonic() - LONGEST_S
        with self._lock:
            for connection, since in list(self._open.items()):
                if since > oldest:
                    break
                self._end(connection)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that was answered."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close all."""
        super().server_close()
        with self._lock:
            for connection in list(self._open):
                self._end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was too slow, is no fault of the worker's."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.warning("a request to the health server failed", error=f"{type(error).__name__}: {error}")

    def _end(self, connection: socket.socket) -> None:
        """Wake its thread, which closes it: it reads the end, or cannot write any more."""
        del self._open[connection]
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster


class _Handler(BaseHTTPRequestHandler):
    timeout = LONGEST_S

    def do_GET(self) -> None:
        code, kind, body = self.answer(self.path.partition("?")[0])
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a path."""
        raise NotImplementedError

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged: probes come every few seconds."""
