"""Each detector in turn; all tests of one are run by the same process, which fits it to each machine once."""

from __future__ import annotations

import pytest

from tests.conformance.test_detectors import SETTINGS


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(f"detector {name}")) for name in SETTINGS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
