"""Deadlines that are looked at from outside of the call: graphs and clients that never return, stops that are not obeyed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from wheeltapper.stream.core.running import Call, calls, running
from wheeltapper.stream.watchdog import Watchdog

# Never returns, and no signal interrupts it: a mutex that its owner locks once more.
STUCK = """
import ctypes, sys, threading
from wheeltapper.stream.core.running import Call, running
from wheeltapper.stream.watchdog import Watchdog
stopping = threading.Event()
dog = Watchdog(graph_timeout_s={graph_s}, on_stop=lambda number: (print("told", number, flush=True), stopping.set()), stop_s=0.5)
import signal
signal.signal(signal.SIGTERM, lambda number, frame: None)
dog.start()
mutex, libc = ctypes.create_string_buffer(128), ctypes.CDLL(None)
libc.pthread_mutex_lock(mutex)
print("stuck", flush=True)
with running(Call("graph", "pumps-7", ["pump-3", "pump-3", "pump-4"], 64)):
    libc.pthread_mutex_lock(mutex)
"""


@pytest.fixture
def ended() -> list[int]:
    return []


@pytest.fixture
def dog(ended: list[int]) -> Watchdog:
    """One that notes the exit code instead of ending the process; its deadlines are looked at by hand."""
    return Watchdog(graph_timeout_s=60.0, on_stop=lambda number: None, end=ended.append, stop_s=8.5, kafka_call_s=90.0)


def test_a_graph_that_does_not_return_ends_the_process_by_name(
    dog: Watchdog, ended: list[int], log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given graphs that return in time, however many
    for moment in range(0, 300, 50):
        with running(Call("graph", "pumps-7", ["pump-3", "pump-3", "pump-4"], 64)):
            dog.look(float(moment))
    assert ended == []
    # when one does not
    with running(Call("graph", "pumps-7", ["pump-3", "pump-3", "pump-4"], 64)):
        dog.look(1_000.0)
        dog.look(1_060.0)
        assert ended == []
        dog.look(1_060.1)
    # then the process ends, and the line names bundle and machine
    assert ended == [1]
    line = log_lines[-1]
    assert (line["bundle"], line["machines"], line["windows"]) == ("pumps-7", ["pump-3", "pump-4"], 64)
    assert "the graph of bundle 'pumps-7' has not returned for 60 s (scoring.graph_timeout_s)" in line["event"]
    assert "machines 'pump-3', 'pump-4'" in line["event"]


def test_a_kafka_client_that_does_not_return_ends_the_process_by_the_calls_name(
    dog: Watchdog, ended: list[int], log_lines: list[MutableMapping[str, Any]]
) -> None:
    # given a call of another thread, in which a shorter one lies
    inside, leave = threading.Event(), threading.Event()

    def call() -> None:
        with running(Call("kafka", "send_offsets_to_transaction")):
            with running(Call("kafka", "poll")):
                pass
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=call)
    thread.start()
    assert inside.wait(30)
    # when it has not returned in time, then the process ends
    dog.look(5.0)
    dog.look(95.1)
    assert ended == [1]
    assert "has not returned from send_offsets_to_transaction for 90 s" in log_lines[-1]["event"]
    leave.set()
    thread.join(30)
    assert calls() == {}


@pytest.mark.parametrize(("graph_s", "code"), [(60.0, 0), (0.5, 1)])
def test_the_process_ends_whatever_the_main_thread_is_doing(graph_s: float, code: int) -> None:
    # given a process whose main thread is in a call that neither returns nor sees a signal
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(graph_s=graph_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"
    started = time.monotonic()
    # when it is told to stop, or its graph's time is over
    if code == 0:
        os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    # then it ends, and says in what it was
    assert process.returncode == code, output
    assert time.monotonic() - started < 60
    assert "the graph of bundle 'pumps-7' has not returned" in output
    assert ("was told to stop 0.5 s ago and has not" in output) == (code == 0)
    assert ("told 15" in output) == (code == 0)
