"""Drift through the pipeline: the message, and that a restart repeats it to the letter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.stream.core.drift_machines import CHANNELS, MINUTE, START, normal_rows, write_drift_bundle
from tests.unit.stream.feeds import TOPIC, batch_of, block_of, message_of, part_of
from wheeltapper.schemas.adaptation import DriftEvent
from wheeltapper.schemas.topics import DRIFT
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import DriftSettings, ScoringSettings, Settings

QUIET = ScoringSettings(publish_scores=False)
PART = 240
CHANGE = 2 * 1440


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drift_bundle(tmp_path_factory.mktemp("drift"))


def batches(days: float) -> list[PartitionBatch]:
    rows = normal_rows(days, seed=21)
    rows[CHANGE:, :3] += np.float32(0.6)
    block = block_of("pump", rows, times=START + MINUTE * np.arange(len(rows)), channels=CHANNELS)
    messages = [message_of(part_of(block, row, row + 10), "arrow") for row in range(0, len(block), 10)]
    step = PART // 10
    return [batch_of(messages[first : first + step], first=first) for first in range(0, len(messages), step)]


def drifts(outputs: list[Output]) -> list[bytes]:
    return [output.value or b"" for output in outputs if output.topic == DRIFT]


def pipeline(bundle: Path, **drift: object) -> Pipeline:
    settings = Settings(scoring=QUIET, drift=DriftSettings(**drift))  # type: ignore[arg-type]
    return Pipeline(load_routes([f"*={bundle}"], settings), settings)


def test_a_change_becomes_a_drift_event_with_the_offsets_of_its_rows(bundle: Path) -> None:
    # given a machine that changes on its third day
    worker = pipeline(bundle)
    # when its rows have passed
    found = [value for batch in batches(5) for value in drifts(worker.handle([batch], now=0.0))]
    # then one event names machine, rule, channels, and where its rows are
    event = DriftEvent.model_validate_json(found[0])
    assert len(found) == 1
    assert (event.machine, event.event, event.topic, event.partition) == ("pump", "started", TOPIC, 0)
    assert {channel.channel for channel in event.channels} == {"a", "b", "c"}
    assert event.channels[0].unit == f"unit of {event.channels[0].channel}"
    assert event.first_offset == (event.since - START) // (10 * MINUTE)
    assert event.last_offset == (event.time - START) // (10 * MINUTE)
    assert worker.counters.drifts == {"started": 1}


def test_nobody_is_told_where_it_is_switched_off(bundle: Path) -> None:
    worker = pipeline(bundle, enabled=False)
    assert [value for batch in batches(5) for value in drifts(worker.handle([batch], now=0.0))] == []


def test_a_restart_from_snapshots_finds_the_same_drift(bundle: Path) -> None:
    # given what a worker finds that is never restarted
    whole = pipeline(bundle)
    feed = batches(5)
    expected = [value for batch in feed for value in drifts(whole.handle([batch], now=0.0))]
    assert len(expected) == 1
    # when a worker is killed in the middle, within a block and while families already agree
    first = pipeline(bundle)
    cut = len(feed) * 6 // 10
    found = [value for batch in feed[:cut] for value in drifts(first.handle([batch], now=0.0))]
    left = first.partition(TOPIC, 0)
    state = {record.key or b"": record.value or b"" for record in left.snapshots(now=1e9, everything=True)}
    second = pipeline(bundle)
    second.partition(TOPIC, 0).position = left.committable
    second.partition(TOPIC, 0).restore(state)
    found += [value for batch in feed[cut:] for value in drifts(second.handle([batch], now=0.0))]
    # then both together found the same, to the letter
    assert found == expected
