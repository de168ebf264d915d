"""Each detector in turn; all tests of one are run by the same process, which fits it to each machine once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.trained import is_network
from wheeltapper.training.detectors.registry import detectors_of

ROWS = list(detectors_of("sensors"))
SOUND = list(detectors_of("audio"))


@pytest.fixture(params=ROWS)
def name(request: pytest.FixtureRequest) -> str:
    """Every detector of rows."""
    return str(request.param)


@pytest.fixture(params=[name for name in ROWS if is_network(name)])
def network(request: pytest.FixtureRequest) -> str:
    """Those that torch trains, step by step."""
    return str(request.param)


@pytest.fixture(params=[name for name in ROWS if not is_network(name)])
def one_pass(request: pytest.FixtureRequest) -> str:
    """Those that are fitted in one pass, in no time."""
    return str(request.param)


@pytest.fixture(params=SOUND)
def sound(request: pytest.FixtureRequest) -> str:
    """Every detector of sound."""
    return str(request.param)


@pytest.fixture(params=[name for name in SOUND if not is_network(name)])
def one_pass_sound(request: pytest.FixtureRequest) -> str:
    """Those of sound that are fitted in one pass, in no time."""
    return str(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Networks are exported here."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        asked = next((parameters[key] for key in ("network", "name", "sound") if key in parameters), None)
        if item.path.parent == Path(__file__).parent and isinstance(asked, str) and is_network(asked):
            item.add_marker(pytest.mark.export)
