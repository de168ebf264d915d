"""What a manifest may say of a machine's warm-up, and that bundles without one are what they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.unit.stream.bundles import Recipe, files_of, manifest_of, write_bundle


@pytest.mark.parametrize(("warm_up", "lag"), [(6, 0), (2, 2), (0, 0)])
def test_a_warm_up_holds_the_scored_row_and_is_no_longer_than_the_window(warm_up: int, lag: int) -> None:
    recipe = Recipe(window=5, lag=lag)
    files = files_of(recipe)
    told = manifest_of(recipe, files).model_dump() | {"warm_up": warm_up}
    with pytest.raises(ValidationError, match="warm_up"):
        type(manifest_of(recipe, files)).model_validate(told)


def test_rows_before_scoring_are_the_window_unless_the_warm_up_is_shorter() -> None:
    assert manifest_of(Recipe(window=5), {}).rows_before_scoring == 5
    assert manifest_of(Recipe(window=5, warm_up=2), {}).rows_before_scoring == 2


def test_without_a_warm_up_older_readers_meet_no_field_they_do_not_know(tmp_path: Path) -> None:
    without = json.loads((write_bundle(tmp_path, Recipe()) / "manifest.json").read_text())
    assert "warm_up" not in without
    with_one = json.loads((write_bundle(tmp_path, Recipe(warm_up=2)) / "manifest.json").read_text())
    assert with_one["warm_up"] == 2
