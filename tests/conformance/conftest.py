"""Each detector in turn; all tests of one are run by the same process, which fits it to each machine once."""

from __future__ import annotations

import pytest

from tests.conformance.test_detectors import SETTINGS
from tests.conformance.trained import is_network


def _marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.export) if is_network(name) else name


@pytest.fixture(params=[_marked(name) for name in SETTINGS])
def name(request: pytest.FixtureRequest) -> str:
    """Every detector."""
    return str(request.param)


@pytest.fixture(params=[_marked(name) for name in SETTINGS if is_network(name)])
def network(request: pytest.FixtureRequest) -> str:
    """Those that torch trains, step by step."""
    return str(request.param)


@pytest.fixture(params=[name for name in SETTINGS if not is_network(name)])
def one_pass(request: pytest.FixtureRequest) -> str:
    """Those that are fitted in one pass, in no time."""
    return str(request.param)
