"""A second kind of input comes by new files alone: same shell, judges, state and promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.unit.stream.bundles import Recipe, write_bundle
from tests.unit.stream.feeds import MINUTE, START, TOPIC, batch_of, block_of, letters_of, parsed, row_by_row, scores_of
from tests.unit.stream.scalars import HOP, INTERVAL_US, WINDOW, ScalarKind, ScalarManifest, write_scalar_bundle
from wheeltapper.schemas import topics
from wheeltapper.schemas.bundle import MANIFESTS
from wheeltapper.stream.kinds import KINDS
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings, StateSettings

SCALARS = "wheeltapper.scalars"
CHOSEN = Settings(state=StateSettings(snapshot_windows=1))


@pytest.fixture
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Routes:
    """Machines with rows and with scalars; the kind is known from here on."""
    monkeypatch.setitem(KINDS, "scalars", ScalarKind())
    monkeypatch.setitem(MANIFESTS, "scalars", ScalarManifest)  # type: ignore[arg-type]
    scalars = topics.TopicSpec(
        "scalars", "scalars of one machine", None, (), "delete", (topics.reads(topics.Program.WORKER),)
    )
    monkeypatch.setattr(topics, "TOPICS", {**topics.TOPICS, "scalars": scalars})
    words = [f"press-*={write_bundle(tmp_path, Recipe(window=3))}", f"press-*={write_scalar_bundle(tmp_path)}"]
    return load_routes(words, CHOSEN)


def signal(count: int) -> np.ndarray:
    """Quiet, but loud from the 60th to the 80th."""
    values = np.random.default_rng(3).normal(0, 0.5, count)
    values[60:80] *= 10
    return values.astype(np.float32)


def batches(values: np.ndarray, per_message: int, first: int = 0) -> PartitionBatch:
    batch = PartitionBatch(SCALARS, 0)
    for number, start in enumerate(range(0, len(values), per_message), start=first):
        part = {
            "machine": "press-1",
            "start": START + INTERVAL_US * start,
            "values": values[start : start + per_message].tolist(),
        }
        batch.offsets.append(number)
        batch.keys.append(b"press-1")
        batch.values.append(orjson.dumps(part))
        batch.headers.append(None)
        batch.timestamps_ms.append(0)
    return batch


def scores(outputs: list[Output]) -> dict[int, float]:
    return {time: found[0].score for (_, rule, time), found in scores_of(outputs).items() if rule == "power"}


def test_scalars_become_windows_scores_and_alerts(routes: Routes) -> None:
    # given a signal in blocks of ten
    values = signal(200)
    pipeline = Pipeline(routes, CHOSEN)
    assert pipeline.topics == (TOPIC, SCALARS)
    # when it is handled
    outputs = pipeline.handle([batches(values, 10)], now=0.0)
    # then each window gives its mean square over the alarm level
    ends = np.arange(WINDOW - 1, 200, HOP)
    wanted = {START + INTERVAL_US * int(end): float(np.mean(values[end - 7 : end + 1] ** 2) / 4) for end in ends}
    assert scores(outputs) == pytest.approx(wanted, rel=1e-5)
    # and the loud stretch is one alert, with the kind's own evidence
    events = parsed(outputs, "alerts")
    assert [event["event"] for event in events if event["event"] != "updated"] == ["opened", "cleared"]
    assert START + 60_000 <= events[0]["time"] <= START + 80_000
    assert [share["channel"] for share in events[0]["channels"]] == ["signal"]


@pytest.mark.parametrize("per_message", [1, 7, 200])
def test_how_scalars_are_grouped_changes_nothing(routes: Routes, per_message: int) -> None:
    values = signal(200)
    one = Pipeline(routes, CHOSEN).handle([batches(values, 10)], now=0.0)
    other = Pipeline(routes, CHOSEN).handle([batches(values, per_message)], now=0.0)
    assert scores(one) == pytest.approx(scores(other), rel=1e-5)
    ids = [[(event["alert_id"], event["event"]) for event in parsed(run, "alerts")] for run in (one, other)]
    assert ids[0] == ids[1]


def test_both_kinds_of_one_machine_stand_side_by_side(routes: Routes) -> None:
    # given rows and scalars of the same machine in partition 0 of their topics, at the same offsets
    pipeline = Pipeline(routes, CHOSEN)
    rows = block_of("press-1", np.full((10, 3), 0.5))
    outputs = pipeline.handle([batch_of(row_by_row(rows)), batches(signal(100), 10)], now=0.0)
    # then each is scored by its own rule and has a state of its own
    assert {(block["rule"], block["machine"]) for block in parsed(outputs, "scores")} == {
        ("distance", "press-1"),
        ("power", "press-1"),
    }
    assert {key: state.position for key, state in pipeline.partitions.items()} == {(TOPIC, 0): 10, (SCALARS, 0): 10}
    keys = {
        record.key
        for state in pipeline.partitions.values()
        for record in state.addressed(state.snapshots(0.0, everything=True))
    }
    assert keys == {b"wheeltapper/wheeltapper.sensors/press-1", b"wheeltapper/wheeltapper.scalars/press-1"}


def test_a_restart_goes_on_where_the_snapshot_ends(routes: Routes) -> None:
    # given a worker that is killed in the middle of an alert
    values = signal(200)
    whole = Pipeline(routes, CHOSEN).handle([batches(values, 10)], now=0.0)
    batch = batches(values, 10)
    first = Pipeline(routes, CHOSEN)
    head, tail = batch.split(7)
    outputs = first.handle([head], now=0.0)
    (record,) = first.partition(SCALARS, 0).snapshots(0.0)
    # when another takes over
    second = Pipeline(routes, CHOSEN)
    partition = second.partition(SCALARS, 0)
    partition.position = 7
    assert partition.restore({record.key or b"": record.value or b""}) == ([], [])
    outputs += second.handle([tail], now=0.0)
    # then scores and alerts are those of an undisturbed run
    assert scores(outputs) == pytest.approx(scores(whole), rel=1e-5)
    assert [event["alert_id"] for event in parsed(outputs, "alerts")] == [
        event["alert_id"] for event in parsed(whole, "alerts")
    ]


def test_what_cannot_be_read_is_a_dead_letter_and_silence_an_alert(routes: Routes) -> None:
    # given a message that is none, between good ones
    pipeline = Pipeline(routes, CHOSEN)
    batch = batches(signal(30), 10)
    batch.values[1] = b"?"
    # when it is handled: then it is a dead letter of its topic
    (letter,) = letters_of(pipeline.handle([batch], now=0.0))
    assert (letter.offset, letter.headers["wheeltapper-topic"]) == (1, SCALARS.encode())
    # and a machine that sends no more is silent, by its own kind's intervals: 60 of a millisecond, but at least a minute
    (silent,) = parsed(pipeline.tick(60.0, [(SCALARS, 0)].__contains__), "alerts")
    assert (silent["rule"], silent["machine"]) == ("no-data", "press-1")
    assert silent["time"] == silent["opened_at"] + MINUTE
