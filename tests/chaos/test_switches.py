"""Bundles are switched again and again under load, and the worker is killed in between: no row is lost or scored by two."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.helpers.plant import Plant, make_plant, messages_of
from tests.integration.kafka_tools import Broker, produce
from tests.integration.worker_tools import PATIENCE_S, RUNNERS, Feed, Rig, make_rig, side_by_side, wait_until
from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.offline import run_offline
from wheeltapper.schemas.adaptation import ActiveModel
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]

# Of the same windows as the rig's own: each row that is due has exactly one score, whichever bundle gives it.
OTHER = Recipe(channels=("a", "b", "c", "d"), window=8, stride=2, weighting="mean")


@pytest.mark.parametrize("switches", [5, pytest.param(100, marks=pytest.mark.nightly)])
def test_switches_under_load_with_kills_lose_no_row(
    embedded_broker: str, topics_prefix: str, tmp_path: Path, switches: int
) -> None:
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    rigs = [make_rig(broker, runner, f"{runner}-{topics_prefix}", tmp_path / runner) for runner in RUNNERS]
    side_by_side(rigs, lambda rig: switch_and_kill(rig, switches))


def switch_and_kill(rig: Rig, switches: int) -> None:
    # given a worker under load that has committed once
    bundles = [rig.bundle, write_bundle(rig.folder, OTHER)]
    plant = make_plant(machines=8, rows=200 * (2 + switches // 5))
    rig.produce(messages_of(plant.until(200), largest_block=8))
    rng = np.random.default_rng(9)
    done = 0
    # Rows come until the last switch; what is left then comes at once.
    with Feed(rig, messages_of(plant.since(200), seed=5, largest_block=8), seconds=20 + 3.0 * switches) as feed:
        while done < switches:
            with rig.start() as worker:
                worker.wait_for("partitions taken over", PATIENCE_S)
                wait_until(lambda: len(rig.committed()) == 4, "something was committed", worker)
                # when bundles are switched five times, and it is killed in the midst of the last
                for number in range(done, min(done + 5, switches)):
                    deploy(rig, bundles[(number + 1) % 2])
                    time.sleep(float(rng.uniform(0.1, 0.6)))
                done = min(done + 5, switches)
                time.sleep(float(rng.uniform(0.0, 0.3)))
                worker.kill()
        feed.wait()
    rig.run()
    # then every row that is due was scored, by one bundle, and to the same score each time
    scores: dict[tuple[str, int], set[tuple[str, float]]] = defaultdict(set)
    for block in rig.messages("scores"):
        for time_us, score in zip(block["time"], block["score"], strict=True):
            scores[block["machine"], time_us].add((block["bundle"], round(score, 4)))
    wanted = due(rig, plant)
    print(
        f"{rig.runner}: {len(wanted)} scores due, {len(wanted - scores.keys())} lost, of two bundles or values "
        f"{sum(len(each) > 1 for each in scores.values())}"
    )
    assert scores.keys() == wanted
    assert {key: each for key, each in scores.items() if len(each) > 1} == {}
    # and both bundles have had their turns
    turns = {bundle for each in scores.values() for bundle, _ in each}
    assert turns == {rig.recipe.bundle_id, OTHER.bundle_id}


def due(rig: Rig, plant: Plant) -> set[tuple[str, int]]:
    """(machine, time) of every score that the pipeline alone gives."""
    routes, settings = load_routes([str(rig.bundle)], Settings()), Settings()
    outputs = [output for block in plant.machines.values() for output in run_offline(Pipeline(routes, settings), block)]
    blocks = [orjson.loads(output.value or b"") for output in outputs if output.topic == "scores"]
    return {(block["machine"], time_us) for block in blocks for time_us in block["time"]}


def deploy(rig: Rig, bundle: Path) -> None:
    opened = open_bundle(bundle)
    model = ActiveModel(
        route="*",
        rule="distance",
        bundle=opened.manifest.bundle_id,
        uri=str(bundle),
        sha256=opened.manifest_sha256,
        who="test",
        at=time.time_ns() // 1000,
    )
    value = orjson.dumps(model.model_dump(mode="json"))
    produce(rig.broker, f"{rig.prefix}models", [(model.key.encode(), value, [("content-type", b"application/json")])])
