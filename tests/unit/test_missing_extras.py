"""A library that is not installed is one line that says which extra brings it."""

from __future__ import annotations

import pytest

from tests.unit.training.bundle.test_train_command import run_without


@pytest.mark.parametrize(
    ("arguments", "absent", "extra"),
    [
        (["compare", "--dataset", "simulated", "--out", "out"], "pebble", "lab"),
        (["reproduce", "alora"], "jinja2", "lab"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(arguments: list[str], absent: str, extra: str) -> None:
    # given an installation without a library, when a command needs it
    done = run_without((absent,), arguments)
    # then it ends as for wrong use, with a line on how to get it
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line == (
        f"wheeltapper: {arguments[0]} needs {absent}, which is not installed: pip install 'wheeltapper[{extra}]'"
    )
