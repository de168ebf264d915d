"""The battery of `test_detectors.py` on the stream: bundles of every detector in the pipeline of the worker."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conformance.trained import trained
from tests.helpers.machines import normal_rows
from tests.unit.stream.feeds import block_of, events_of, feed, message_of, parsed, row_by_row, scores_of
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import Routes, load_routes
from wheeltapper.stream.settings import Settings, ThresholdSettings
from wheeltapper.training.fitting.bundle_writer import write_bundle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SETTINGS = Settings(threshold=ThresholdSettings(clear_duration_s=180))
# float32 sums of another order, as a share of the largest value.
TOLERANCE = 1e-4

_routes: dict[str, Routes] = {}


@pytest.fixture
def routes(name: str, tmp_path_factory: pytest.TempPathFactory) -> Routes:
    """The detector's bundle, opened once."""
    if name not in _routes:
        detector, path = trained(name), tmp_path_factory.mktemp("bundle") / "bundle"
        write_bundle(detector.fitted, detector.series, path, scores=detector.scores, torchscript=False)
        _routes[name] = load_routes([str(path)], SETTINGS)
    return _routes[name]


def a_shift(name: str, *, fault: bool = True) -> SensorBlock:
    """Normal rows of the machine, more than two windows of them, with a fault of ten rows where asked for."""
    series, window = trained(name).series, trained(name).fitted.window
    rows = 2 * window + 60
    values = normal_rows(2_000, series.train.shape[1], seed=series.train.shape[1])[400 : 400 + rows].copy()
    if fault:
        values[-35:-25] += 5 * np.ptp(series.train, axis=0)
    return block_of("machine", values, channels=series.channels)


def table(outputs: list[Output]) -> np.ndarray:
    """[n, 4] raw score, score, threshold and quality in order of time."""
    return np.array([score for _, scores in sorted(scores_of(outputs).items()) for score in scores])


def test_one_block_of_many_rows_is_as_good_as_many_of_one_row(name: str, routes: Routes) -> None:
    # given rows with a fault among them, in one message, when they come row by row, each handled alone
    block = a_shift(name)
    together = feed(Pipeline(routes, SETTINGS), [message_of(block, "arrow")])
    apart = feed(Pipeline(routes, SETTINGS), row_by_row(block), batch_sizes=[1])
    # then every window has its one score, which is the same
    one, other = table(together), table(apart)
    assert scores_of(together).keys() == scores_of(apart).keys()
    assert len(one) == len(other) == len(scores_of(together)) >= trained(name).fitted.window
    assert (np.abs(one - other) <= TOLERANCE * np.abs(one).max(axis=0)).all()
    # and the same alerts open and clear at the same times, with the same channels to blame
    assert events_of(together) == events_of(apart)
    assert any(event == "opened" for events in events_of(together).values() for event, *_ in events)
    for alert, twin in zip(parsed(together, "alerts"), parsed(apart, "alerts"), strict=True):
        shares = [{entry["channel"]: entry["share"] for entry in one["channels"]} for one in (alert, twin)]
        assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_missing_values_on_the_stream_are_counted_and_scored(name: str, routes: Routes) -> None:
    # given normal rows of which one channel is missing for a while
    block = a_shift(name, fault=False)
    values = block.values.copy()
    values[-30:-20, 2] = np.nan
    holes = SensorBlock(block.machine, block.ts, block.channels, values)
    # when they come
    whole = table(feed(Pipeline(routes, SETTINGS), [message_of(block, "arrow")]))
    pipeline = Pipeline(routes, SETTINGS)
    found = table(feed(pipeline, [message_of(holes, "json")]))
    # then every window is scored all the same, and its quality says that something was missing
    assert pipeline.counters.imputed_values == 10
    assert found.shape == whole.shape
    assert np.isfinite(found).all()
    full = whole[:, 3] == 1.0  # before, rows that a machine that warms up does not have yet count as missing
    assert found[full, 3].min() < 1.0
