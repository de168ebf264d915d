"""Machines that have fallen silent, that speak again, and that are forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from wheeltapper.schemas.events import ClearReason
from wheeltapper.schemas.topics import STATE
from wheeltapper.stream.core.counters import Counters, count
from wheeltapper.stream.core.judging import Emission
from wheeltapper.stream.judges.silence import allowed_silence_s, end_of_silence, start_of_silence
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.outgoing import alert_output, alert_outputs
from wheeltapper.stream.partition import PartitionKey, PartitionState
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings


class SilentMachines:
    """Looks after machines that send nothing."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters

    def tick(
        self, partitions: Mapping[PartitionKey, PartitionState], now: float, is_at_end: Callable[[PartitionKey], bool]
    ) -> list[Output]:
        """What time alone brings about: machines that have fallen silent, machines that are forgotten.

        Args:
            now: monotonic time (s).
            is_at_end: whether a partition is known to have been read to its end; asked only where a machine is overdue.
        """
        outputs: list[Output] = []
        silence, forget_s = self._settings.no_data, self._settings.state.forget_machine_after_s
        shortest_s = min(silence.at_least_s, forget_s) if silence.after_intervals else forget_s
        for key, partition in partitions.items():
            overdue = [
                (machine, now - heard)
                for machine, heard in partition.unheard(now - shortest_s)
                if now - heard >= min(forget_s, self._allowed_silence_s(machine))
            ]
            if not overdue or not is_at_end(key):
                continue
            for machine, silent_s in overdue:
                if _has_moved(partitions, key, machine, now - silent_s):
                    outputs += self._forget(partition, machine, ClearReason.SUPERSEDED)
                elif silent_s >= forget_s:
                    outputs += self._forget(partition, machine)
                else:
                    outputs += self._find_silent(partition, machine, silent_s, now)
        return outputs

    def _find_silent(self, partition: PartitionState, machine: Machine, silent_s: float, now: float) -> list[Output]:
        last = machine.memory.last_time
        assert last is not None
        allowed_s = self._allowed_silence_s(machine)
        partition.mark_silent(machine, now)
        count(self._counters.alerts, "opened")
        self._counters.silent_machines += 1
        return alert_outputs([start_of_silence(machine.name, last, silent_s, allowed_s)], machine.route)

    def _allowed_silence_s(self, machine: Machine) -> float:
        """Seconds after which the machine's silence is news."""
        silence = self._settings.no_data
        if not silence.after_intervals or machine.silent_since is not None or machine.memory.last_time is None:
            return math.inf
        return allowed_silence_s(silence, machine.route.layout.interval_us)

    def speaks_again(self, machine: Machine, offset: int, time: int) -> Emission:
        """The end of a machine's silence, with the message at `offset` and event time `time` (us)."""
        since, machine.silent_since = machine.silent_since, None
        assert since is not None
        count(self._counters.alerts, "cleared")
        event = end_of_silence(machine.name, since, time, ClearReason.RECOVERED)
        return Emission(offset, alert_output(machine.route.placed(event)))

    def _forget(
        self, partition: PartitionState, machine: Machine, reason: ClearReason = ClearReason.NO_DATA
    ) -> list[Output]:
        self._counters.forgotten_machines += 1
        tombstone = Output(STATE, machine.name.encode(), None, partition=partition.number)
        return [*partition.forget(machine, reason), *partition.addressed([tombstone])]


def _has_moved(
    partitions: Mapping[PartitionKey, PartitionState], key: PartitionKey, machine: Machine, since: float
) -> bool:
    """Whether another partition of the topic has heard the machine since: the topic was given partitions meanwhile."""
    return any(
        other[0] == key[0] and other != key and state.heard_since(machine.name, since)
        for other, state in partitions.items()
    )
