"""A graph that never returns, on a real broker: told by name and ended; not ready, and stopped in time by who asks for it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.plant import make_plant, messages_of
from tests.integration.kafka_tools import Broker
from tests.integration.worker_tools import (
    PATIENCE_S,
    RECIPE,
    RUNNERS,
    STOPS_WITHIN_S,
    Rig,
    free_port,
    http_get,
    make_rig,
    wait_until,
)
from tests.unit.stream.bundles import files_of, graph_of, manifest_of
from wheeltapper.schemas.bundle import write_bundle_folder

pytestmark = [pytest.mark.broker, pytest.mark.one_broker, pytest.mark.slow]


def endless_bundle(folder: Path) -> Path:
    """The rig's bundle, whose graph does not come back from a value above a million."""
    model = onnx.load_from_string(graph_of(RECIPE))
    graph = model.graph
    score = next(node for node in graph.node if "score" in node.output)
    score.output[0] = "score itself"
    constants = {
        "million": np.float32(1e6),
        "for ever": np.array(2**60, dtype=np.int64),
        "go on": np.array(True),
        "none": np.float32(0),
        "one": np.float32(1),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["still"], ["still on"]),
            helper.make_node("Sin", ["sum"], ["next sum"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn number", TensorProto.INT64, []),
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next sum", TensorProto.FLOAT, []),
        ],
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["there"], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "million"], ["is endless"]),
            helper.make_node("Cast", ["is endless"], ["once or never"], to=TensorProto.INT64),
            helper.make_node("Mul", ["once or never", "for ever"], ["turns"]),
            helper.make_node("Loop", ["turns", "go on", "one"], ["spun"], body=body),
            helper.make_node("Mul", ["spun", "none"], ["nothing at all"]),
            helper.make_node("Add", ["score itself", "nothing at all"], ["score"]),
        ]
    )
    onnx.checker.check_model(model)
    files = files_of(RECIPE) | {"model.onnx": bytes(model.SerializeToString())}
    return write_bundle_folder(folder / RECIPE.bundle_id, manifest_of(RECIPE, files), files).location


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_graph_that_never_returns_ends_the_worker_which_names_bundle_and_machine(
    broker: Broker, topics_prefix: str, tmp_path: Path, runner: str
) -> None:
    # given a worker whose graph does not return from some windows of one machine
    rig = make_rig(broker, runner, topics_prefix, tmp_path)
    endless = endless_bundle(tmp_path / "endless")
    rig = Rig(broker, runner, topics_prefix, tmp_path, RECIPE, endless, rig.sensors)
    plant = make_plant(machines=2, rows=40)
    plant.machines["press-01"].values[30] = 2e6
    # when such a window comes
    rig.produce(messages_of(plant, largest_block=8))
    with rig.start(environment={"WHEELTAPPER_SCORING__GRAPH_TIMEOUT_S": "2"}) as worker:
        # then the worker ends in time, and says why
        assert worker.wait() == 1
    assert f"the graph of bundle '{RECIPE.bundle_id}' has not returned for 2 s" in worker.log()
    assert "'press-01'" in worker.log()
    assert rig.committed() != rig.ends()


@pytest.mark.parametrize("runner", ["direct", pytest.param("faust", marks=pytest.mark.nightly)])
def test_a_worker_whose_graph_does_not_return_stops_within_ten_seconds(
    broker: Broker, topics_prefix: str, tmp_path: Path, runner: str
) -> None:
    # given a worker in such a graph
    rig = make_rig(broker, runner, topics_prefix, tmp_path)
    rig = Rig(broker, runner, topics_prefix, tmp_path, RECIPE, endless_bundle(tmp_path / "endless"), rig.sensors)
    plant = make_plant(machines=2, rows=40)
    plant.machines["press-01"].values[30] = 2e6
    port = free_port()
    rig.produce(messages_of(plant, largest_block=8))
    with rig.start(
        environment={"WHEELTAPPER_WORKER__READY_TIMEOUT_S": "6"}, options=("--http-port", str(port))
    ) as worker:
        worker.wait_for("partitions taken over", PATIENCE_S)
        # that is not ready any more, as rows wait
        wait_until(lambda: "rows are waiting but none was handled" in http_get(port, "/readyz")[1], "503", worker)
        # when it is told to stop
        started = time.monotonic()
        assert worker.terminate() == 0
        # then it ends in time
        assert time.monotonic() - started < STOPS_WITHIN_S
    assert "was told to stop 8 s ago and has not" in worker.log()
