"""Pairs of domains that adaptation is measured on: source windows, and target windows to adapt on and to be judged on.

In every pair the target's windows for adaptation come from earlier rows than those for judgement, and share none with
them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.datasets.cbm_motor import LOADS_LB, SPEEDS_RPM, BandRows, Recording, recordings
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.tep import COMPACT, FAULT_FROM_ROW
from wheeltapper.training.datasets.two_domains import TARGET_SHIFT, make_domain
from wheeltapper.training.detectors.domain_adaptation.domains import WindowDomain, joined
from wheeltapper.training.detectors.domain_adaptation.windows import window_labels


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

    @property
    def window(self) -> int:
        return self.test.windows.shape[1]


GROUPS = ("generated", "smd", "motor speed", "motor load", "tep")
# Measured with few steps on small batches: at these sizes the training loss has settled.
_FAST = DomainAdaptationConfig(iterations=200, batch_size=32)
SETTINGS = {
    "generated": _FAST,
    "smd": _FAST,
    "motor speed": replace(_FAST, window=16, pool=2),
    "motor load": replace(_FAST, window=16, pool=2),
    "tep": replace(_FAST, window=16, pool=2),
}

STRIDE = 16
MADE_ROWS = 12_000
# A target's recording up to here is for adaptation, the rest for judgement.
CUT = 0.5
# Machines of one group, the number of anomalous windows of which lets both halves be judged.
SMD_PAIRS = (("1-6", "1-3"), ("1-3", "1-6"), ("2-1", "2-4"), ("2-4", "2-1"))
# Fault of the source's run, fault of the target's.
TEP_PAIRS = (("01", "02"), ("04", "11"), ("08", "13"), ("10", "14"))
TEP_WINDOW, TEP_STRIDE = 16, 2

MOTOR_WINDOW = 16
# Half of each second is for training, half for judgement, with 40 ms between them that belong to neither.
MOTOR_CUT_SAMPLES, MOTOR_GAP_SAMPLES = 9_600, 800
# A machine is well most of the time, but these recordings are of one healthy and twelve faulty states. All windows of the
# healthy state and few of the faulty ones, evenly spread over each recording, make a quarter of the windows anomalous.
MOTOR_ANOMALOUS_SHARE = 0.25


def pairs_of(group: str, data: Path | None, seed: int = 0) -> list[Pair]:
    """The pairs of a group.

    Args:
        data: folder of data set folders; not needed for 'generated'.
        seed: of generated data.

    Raises:
        InputError: no such group, or data that is not there.
    """
    if group == "generated":
        return generated_pairs(seed)
    if group not in GROUPS:
        raise InputError(f"no group of pairs '{group}'; expected one of {', '.join(GROUPS)}")
    if data is None:
        raise InputError(f"{group} needs the folder of data set folders; give --data DIR")
    if group == "smd":
        return smd_pairs(data / "smd")
    if group == "tep":
        return tep_pairs(data / "tep")
    return motor_pairs(data / "cbm_motor", group)


def generated_pairs(seed: int = 0) -> list[Pair]:
    """The same process with another gain, offset, noise and speed; and with a trend on top."""
    window = SETTINGS["generated"].window
    source = make_domain(MADE_ROWS, seed=seed)
    found = []
    for name, shift in (("shifted", TARGET_SHIFT), ("shifted, with trend", replace(TARGET_SHIFT, trend=1.0))):
        made = make_domain(2 * MADE_ROWS, shift, seed=seed + 1000)
        target, test = _halves(name, made.values, made.labels, window)
        sources = (_domain("made", source.values, source.labels, np.arange(window - 1, MADE_ROWS, STRIDE), window),)
        found.append(Pair("generated", f"made > {name}", sources, target, test, vus_buffer=4))
    return found


def smd_pairs(data: Path) -> list[Pair]:
    """Machine to machine. The source is all of one machine's test part, the target's two halves those of another's."""
    window, found = SETTINGS["smd"].window, []
    for one, other in SMD_PAIRS:
        source, target = (load_series("smd", data, f"machine-{name}") for name in (one, other))
        assert source.test_labels is not None
        assert target.test_labels is not None
        ends = np.arange(window - 1, len(source.test), STRIDE)
        adapt, test = _halves(other, target.test, target.test_labels, window)
        sources = (_domain(one, source.test, source.test_labels, ends, window),)
        found.append(Pair("smd", f"{one} > {other}", sources, adapt, test, vus_buffer=100 // STRIDE))
    return found


def tep_pairs(data: Path) -> list[Pair]:
    """Run to run: source, the normal and one faulty test run; target, the normal and another fault's training run, judged
    on that fault's test run. A quarter of the windows to adapt on is faulty.
    """
    path = data / COMPACT
    if not path.is_file():
        raise InputError(f"{path} is missing; expected the runs of TEP in one file")
    with np.load(path, allow_pickle=False) as arrays:
        runs = {name: arrays[name].astype(np.float32) for name in arrays.files}
    found = []
    for one, other in TEP_PAIRS:
        normal, faulty, test = runs["d00"], runs[f"d{other}"], runs[f"d{other}_te"]
        ends = np.arange(TEP_WINDOW - 1, len(normal), TEP_STRIDE)
        # The fault of a training run begins with its first row.
        strange = np.linspace(TEP_WINDOW - 1, len(faulty) - 1, len(ends) // 3).astype(np.int64)
        target = joined(
            other,
            [
                _domain(other, normal, np.zeros(len(normal)), ends, TEP_WINDOW),
                _domain(other, faulty, np.ones(len(faulty)), strange, TEP_WINDOW),
            ],
        )
        sources = joined(one, [_tep_run(runs["d00_te"], False), _tep_run(runs[f"d{one}_te"], True)])
        found.append(
            Pair("tep", f"fault {one} > fault {other}", (sources,), target, _tep_run(test, True), vus_buffer=8)
        )
    return found


def _tep_run(rows: np.ndarray, faulty: bool) -> WindowDomain:
    labels = np.zeros(len(rows), dtype=np.uint8)
    labels[FAULT_FROM_ROW:] = faulty
    return _domain("run", rows, labels, np.arange(TEP_WINDOW - 1, len(rows), TEP_STRIDE), TEP_WINDOW)


def _halves(name: str, rows: np.ndarray, labels: np.ndarray, window: int) -> tuple[WindowDomain, WindowDomain]:
    cut = int(len(rows) * CUT)
    early, late = np.arange(window - 1, cut, STRIDE), np.arange(cut + window - 1, len(rows), STRIDE)
    return _domain(name, rows, labels, early, window), _domain(name, rows, labels, late, window)


def _domain(name: str, rows: np.ndarray, labels: np.ndarray, ends: np.ndarray, window: int) -> WindowDomain:
    """Windows that end at `ends`, by the labels of their last rows."""
    windows = rows[ends[:, None] + np.arange(1 - window, 1)].astype(np.float32)
    return WindowDomain(name, windows, window_labels(labels, ends, _FAST.label_rows), order=ends)


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
    view = {i: windows_of(rows[i], MOTOR_WINDOW) for i in index}
    return WindowDomain(
        name,
        np.concatenate([view[i][starts[i]] for i in index]),
        np.concatenate([np.full(len(starts[i]), int(found[i].faulty), dtype=np.int8) for i in index]),
        np.concatenate([starts[i] + MOTOR_WINDOW - 1 for i in index]),
        np.repeat(np.arange(len(index)), [len(starts[i]) for i in index]),
    )
