"""A table on disk, read as a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import SensorSeries


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., SensorSeries]:
    """Writes a file, its description, and reads both."""

    def write(
        text: str | bytes, description: str = "", name: str = "pump.csv", entity: str | None = None
    ) -> SensorSeries:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        (tmp_path / "pump.toml").write_text(description)
        return load_series("csv", tmp_path / name, entity)

    return write
