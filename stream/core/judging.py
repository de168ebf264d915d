"""Windows of one machine in a rule's batch, between being cut and being judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wheeltapper.stream.core.alert_life import RuleState
from wheeltapper.stream.core.windows import Machine, SpannedRows
from wheeltapper.stream.partition import PartitionState


@dataclass(frozen=True, slots=True)
class Segment:
    """Windows of one machine in a rule's batch: entries [start, stop) of its scores.

    Attributes:
        times: [k] int64 event time of each scored row, rising.
        offsets: [k] int64 input offset of the message that completed each window.
        quality: [k] float64 share of measured values.
        absent: [k, C] bool, values of the scored rows that were imputed; None where none were.
        rows: the windows' own rows; only where label requests are wanted, which carry them.
    """

    partition: PartitionState
    machine: Machine
    state: RuleState
    start: int
    stop: int
    times: np.ndarray
    offsets: np.ndarray
    quality: np.ndarray
    absent: np.ndarray | None
    rows: SpannedRows | None = None
