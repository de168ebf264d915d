"""Pairs of domains that adaptation is measured on: source windows, and target windows to adapt on and to be judged on.

In every pair the target's windows for adaptation come from earlier rows than those for judgement, and share none with
them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import InputError
from training.datasets.cbm_motor import LOADS_LB, SPEEDS_RPM, BandRows, Recording, recordings
from training.domain_adaptation.domains import WindowDomain


@dataclass(frozen=True)
class Pair:
    """
    Attributes:
        group: pairs of one kind are averaged.
        name: 'source > target'.
        sources: labelled.
        target: what is adapted on, with its labels; methods see it unlabelled, except for 'target-supervised'.
        test: what is judged, later rows of the target.
        vus_buffer: windows by which VUS widens a labelled stretch at most.
    """

    group: str
    name: str
    sources: tuple[WindowDomain, ...]
    target: WindowDomain
    test: WindowDomain
    vus_buffer: int


MOTOR_WINDOW = 16
# Half of each second is for training, half for judgement, with 40 ms between them that belong to neither.
MOTOR_CUT_SAMPLES, MOTOR_GAP_SAMPLES = 9_600, 800
# A machine is well most of the time, but these recordings are of one healthy and twelve faulty states. All windows of the
# healthy state and few of the faulty ones, evenly spread over each recording, make a quarter of the windows anomalous.
MOTOR_ANOMALOUS_SHARE = 0.25


def motor_pairs(data: Path, group: str) -> list[Pair]:
    """Speed to speed (12 pairs, both loads in each domain) or load to load (2 pairs, all speeds in each domain).

    Args:
        data: folder of the recordings.
        group: 'motor speed' or 'motor load'.

    Raises:
        InputError: a condition without recordings.
    """
    found = recordings(data)
    bands = BandRows()
    early = [bands.rows(item.signal[:MOTOR_CUT_SAMPLES], item.speed_rpm) for item in found]
    late = [bands.rows(item.signal[MOTOR_CUT_SAMPLES + MOTOR_GAP_SAMPLES :], item.speed_rpm) for item in found]
    if group == "motor speed":
        chosen = {f"{speed} rpm": _where(found, speed=speed) for speed in SPEEDS_RPM}
    else:
        chosen = {f"{load} lb": _where(found, load=load) for load in LOADS_LB}
    first = {name: _motor_domain(name, found, early, index) for name, index in chosen.items()}
    second = {name: _motor_domain(name, found, late, index) for name, index in chosen.items()}
    return [
        Pair(group, f"{source} > {target}", (first[source],), first[target], second[target], vus_buffer=1)
        for source, target in itertools.permutations(chosen, 2)
    ]


def _where(found: Sequence[Recording], speed: int | None = None, load: int | None = None) -> list[int]:
    index = [i for i, item in enumerate(found) if speed in (None, item.speed_rpm) and load in (None, item.load_lb)]
    faulty = {found[i].faulty for i in index}
    if faulty != {True, False}:
        raise InputError(
            f"motor recordings at {speed or 'any'} rpm and {load if load is not None else 'any'} lb: {len(index)} found, "
            "expected healthy and faulty ones"
        )
    return index


def _motor_domain(
    name: str, found: Sequence[Recording], rows: Sequence[np.ndarray], index: Sequence[int]
) -> WindowDomain:
    healthy = [i for i in index if not found[i].faulty]
    faulty = [i for i in index if found[i].faulty]
    starts = {i: np.arange(len(rows[i]) - MOTOR_WINDOW + 1) for i in index}
    normal = sum(len(starts[i]) for i in healthy)
    wanted = normal * MOTOR_ANOMALOUS_SHARE / (1 - MOTOR_ANOMALOUS_SHARE) / len(faulty)
    for i in faulty:
        starts[i] = np.unique(np.linspace(0, len(starts[i]) - 1, max(1, round(wanted))).astype(np.int64))
    view = {i: np.lib.stride_tricks.sliding_window_view(rows[i], MOTOR_WINDOW, axis=0) for i in index}
    return WindowDomain(
        name,
        np.concatenate([np.moveaxis(view[i][starts[i]], -1, 1) for i in index]),
        np.concatenate([np.full(len(starts[i]), int(found[i].faulty), dtype=np.int8) for i in index]),
        np.concatenate([starts[i] + MOTOR_WINDOW - 1 for i in index]),
        np.repeat(np.arange(len(index)), [len(starts[i]) for i in index]),
    )
