"""What `from wheeltapper import ..` offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import wheeltapper


@pytest.mark.parametrize("name", wheeltapper.__all__)
def test_a_public_name_can_be_imported_and_is_documented(name: str) -> None:
    # given a public name, when it is asked for: then it is there, and says what it is
    found = getattr(wheeltapper, name)
    assert found.__name__ == name
    assert found.__doc__
    assert name in dir(wheeltapper)


def test_other_names_are_refused_with_the_public_ones() -> None:
    with pytest.raises(AttributeError, match="public names are AlertEvent, Bundle"):
        wheeltapper.open_bundel  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    # given a fresh interpreter, when it imports the package: then neither numpy nor Kafka's client came along
    script = (
        "import sys, wheeltapper; print(sorted({'numpy', 'confluent_kafka', 'pydantic', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(wheeltapper.__file__).parents[1]
    )
    assert done.stdout == "[]\n", done.stderr
