"""`run_offline`, which backtest and demo use, is the worker's pipeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import assert_same_alerts, assert_same_scores, block_of, feed, row_by_row
from tests.unit.stream.test_chunking import machine_rows
from wheeltapper.offline import MESSAGES_PER_BATCH, ROWS_PER_MESSAGE, replay_block, run_offline
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import Settings


@pytest.mark.parametrize("rows", [1, ROWS_PER_MESSAGE, ROWS_PER_MESSAGE + 1, ROWS_PER_MESSAGE * MESSAGES_PER_BATCH + 3])
def test_offline_and_row_by_row_come_to_the_same(open_routes: OpenRoutes, rows: int) -> None:
    # given any number of rows
    routes = open_routes(Recipe(window=1, stride=2))
    block = machine_rows("press-1", rows, 3, messy=True)
    pipeline = Pipeline(routes, Settings())
    # when they run offline, and as messages of one row
    offline = list(run_offline(pipeline, block))
    expected = feed(Pipeline(routes, Settings()), row_by_row(block), batch_sizes=[500])
    # then scores and alerts are the same, and no row was lost between batches
    assert_same_scores(offline, expected)
    assert_same_alerts(offline, expected, same_messages=False)
    assert pipeline.counters.rows + pipeline.counters.late_rows == rows
    assert pipeline.counters.dead_letters == {}


@dataclass
class Series:
    """What `replay_block` needs of a series."""

    entity: str
    channels: tuple[str, ...]
    test: np.ndarray
    test_ts: np.ndarray


@pytest.mark.parametrize(("machine", "limit", "named", "rows"), [(None, None, "e-1", 9), ("press-1", 4, "press-1", 4)])
def test_a_replay_is_the_test_part(machine: str | None, limit: int | None, named: str, rows: int) -> None:
    # given a series, when its test part is made a block: then it is of the entity or the given machine, up to the limit
    source = block_of("e-1", np.arange(27).reshape(9, 3))
    series = Series("e-1", source.channels, source.values, source.ts)
    block: SensorBlock = replay_block(series, machine, limit)  # type: ignore[arg-type]
    assert (block.machine, len(block), block.channels) == (named, rows, source.channels)
    assert np.array_equal(block.values, source.values[:rows])
