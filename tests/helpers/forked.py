"""Commands of the program, each in a process of its own, by one process that has loaded the program and forks.

Most of the CPU time of a command that does little goes into loading modules. `Command` is a `subprocess.Popen` of `python -m wheeltapper
WORDS..` without that: `python -m tests.helpers.forked` loads what the commands of a running plant need, once for each test process,
and forks for each of them. What comes of it is a child of the test process like any other: it can be waited for, killed and
stopped, and its CPU time is counted. Python itself is started where there is no Linux, and where variables that it reads at its start
are others than here; and tests of what a start loads or takes start it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
# In the order in which a worker loads them: the first ones say how the next are loaded.
LOADED = (
    "wheeltapper.kafka_admin",
    "wheeltapper.stream.logs",
    "wheeltapper.stream.settings",
    "wheeltapper.stream.worker",
    "wheeltapper.stream.runners.direct_runner",
)
# One thread: the others of a process that forks are missing in its children. onnxruntime starts one to tell Microsoft of its use.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
# jemalloc, which pyarrow brings, starts its own again in a child.
STARTED_AGAIN = "jemalloc_bg_thd"
# It gives itself that name, after its start.
THREAD_HAS_NAME_S = 30.0
ENDS_WITHIN_S = 60.0
# What Python reads when it starts, and what numpy does when it is loaded, apart from the folder to load from.
READ_AT_START = ("PYTHON", "LC_", "LANG", "OPENBLAS_")
LARGEST_REQUEST = 1 << 20
PR_SET_CHILD_SUBREAPER = 36
NOT_THERE = "the process that forks has ended; its reason is on standard error"


class Command(subprocess.Popen[Any]):
    """`python -m wheeltapper WORDS..`; options are those of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        self._words = list(words)
        self._forked = sys.platform.startswith("linux") and not _starts_otherwise(options.get("env"))
        super().__init__([sys.executable, "-m", "wheeltapper", *words], **options)

    def _execute_child(self, *given: Any, **named: Any) -> None:
        start = subprocess.Popen._execute_child  # type: ignore[attr-defined]
        if not self._forked:
            start(self, *given, **named)
            return
        asked = inspect.signature(start).bind(self, *given, **named).arguments
        files = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        request = {
            "words": self._words,
            "environment": dict(os.environ if asked["env"] is None else asked["env"]),
            "folder": str(asked["cwd"] or os.getcwd()),
            "session": bool(asked["start_new_session"]),
        }
        try:
            self.pid = _forking.fork(request, [own if file < 0 else file for own, file in enumerate(files)])
            self._child_created = True
        finally:
            self._close_pipe_fds(  # type: ignore[attr-defined]
                *(asked[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
            )


def run(words: Sequence[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` of a command, with its output captured; `input` may be given."""
    given = options.pop("input", None)
    options["stdin"] = subprocess.DEVNULL if given is None else subprocess.PIPE
    with Command(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, err = process.communicate(given, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _starts_otherwise(environment: Mapping[str, str] | None) -> bool:
    """True where Python would read other variables at its start than it did here."""
    if environment is None:
        return False
    names = {name for name in {*environment, *os.environ} if name.startswith(READ_AT_START) and name != "PYTHONPATH"}
    return any(environment.get(name) != os.environ.get(name) for name in names)


class _Forking:
    """The process that forks, started at the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None

    def fork(self, request: Mapping[str, Any], files: Sequence[int]) -> int:
        """The process id of a new child of this process that does what is asked, with these files as its first three."""
        message = json.dumps(request).encode()
        assert len(message) < LARGEST_REQUEST
        with self._lock:
            channel = self._channel = self._channel or self._start()
            # While it is set, a child's child whose parent ends becomes ours: the one that is asked for here.
            _adopt(True)
            try:
                socket.send_fds(channel, [message], list(files))
                answer = channel.recv(64)
            finally:
                _adopt(False)
        if not answer:
            raise RuntimeError(NOT_THERE)
        return int(answer)

    def _start(self) -> socket.socket:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_REQUEST)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.forked", str(there.fileno())],
            cwd=CHECKOUT,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        there.close()

        def end() -> None:
            here.close()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        atexit.register(end)
        if not here.recv(64):
            raise RuntimeError(NOT_THERE)
        return here


_forking = _Forking()


def _adopt(whether: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0)


def _load() -> None:
    from wheeltapper.cli import COMMANDS, command_module
    from wheeltapper.command_line import load_structlog

    load_structlog()
    for name in LOADED:
        importlib.import_module(name)
    from wheeltapper.stream.runners.faust_import import import_faust

    import_faust()
    importlib.import_module("wheeltapper.stream.runners.faust_runner")
    for command in COMMANDS:
        command_module(command)
    deadline = time.monotonic() + THREAD_HAS_NAME_S
    while len(threads := [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]) > 1:
        if threads.count(STARTED_AGAIN) == len(threads) - 1:
            break
        assert time.monotonic() < deadline, f"more threads than one: {threads}"
        time.sleep(0.01)
    gc.collect()
    gc.freeze()


def _serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns it in the child; None once nobody asks any more."""
    while True:
        message, files, _, _ = socket.recv_fds(channel, LARGEST_REQUEST, 3)
        if not message:
            return None
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            if child := os.fork():
                os.write(writing, str(child).encode())
                os._exit(0)
            for own, file in enumerate(files):
                os.dup2(file, own)
            for file in (reading, writing, channel.detach(), *files):
                os.close(file)
            request: dict[str, Any] = json.loads(message)
            return request
        for file in (writing, *files):
            os.close(file)
        # Once the process between has ended, the child belongs to who asked.
        os.waitpid(between, 0)
        channel.send(os.read(reading, 64))
        os.close(reading)


def _become(request: Mapping[str, Any]) -> None:
    """What Python would have found at its start."""
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    if request["session"]:
        os.setsid()
    with suppress(ValueError):
        sys.path.remove(str(CHECKOUT))
    sys.path.insert(0, os.getcwd())
    sys.argv = ["wheeltapper", *request["words"]]


if __name__ == "__main__":
    _channel = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _channel.send(b"ready")
    _request = _serve(_channel)
    if _request is not None:
        _become(_request)
        runpy.run_module("wheeltapper", run_name="__main__", alter_sys=True)
