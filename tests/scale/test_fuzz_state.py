"""Records of the state that are damaged or forged: what cannot be used is refused and counted, and machines go on being watched."""

from __future__ import annotations

import faulthandler
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.helpers.memory import forget_peak, peak, resident
from tests.scale.spoilt_scenes import Scene, joint_scene, row_bundles, rows_scene, sound_scene
from tests.scale.spoilt_state import Outcome, Records, outcome, spoilt, spoilt_under_seal

pytestmark = [pytest.mark.nightly]

FULL = 20_000
SEED = 12
METHODS = ("budget", "fixed", "spot", "dspot", "aci", "quantile", "ewma")
LONGEST_S = 60.0
MOST_MB = 512

both = pytest.mark.parametrize("fault_before", [False, True], ids=["quiet", "alert open"])


def rows_scenes(folder: Path, *, fault_before: bool) -> list[Scene]:
    bundles = row_bundles(folder)
    return [rows_scene(bundles, method, fault_before=fault_before) for method in METHODS]


def sound_scenes(folder: Path, *, fault_before: bool) -> list[Scene]:
    # Of a budget, the alarm before makes the next one wait for longer than the fault lasts.
    methods = ("fixed",) if fault_before else ("budget", "fixed")
    return [sound_scene(folder, method, fault_before=fault_before) for method in methods]


def joint_scenes(folder: Path, *, fault_before: bool) -> list[Scene]:
    return [joint_scene(folder, fault_before=fault_before)]


def watched(scene: Scene, records: Records) -> Outcome:
    """The outcome; the process ends where it takes for ever."""
    faulthandler.dump_traceback_later(LONGEST_S, exit=True)
    try:
        with capture_logs():
            return outcome(scene, records)
    finally:
        faulthandler.cancel_dump_traceback_later()


def assert_watched_on(scene: Scene, seen: Outcome, said: str) -> None:
    """Rows of all machines were scored, and their fault was told."""
    assert seen.alerted >= scene.machines, f"{said}: {seen}"
    assert all(seen.scored.get(name, 0) >= scene.least_scored for name in scene.machines), f"{said}: {seen}"


@pytest.mark.timeout(14_400)
@both
@pytest.mark.parametrize("make", [rows_scenes, sound_scenes, joint_scenes])
def test_whatever_a_record_holds_the_fault_behind_it_is_told(
    tmp_path: Path, scale: float, make: Callable[..., Sequence[Scene]], fault_before: bool
) -> None:
    # given the state of two machines
    scenes = make(tmp_path, fault_before=fault_before)
    number = max(14, round(FULL * scale / 6))
    found: Counter[tuple[str, str]] = Counter()
    forget_peak()
    before = resident()
    for turn in range(number):
        scene = scenes[turn % len(scenes)]
        what, changed = spoilt(scene.records, np.random.default_rng([SEED, turn]))
        # when a worker takes over records one of which is spoilt, and reads on
        seen = watched(scene, changed)
        # then the input of both machines is scored, and their fault is told
        assert_watched_on(scene, seen, f"{turn} ({what})")
        found[what.split()[0], "refused" if seen.refused else "taken over"] += 1
    print(f"{number} records: {dict(found)}")
    assert {said for _, said in found} == {"refused", "taken over"}
    assert peak() - before < MOST_MB


@pytest.mark.timeout(14_400)
@both
def test_without_the_key_nobody_brings_anything_else_into_sealed_records(
    tmp_path: Path, scale: float, fault_before: bool
) -> None:
    # given sealed records of rows, of sound and of joint alerts
    scenes = [
        rows_scenes(tmp_path / "rows", fault_before=fault_before)[0],
        sound_scenes(tmp_path / "sound", fault_before=fault_before)[0],
        *joint_scenes(tmp_path / "joint", fault_before=fault_before),
    ]
    number = max(14, round(FULL * scale / 4))
    found: Counter[tuple[str, str]] = Counter()
    for turn in range(number):
        scene = scenes[turn % len(scenes)]
        # when somebody without the key writes one more
        with capture_logs():
            what, read, refused = spoilt_under_seal(scene, scene.records, np.random.default_rng([SEED, turn]))
        # then what is read of each key is what was sealed under it, or nothing
        said = f"{turn} ({what})"
        assert read.items() <= scene.records.items(), said
        found[what, "refused" if refused else "taken over"] += 1
        if turn % 10 == 0:  # and the worker watches on
            assert_watched_on(scene, watched(scene, read), said)
    print(f"{number} records under seal: {dict(found)}")
    assert {what for what, said in found if said == "refused"} >= {"bytes", "moved", "unsealed", "resealed"}
