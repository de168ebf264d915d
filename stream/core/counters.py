"""What the pipeline has done since it started; metrics, logs and the demo's summary read it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from wheeltapper.stream.core.distribution import Distribution


@dataclass(slots=True)
class Counters:
    """Plain counts.

    Attributes:
        messages: handled; with `dead_letters` (by reason) they add up to what was produced.
        rows: taken in; late_rows: dropped as not newer than their machine's last; ahead_rows: refused as from the future.
        imputed_values: missing values that were carried forward.
        readings: of messages that carry readings one by one, what was noticed: late, repeated, expired (a held value that was too
            old for a row), bad-quality, unknown-tag, ahead.
        odd_rates: machines whose rows or readings come at another rate than their bundle's.
        clock_restarts, gaps: how often a machine's window started anew, and why.
        sound_samples: of sound, taken in of each channel. sound: chunks, or quarters of a second, in which something was noticed:
            skew, overlap, repeated, late, filled-gap, gap, clock-restart, rate-change; clipped, offset, silent.
        dead_microphones: alerts of the rule 'dead-microphone' opened.
        windows: scored. not_finite_scores: of them, those whose graph gave no finite number. alerts: events by kind.
        label_requests: windows that a person was asked about.
        drifts: by event. drift_blocks: blocks by what became of them: judged, or why they gave no evidence; among the judged
            ones those with stuck or missing channels.
        silent_machines: NO_DATA alerts opened. forgotten_machines: dropped after state.forget_machine_after_s.
        deployments: from the topic `models`, by what became of them. alarm_commands: of operators, by action.
        cut_messages, split_messages: that were larger than their topic takes, by topic without prefix: sent without a part, which
            a header names, or in several.
        state_refused: records of the topic `state` that were not used, or parts of them, by reason: seal, parts, unreadable, offset,
            clock, slot, progress, changes.
        repeated_rows: known by their times, where the input's offsets broke. input_events: what happened to input topics, by kind.
        expired_messages: gone before they were read, at most. remade_topics: how often a topic that the worker writes was made anew
            under it, by topic without prefix.
        scores: calibrated scores, by detector; shadows are left out.
        latencies: of 'opened' and 'updated' alerts, seconds until they were given to Kafka, by what they are counted from.
        newest_time: newest event time of any machine, microseconds UTC.
    """

    messages: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    late_rows: int = 0
    ahead_rows: int = 0
    repeated_rows: int = 0
    imputed_values: int = 0
    readings: dict[str, int] = field(default_factory=dict)
    odd_rates: int = 0
    clock_restarts: int = 0
    gaps: int = 0
    sound_samples: int = 0
    sound: dict[str, int] = field(default_factory=dict)
    dead_microphones: int = 0
    windows: int = 0
    not_finite_scores: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    label_requests: int = 0
    drifts: dict[str, int] = field(default_factory=dict)
    drift_blocks: dict[str, int] = field(default_factory=dict)
    silent_machines: int = 0
    forgotten_machines: int = 0
    deployments: dict[str, int] = field(default_factory=dict)
    alarm_commands: dict[str, int] = field(default_factory=dict)
    cut_messages: dict[str, int] = field(default_factory=dict)
    split_messages: dict[str, int] = field(default_factory=dict)
    state_refused: dict[str, int] = field(default_factory=dict)
    input_events: dict[str, int] = field(default_factory=dict)
    expired_messages: int = 0
    remade_topics: dict[str, int] = field(default_factory=dict)
    scores: dict[str, Distribution] = field(default_factory=dict)
    latencies: dict[str, Distribution] = field(default_factory=dict)
    newest_time: int = 0

    def __add__(self, other: Counters) -> Counters:
        """Counts of both together; the later of the newest times."""
        total = Counters()
        for each in fields(Counters):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                # Copied: the worker's thread may add a key meanwhile.
                mine, others = dict(mine), dict(others)
                both = {name: mine.get(name, 0) + others.get(name, 0) for name in mine | others}
            else:
                both = max(mine, others) if each.name == "newest_time" else mine + others
            setattr(total, each.name, both)
        return total


def observe(found: dict[str, Distribution], name: str, bounds: tuple[float, ...], values: Any) -> None:
    """Count values in `found[name]`."""
    if name not in found:
        found[name] = Distribution(bounds)
    found[name].observe(values)


def count(counts: dict[str, int], name: str) -> None:
    """Add one to `counts[name]`."""
    counts[name] = counts.get(name, 0) + 1
