"""The health server answers probes whatever other clients do, and keeps no connection for long."""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream import health_server
from wheeltapper.stream.health import WorkerStatus
from wheeltapper.stream.health_server import MOST_CONNECTIONS, serve_health
from wheeltapper.stream.progress import Progress


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    end = serve_health(WorkerStatus(Progress(60.0)), "127.0.0.1", port)
    yield port
    end()


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_each_path_has_its_answer(port: int) -> None:
    # given a worker that has no bundles yet: then each path says what it knows
    assert get(port, "/healthz") == (200, b"ok\n")
    assert get(port, "/readyz?verbose") == (503, b"bundles are being loaded\n")
    assert b"wheeltapper_ready 0.0" in get(port, "/metrics")[1]
    assert get(port, "/")[0] == 404


def test_idle_connections_take_neither_threads_without_end_nor_the_place_of_a_probe(port: int) -> None:
    # given a client that opens hundreds of connections and says nothing
    before = threads()
    with ExitStack() as clients:
        for _ in range(300):
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        # then a probe is answered all the same, and the threads are few
        assert get(port, "/healthz") == (200, b"ok\n")
        wait_for(lambda: threads() - before <= MOST_CONNECTIONS)


def test_slow_clients_are_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # given clients that send a byte now and then, and one that asks and does not read
    monkeypatch.setattr(health_server, "LONGEST_S", 0.5)
    before = threads()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
        clients[0].sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 1000)
        started = time.monotonic()
        # when they go on for longer than a request may take
        open_still = set(clients[1:])
        while open_still:
            assert time.monotonic() - started < 60
            for client in list(open_still):
                try:
                    client.sendall(b"G")
                except OSError:
                    open_still.discard(client)
            time.sleep(0.05)
        # then they are cut off, and their threads are gone
        wait_for(lambda: threads() <= before)


def test_its_end_frees_port_and_threads() -> None:
    # given a server with a connection open
    before = threads()
    port = free_port()
    end = serve_health(WorkerStatus(Progress(60.0)), "127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)):
        assert get(port, "/healthz")[0] == 200
        # a second one cannot have its port
        with pytest.raises(InputError, match=r"worker.http_port \d+ on 127.0.0.1 cannot be used"):
            serve_health(WorkerStatus(Progress(60.0)), "127.0.0.1", port)
        # when it ends
        end()
        # then the port is free, and no thread is left
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        wait_for(lambda: threads() <= before)
