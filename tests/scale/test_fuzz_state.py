"""Records of the state that are damaged or forged: what cannot be used is refused and counted, and machines go on being watched."""

from __future__ import annotations

import faulthandler
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.helpers.memory import forget_peak, peak, resident
from tests.scale.spoilt_bundles import good_files
from tests.scale.spoilt_state import LATER, MACHINES, good_records, outcome, spoilt
from tests.unit.stream.bundles import Recipe, manifest_of
from wheeltapper.schemas.bundle import write_bundle_folder
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

pytestmark = [pytest.mark.nightly]

FULL = 20_000
SEED = 12
METHODS = ("budget", "fixed", "spot", "dspot", "aci", "quantile", "ewma")
RECIPES = (Recipe(), Recipe(window=8, detector="other", weighting="mean", longest_run=4))
LONGEST_S = 60.0
MOST_MB = 512


@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("fault", [slice(0, 0), slice(52, 60)], ids=["quiet", "alert open"])
def test_whatever_a_record_holds_the_fault_behind_it_is_told(tmp_path: Path, scale: float, fault: slice) -> None:
    # given the state of two machines under two rules, by each way to find thresholds
    number = max(2 * len(METHODS), round(FULL * scale / 2))
    files = {recipe: good_files(recipe) for recipe in RECIPES}
    bundles = [
        write_bundle_folder(tmp_path / recipe.detector, manifest_of(recipe, each), each).location
        for recipe, each in files.items()
    ]
    kinds = []
    for method in METHODS:
        settings = Settings.model_validate({"threshold": {"method": method}})
        routes = load_routes([f"*={bundle}" for bundle in bundles], settings)
        kinds.append((routes, settings, good_records(routes, settings, fault)))
    found: Counter[tuple[str, str]] = Counter()
    forget_peak()
    before = resident()
    for turn in range(number):
        routes, settings, records = kinds[turn % len(kinds)]
        what, changed = spoilt(records, np.random.default_rng([SEED, turn]))
        # when a worker takes over records one of which is spoilt, and reads on
        faulthandler.dump_traceback_later(LONGEST_S, exit=True)
        with capture_logs():
            seen = outcome(routes, settings, changed)
        faulthandler.cancel_dump_traceback_later()
        # then rows of both machines are scored by both rules, and their fault is told
        said = f"{turn} ({what}, {METHODS[turn % len(METHODS)]}): {seen}"
        assert seen.alerted == set(MACHINES), said
        assert all(seen.scored.get(name, 0) > LATER for name in MACHINES), said
        found[what.split()[0], "refused" if seen.refused else "taken over"] += 1
    print(f"{number} records: {dict(found)}")
    assert {said for _, said in found} == {"refused", "taken over"}
    assert peak() - before < MOST_MB
