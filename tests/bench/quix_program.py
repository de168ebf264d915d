"""The job as a quixstreams program would do it: windows in State, one `session.run` a window, at-least-once, changelogs on.

Runs in the bench's own environment, so it imports nothing of the project. Three ways to keep a window in State:

    rows    `state.get` and `state.set` of lists of rows, JSON in State as is the library's default. The window is written
            only when it is due; the few rows since then are a value of their own. (Writing the whole window with
            every row, which is what comes to mind first, is 2.5 times slower; one value a row 1.3 times.)
    bytes   `get_bytes` and `set_bytes`: a machine is one packed value, no JSON; the most that the library gives
    none    no State: windows in the process, lost in a crash; shows what State costs

In each, quixstreams keeps a machine's value in memory until its checkpoint (5 s) and sends one changelog record then.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from quixstreams import Application, State

HEADER = struct.Struct("<qqq")  # rows seen, opened_at (0: no open alert), windows in a row below the clear level


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--job", type=Path, required=True, help="job.json written by run.py")
    parser.add_argument("--input", required=True)
    parser.add_argument("--alerts", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--encoding", choices=["json", "arrow"], default="json")
    parser.add_argument("--state", choices=["rows", "bytes", "none"], default="rows")
    parser.add_argument("--until-idle", type=float, default=5.0, help="seconds")
    arguments = parser.parse_args()
    job = json.loads(arguments.job.read_text())

    app = Application(
        broker_address=arguments.brokers,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        state_dir=Path("state"),
        loglevel="WARNING",
    )
    source = app.topic(
        arguments.input, key_deserializer="str", value_deserializer="json" if arguments.encoding == "json" else "bytes"
    )
    alerts = app.topic(arguments.alerts, key_serializer="str", value_serializer="json")
    detector = Detector(job)
    frame = app.dataframe(source)
    if arguments.encoding == "json":
        if arguments.state == "rows":
            frame = frame.apply(detector.on_row, stateful=True)
        elif arguments.state == "bytes":
            frame = frame.apply(detector.on_row_bytes, stateful=True)
        else:
            frame = frame.apply(detector.on_row_in_memory)
        frame = frame.filter(lambda alert: alert is not None)
    else:
        frame = frame.apply(detector.on_block, stateful=True, expand=True, metadata=True)
    frame.to_topic(alerts)
    app.run(timeout=arguments.until_idle, collect=False)


class Detector:
    """Window, score and rule of one machine at a time; everything that must survive is in State."""

    def __init__(self, job: dict[str, Any]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(job["graph"], sess_options=options, providers=["CPUExecutionProvider"])
        self.window: int = job["window"]
        self.stride: int = job["stride"]
        if self.window % self.stride:
            raise SystemExit("quix_program: the stride must divide the window")
        self.names: list[str] = job["channels"]
        self.center: float = job["center"]
        self.span: float = job["alarm_level"] - job["center"]
        self.raise_level: float = job["raise_level"]
        self.clear_level: float = job["raise_level"] * job["clear_ratio"]
        self.clear_duration: int = job["clear_duration"]
        self.pick = itemgetter(*self.names)
        self.pack = struct.Struct(f"<{len(self.names)}f").pack
        self.row_bytes = 4 * len(self.names)
        self.memory: dict[str, bytes] = {}
        self.empty = HEADER.pack(0, 0, 0) + bytes(self.window * self.row_bytes)

    def on_row(self, message: dict[str, Any], state: State) -> dict[str, Any] | None:
        """One row a message; State holds the window up to its last due row, and the few rows since."""
        recent = state.get("recent", [])
        recent.append(self.pick(message["values"]))
        if len(recent) < self.stride:
            state.set("recent", recent)
            return None
        state.set("recent", [])
        window = (state.get("window", []) + recent)[-self.window :]
        state.set("window", window)
        if len(window) < self.window:
            return None
        opened_at, below = state.get("alert", (0, 0))
        rows = np.array(window, dtype=np.float32)
        opened_at, below, alert = self.judge(rows, message["machine"], message["ts"], opened_at, below)
        state.set("alert", (opened_at, below))
        return alert

    def on_row_bytes(self, message: dict[str, Any], state: State) -> dict[str, Any] | None:
        """One row a message; everything of a machine is one bytes value."""
        stored, alert = self.step(message, state.get_bytes("machine", self.empty))
        state.set_bytes("machine", stored)
        return alert

    def on_row_in_memory(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """One row a message; nothing survives."""
        machine = message["machine"]
        self.memory[machine], alert = self.step(message, self.memory.get(machine, self.empty))
        return alert

    def step(self, message: dict[str, Any], stored: bytes) -> tuple[bytes, dict[str, Any] | None]:
        seen, opened_at, below = HEADER.unpack_from(stored)
        window = stored[HEADER.size + self.row_bytes :] + self.pack(*self.pick(message["values"]))
        seen += 1
        alert = None
        if seen >= self.window and (seen - self.window) % self.stride == 0:
            rows = np.frombuffer(window, np.float32).reshape(self.window, -1)
            opened_at, below, alert = self.judge(rows, message["machine"], message["ts"], opened_at, below)
        return HEADER.pack(seen, opened_at, below) + window, alert

    def on_block(
        self, message: bytes, key: str, _timestamp: int, _headers: Any, state: State
    ) -> Iterator[dict[str, Any]]:
        """A block of rows a message: State is read and written once a block."""
        from arrow_rows import rows_of

        times, values = rows_of(message, self.names)
        stored = state.get_bytes("machine", self.empty)
        seen, opened_at, below = HEADER.unpack_from(stored)
        tail = np.frombuffer(stored, np.float32, offset=HEADER.size).reshape(self.window, -1)
        rows = np.concatenate([tail, values])
        for index in range(len(values)):
            count = seen + index + 1
            if count >= self.window and (count - self.window) % self.stride == 0:
                window = rows[index + 1 : index + 1 + self.window]
                opened_at, below, alert = self.judge(window, key, int(times[index]), opened_at, below)
                if alert is not None:
                    yield alert
        state.set_bytes("machine", HEADER.pack(seen + len(values), opened_at, below) + rows[-self.window :].tobytes())

    def judge(
        self, window: np.ndarray, machine: str, time: int, opened_at: int, below: int
    ) -> tuple[int, int, dict[str, Any] | None]:
        """Score one window and move the rule on: opened_at, below, and the alert's step if there is one."""
        raw, contribution = self.session.run(["score", "contribution"], {"window": window[None]})
        score = max((float(raw[0]) - self.center) / self.span, 0.0)
        if not opened_at:
            if score < self.raise_level:
                return 0, 0, None
            opened_at, below, event = time, 0, "opened"
        else:
            below = below + 1 if score < self.clear_level else 0
            if below < self.clear_duration:
                return opened_at, below, None
            event = "cleared"
        worst = np.argsort(-contribution[0])[:5]
        shares = contribution[0] / contribution[0].sum()
        alert = {
            "machine": machine,
            "event": event,
            "opened_at": opened_at,
            "time": time,
            "score": score,
            "channels": [{"channel": self.names[i], "share": float(shares[i])} for i in worst],
        }
        return (opened_at if event == "opened" else 0), below, alert


if __name__ == "__main__":
    main()
