"""Looks at deadlines from outside of the calls that may miss them, and ends the process where one is missed.

A graph that never returns, a Kafka client that does not come back from a call, a stop that is not obeyed: the thread concerned
cannot tell, as it is in foreign code. Everything that is committed stays; the next start goes on from there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import structlog

from wheeltapper.stream.core.running import Call, calls

log = structlog.get_logger(__name__)

LOOK_S = 0.25

# A worker that was told to stop ends within 10 s: what takes longer is not waited for.
STOP_S = 8.0

# Calls of the Kafka client are asked to return within 5 s; one that waits for an answer of the network takes up to a minute.
KAFKA_CALL_S = 90.0

# Of a batch with windows of many, so many are named.
MACHINES_NAMED = 10

# The last line and what is still in buffers get so long: where the terminal or the pipe is stuck, they are given up.
LAST_WORDS_S = 1.0


class Watchdog:
    """One thread. It ends the process by `end`, which must not return."""

    def __init__(
        self,
        *,
        graph_timeout_s: float,
        on_stop: Callable[[int], None],
        end: Callable[[int], object] = os._exit,
        stop_s: float = STOP_S,
        kafka_call_s: float = KAFKA_CALL_S,
    ) -> None:
        """
        Args:
            graph_timeout_s: how long one call of a graph may take.
            on_stop: told the number of the signal that asks to stop, in the watchdog's thread and at once, whatever the main
                thread is doing.
            end: ends the process with an exit code.
        """
        self._limits = {"graph": graph_timeout_s, "kafka": kafka_call_s}
        self._on_stop = on_stop
        self._end = end
        self._stop_s = stop_s
        self._stop_by: float | None = None
        self._since: dict[int, tuple[Call, float]] = {}
        self._ended = threading.Event()
        self._reader = self._writer = self._before = -1

    def start(self) -> None:
        """Begin. To be called in the main thread, as signals are told by a descriptor that only it may set."""
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """End without ending the process."""
        signal.set_wakeup_fd(self._before)
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            ready, _, _ = select.select([self._reader], [], [], LOOK_S)
            if ready:
                self._take_signals(os.read(self._reader, 256))
            self.look(time.monotonic())
        os.close(self._reader)
        os.close(self._writer)

    def _take_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT) and self._stop_by is None:
                self._stop_by = time.monotonic() + self._stop_s
                self._on_stop(number)

    def look(self, now: float) -> None:
        """Look at every deadline at monotonic time `now` (s)."""
        running = calls()
        self._since = {
            thread: known if (known := self._since.get(thread)) is not None and known[0] is call else (call, now)
            for thread, call in running.items()
        }
        for call, since in self._since.values():
            if now - since > self._limits[call.kind]:
                self._give_up(1, *_told(call, now - since))
                return
        if self._stop_by is not None and now > self._stop_by:
            doing = [_told(call, now - since)[0] for call, since in self._since.values()]
            text = f"was told to stop {self._stop_s:g} s ago and has not: it ends without a final commit"
            self._give_up(0, text, {"doing": doing or "nothing that is known"})

    def _give_up(self, code: int, text: str, fields: dict[str, object]) -> None:
        end_process(code, lambda: log.error(text, **fields), self._end)
        self._ended.set()


def end_process(code: int, last_words: Callable[[], object], end: Callable[[int], object] = os._exit) -> None:
    """Say the last words, write out what is in buffers, and exit at once, whatever other threads are doing."""

    def speak() -> None:
        last_words()
        sys.stdout.flush()
        sys.stderr.flush()

    speaker = threading.Thread(target=speak, name="last words", daemon=True)
    speaker.start()
    speaker.join(LAST_WORDS_S)
    end(code)


def _told(call: Call, seconds: float) -> tuple[str, dict[str, object]]:
    if call.kind == "graph":
        machines = list(dict.fromkeys(call.machines))
        named = ", ".join(f"'{machine}'" for machine in machines[:MACHINES_NAMED])
        if len(machines) > MACHINES_NAMED:
            named += f" and {len(machines) - MACHINES_NAMED} more"
        text = (
            f"the graph of bundle '{call.what}' has not returned for {seconds:.0f} s (scoring.graph_timeout_s), with windows of "
            f"{'machine' if len(machines) == 1 else 'machines'} {named} in its batch: the worker ends; a restart meets the same "
            "rows, so replace the bundle if it happens again"
        )
        return text, {"bundle": call.what, "machines": machines[:MACHINES_NAMED], "windows": call.windows}
    text = (
        f"the Kafka client has not returned from {call.what} for {seconds:.0f} s: the worker ends; nothing was committed past the "
        "last good batch, the next start goes on from there"
    )
    return text, {"call": call.what}
