"""A schema registry on a local port, with the calls that confluent-kafka's clients make; everything of it is in memory."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid5

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryDouble:
    """The registry's schemas, and what it was asked.

    Attributes:
        calls: (method, path without query), of each request.
        user: name and password that it wants; None: it takes everyone. token: in their place.
        failures: so many of the next requests are answered with 503.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.user: tuple[str, str] | None = None
        self.token: str | None = None
        self.failures = 0
        self.url = ""
        self._schemas: list[dict[str, Any]] = []
        """By id from 1 on: schema, schemaType, references."""
        self._subjects: dict[str, list[int]] = {}

    def count(self, method: str, start: str) -> int:
        """How many requests of a kind there were."""
        return sum(called == method and path.startswith(start) for called, path in self.calls)

    def register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """A version of a subject, new where it is not known."""
        entry = {
            "schema": body["schema"],
            "schemaType": body.get("schemaType") or "AVRO",
            "references": body.get("references") or [],
        }
        if entry not in self._schemas:
            self._schemas.append(entry)
        number = self._schemas.index(entry) + 1
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return self._version(subject, versions.index(number) + 1)

    def guid(self, number: int) -> str:
        return str(uuid5(UUID(int=0), str(number)))

    def answer(self, method: str, path: str, headers: Any, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of the answer to a request."""
        if self.failures:
            self.failures -= 1
            return 503, {"error_code": 50301, "message": "not now"}
        if not self._may_enter(headers.get("Authorization", "")):
            return 401, {"error_code": 401, "message": "Unauthorized"}
        words = [unquote(word) for word in path.strip("/").split("/")]
        try:
            match (method, words):
                case ("GET", ["schemas", "ids", number]):
                    return 200, self._schema(int(number))
                case ("GET", ["schemas", "guids", guid]):
                    numbers = range(1, len(self._schemas) + 1)
                    return 200, self._schema(next(number for number in numbers if self.guid(number) == guid))
                case ("GET", ["subjects", subject, "versions", version]):
                    return 200, self._version(subject, int(version))
                case ("POST", ["subjects", subject, "versions"]):
                    return 200, self.register(subject, body)
                case ("POST", ["subjects", subject]) if subject in self._subjects:
                    return 200, self.register(subject, body)
        except (IndexError, KeyError, StopIteration, ValueError):
            pass
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _may_enter(self, authorization: str) -> bool:
        if self.token is not None:
            return authorization == f"Bearer {self.token}"
        if self.user is None:
            return True
        return authorization == "Basic " + base64.b64encode(":".join(self.user).encode()).decode()

    def _schema(self, number: int) -> dict[str, Any]:
        if number < 1:
            raise IndexError(number)
        return {**self._schemas[number - 1], "id": number, "guid": self.guid(number)}

    def _version(self, subject: str, version: int) -> dict[str, Any]:
        if version < 1:
            raise IndexError(version)
        number = self._subjects[subject][version - 1]
        return {**self._schema(number), "subject": subject, "version": version}


@contextmanager
def schema_registry(context: Any = None) -> Iterator[RegistryDouble]:
    """A registry that serves until the end.

    Args:
        context: an ssl.SSLContext, where it serves HTTPS.
    """
    double = RegistryDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Nothing to standard error."""

        def _serve(self) -> None:
            path = urlsplit(self.path).path
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            double.calls.append((self.command, path))
            status, answer = double.answer(self.command, path, self.headers, body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", _CONTENT_TYPE)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    double.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
