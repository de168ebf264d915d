"""Snapshots that earlier versions wrote are read: released/wts1.bin was written by wheeltapper 0.1.0 before deployments.

Machine press-1 of the bundle `Recipe(window=3)` after 100 rows, SPOT, its alert of row 98 open, a question waiting.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import MINUTE, START, TOPIC, batch_of, block_of, message_of, parsed
from wheeltapper.stream.core.alert_judge import ALERT, THRESHOLD
from wheeltapper.stream.core.alert_life import alert_id
from wheeltapper.stream.core.row_memory import RowMemory
from wheeltapper.stream.judges.labels import QUESTION
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import LabelSettings, Settings, ThresholdSettings

WTS1 = (Path(__file__).parent / "released" / "wts1.bin").read_bytes()
CHOSEN = Settings(
    threshold=ThresholdSettings(method="spot", false_alarms_per_day=20, spot_tail=0.1),
    labels=LabelSettings(enabled=True, per_day=24, margin=0.9),
)
OPENED = START + 98 * MINUTE


def test_a_snapshot_of_the_first_layout_brings_everything_back(open_routes: OpenRoutes) -> None:
    # given the same bundle, when a partition takes the snapshot over
    recipe = Recipe(window=3)
    pipeline = Pipeline(open_routes(recipe, CHOSEN), CHOSEN)
    partition = pipeline.partition(TOPIC, 0)
    partition.position = 1
    assert partition.restore({b"press-1": WTS1}) == ([], [])
    # then rows, clock, open alert, learned threshold and waiting question are there
    machine = partition.find("press-1")
    assert machine is not None
    assert isinstance(machine.memory, RowMemory)
    assert (machine.offset, machine.memory.tail.seen, machine.memory.last_time) == (0, 100, START + 99 * MINUTE)
    slots = machine.rules["distance"].memory.slots
    assert (slots[ALERT].opened_at, slots[ALERT].bundle) == (OPENED, recipe.bundle_id)
    assert slots[THRESHOLD].seen == 596
    assert slots[QUESTION] is not None
    # and the alert that it left open clears under its id
    calm = block_of("press-1", np.full((40, 3), 0.5), times=START + MINUTE * np.arange(100, 140))
    outputs = pipeline.handle([batch_of([message_of(calm)], first=1)], now=0.0)
    (cleared,) = parsed(outputs, "alerts")
    assert cleared["alert_id"] == alert_id("press-1", "distance", recipe.bundle_id, OPENED)
    assert cleared["event"] == "cleared"


def test_its_open_alert_goes_on_under_a_retrained_bundle_of_the_same_detector(open_routes: OpenRoutes) -> None:
    # given another bundle of the detector; the first layout names no rule, but ids start with the detector's name
    pipeline = Pipeline(open_routes(Recipe(window=3, weighting="mean"), CHOSEN), CHOSEN)
    partition = pipeline.partition(TOPIC, 0)
    # when it takes over: then the alert is open still, under the id that it has
    assert partition.restore({b"press-1": WTS1}) == ([], [])
    machine = partition.find("press-1")
    assert machine is not None
    alert = machine.rules["distance"].memory.slots[ALERT]
    assert (alert.opened_at, alert.bundle) == (OPENED, Recipe(window=3).bundle_id)


def test_its_open_alert_ends_where_another_detector_serves(open_routes: OpenRoutes) -> None:
    # given a bundle of another detector, when it takes over: then the alert is cleared, with the reason
    partition = Pipeline(open_routes(Recipe(window=3, detector="other")), Settings()).partition(TOPIC, 0)
    outputs, _ = partition.restore({b"press-1": WTS1})
    (cleared,) = parsed(outputs, "alerts")
    assert (cleared["event"], cleared["reason"], cleared["opened_at"]) == ("cleared", "superseded", OPENED)
