"""What must come out, computed offline: plain numpy windows, one ONNX Runtime session, a plain loop over the scores."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from workload import CLEAR_DURATION, CLEAR_RATIO, RAISE_LEVEL, STRIDE, WINDOW, Detector, Workload

# (machine, 'opened' or 'cleared', opened_at, time)
Event = tuple[str, str, int, int]

# Batches of another size may change the last bits of a score; no score may stand so close to a level that this matters.
MARGIN = 1e-5


def reference_events(workload: Workload, detector: Detector) -> set[Event]:
    """Every step of every alert that the rows cause.

    Raises:
        RuntimeError: a score is too close to a level to tell on which side other batch sizes put it.
    """
    session = ort.InferenceSession(detector.graph, providers=["CPUExecutionProvider"])
    events: set[Event] = set()
    ends = np.arange(WINDOW - 1, len(workload.ts), STRIDE)  # index of each window's last row
    for machine, rows in zip(workload.machines, workload.values, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(rows, WINDOW, axis=0)[::STRIDE].transpose(0, 2, 1)
        raw = np.concatenate(
            [
                session.run(["score"], {"window": np.ascontiguousarray(windows[start : start + 512])})[0]
                for start in range(0, len(windows), 512)
            ]
        ).astype(np.float64)
        scores = np.maximum((raw - detector.center) / (detector.alarm_level - detector.center), 0.0)
        for level in (RAISE_LEVEL, RAISE_LEVEL * CLEAR_RATIO):
            if np.min(np.abs(scores - level)) < MARGIN:
                raise RuntimeError(f"{machine}: a score is within {MARGIN:g} of level {level:g}; choose another seed")
        events |= _life(machine, scores, workload.ts[ends])
    return events


def _life(machine: str, scores: np.ndarray, times: np.ndarray) -> set[Event]:
    events: set[Event] = set()
    opened_at: int | None = None
    below = 0
    for score, time in zip(scores.tolist(), times.tolist(), strict=True):
        if opened_at is None:
            if score >= RAISE_LEVEL:
                opened_at, below = time, 0
                events.add((machine, "opened", opened_at, time))
        else:
            below = below + 1 if score < RAISE_LEVEL * CLEAR_RATIO else 0
            if below >= CLEAR_DURATION:
                events.add((machine, "cleared", opened_at, time))
                opened_at = None
    return events
