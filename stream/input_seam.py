"""What becomes of a machine's memory where the input's offsets break: see `input_life`.

A topic made anew goes on where the old one ended: windows, thresholds and open alerts stay. A machine whose first row of it is not
newer than its last begins again at once. Where the same rows may come under other offsets, they are known by their times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wheeltapper.schemas.events import ClearReason
from wheeltapper.stream.core.alert_judge import THRESHOLD
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.input_life import InputLife
from wheeltapper.stream.kinds.contract import Layout
from wheeltapper.stream.machine import Machine
from wheeltapper.stream.orphans import ends_of_rules
from wheeltapper.stream.outgoing import alert_outputs
from wheeltapper.stream.records import Output


def without_repeats(machine: Machine, block: Any, life: InputLife, counters: Counters) -> Any | None:
    """A block of a machine that has not been met in this life yet, without what it has had under other offsets.

    Returns:
        None where all of it has been; the machine is then left as it is.
    """
    last = machine.memory.last_time
    if last is None or int(block.offsets[0]) >= life.repeats_until:
        return block
    new = np.flatnonzero((block.times > last) | (block.offsets >= life.repeats_until))
    first = int(new[0]) if len(new) else len(block.offsets)
    counters.repeated_rows += first
    if first == len(block.offsets):
        return None
    return block.after(int(block.offsets[first]) - 1) if first else block


def meet(machine: Machine, block: Any, life: InputLife, layout: Callable[[], Layout]) -> list[Output]:
    """Take the machine into this life with its first block of it; what has to be published where it begins again.

    Args:
        layout: of the machine's input under the rules that serve it.
    """
    machine.life, machine.offset = life.number, -1
    last = machine.memory.last_time
    if last is None or int(block.times[0]) > last:
        return []
    return _begin_again(machine, layout())


def _begin_again(machine: Machine, layout: Layout) -> list[Output]:
    """Time has gone back: windows start from nothing, open alerts end; what thresholds have learned stays."""
    kind = machine.route.kind
    ended = ends_of_rules(machine, machine.rules, ClearReason.SUPERSEDED)
    ended += kind.ended(machine.name, machine.memory.dump()[0], ClearReason.SUPERSEDED)
    machine.memory = kind.memory(layout)
    for served in machine.rules.values():
        memory = served.runtime.new_memory()
        memory.slots[THRESHOLD] = served.memory.slots[THRESHOLD]
        served.memory = memory
    return alert_outputs(ended, machine.route)
