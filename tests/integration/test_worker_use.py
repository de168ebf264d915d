"""Using the worker: a plant's own topic as its input, health endpoints, signals, and every wrong use in one line."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from tests.helpers.plant import Message, Plant, make_plant, messages_of
from tests.integration.kafka_tools import Broker, create_topic
from tests.integration.processes import run_command
from tests.integration.worker_tools import (
    RECIPE,
    RUNNERS,
    Rig,
    assert_alerts,
    assert_committed_to_the_end,
    assert_scores,
    free_port,
    http_get,
    make_rig,
    metrics,
    wait_until,
)
from tests.unit.stream.bundles import write_bundle
from wheeltapper.deploy.broker import EmbeddedBroker

pytestmark = pytest.mark.broker


@pytest.fixture(params=RUNNERS)
def rig(request: pytest.FixtureRequest, broker: Broker, topics_prefix: str, tmp_path: Path) -> Rig:
    return make_rig(broker, request.param, topics_prefix, tmp_path)


@pytest.fixture(params=RUNNERS)
def embedded_rig(request: pytest.FixtureRequest, embedded_broker: str, topics_prefix: str, tmp_path: Path) -> Rig:
    broker = Broker(embedded_broker, "tansu", supports_transactions=False)
    return make_rig(broker, request.param, topics_prefix, tmp_path)


@pytest.fixture(params=RUNNERS)
def kafka_rig(request: pytest.FixtureRequest, real_kafka: str, topics_prefix: str, tmp_path: Path) -> Rig:
    broker = Broker(real_kafka, "kafka", supports_transactions=True)
    return make_rig(broker, request.param, topics_prefix, tmp_path)


def as_the_plant_sends_them(plant: Plant) -> Iterator[Message]:
    """Flat JSON: the machine in the key, time in ms, channels under names of the plant's own, and a field for nobody."""
    for name, block in plant.machines.items():
        for time_us, row in zip(block.ts.tolist(), block.values.tolist(), strict=True):
            fields = {"stamp": time_us // 1000, "shift": "late", "T_a": row[0], "b": row[1], "c": row[2], "p4": row[3]}
            yield name.encode(), orjson.dumps(fields), []


def test_a_plants_own_topic_is_read_as_it_is(embedded_rig: Rig, tmp_path: Path) -> None:
    # given a topic of another name and layout, and settings that say so
    rig = embedded_rig
    plant = make_plant(machines=3, rows=150)
    rig.sensors = f"plant-{rig.prefix}rows"
    create_topic(rig.broker, rig.sensors, 3)
    rig.produce(as_the_plant_sends_them(plant))
    config = tmp_path / "plant.toml"
    config.write_text(
        f'[topics]\nsensors = "{rig.sensors}"\n'
        '[input]\nmachine = "key"\ntime = "stamp"\ntime_unit = "ms"\nvalues = ""\nunknown_channels = "ignore"\n'
        'rename = {T_a = "a", p4 = "d"}\n'
    )
    # when a worker reads it by these settings
    rig.run(config=config)
    # then the results are those of the project's own layout
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)
    assert_committed_to_the_end(rig)
    assert rig.records("dead-letters") == []


def test_health_tells_when_it_is_ready_and_counts(embedded_rig: Rig) -> None:
    # given a worker that starts
    rig, port = embedded_rig, free_port()
    plant = make_plant(machines=2, rows=100)
    rig.produce(messages_of(plant))
    seen: list[int] = []
    with rig.start(options=("--http-port", str(port))) as worker:

        def is_ready() -> bool:
            seen.append(http_get(port, "/readyz")[0])
            return seen[-1] == 200

        # when it is asked all the time
        wait_until(is_ready, "it was ready", worker)
        # then it is not ready before it has its partitions, and healthy all the while
        assert 503 in seen
        assert http_get(port, "/healthz") == (200, "ok\n")
        assert http_get(port, "/nothing")[0] == 404
        wait_until(lambda: metrics(port)["wheeltapper_rows_total"] == plant.rows, "all rows were counted", worker)
        # a step counts its rows before it has judged them: what is committed has been judged
        wait_until(lambda: metrics(port)["wheeltapper_committed"] == rig.produced, "all was committed", worker)
        counted = metrics(port)
        assert counted["wheeltapper_windows_total"] == len(rig.expect(plant).scores)
        assert counted["wheeltapper_alert_events_total"] == len(rig.expect(plant).alerts)
        assert counted["wheeltapper_position"] == rig.produced
        assert counted["wheeltapper_machines"] == 2
        assert counted["wheeltapper_ready"] == 1
        # and Ctrl-C ends it within seconds
        asked = time.monotonic()
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait(30) == 0, worker.log()
        assert time.monotonic() - asked < 15


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_worker_whose_broker_is_away_is_not_ready_and_waits(
    runner: str, own_embedded_broker: EmbeddedBroker, topics_prefix: str, tmp_path: Path
) -> None:
    # given a worker that has read everything, at a broker of its own
    broker, port = Broker(own_embedded_broker.client_address, "tansu", supports_transactions=False), free_port()
    rig = make_rig(broker, runner, topics_prefix, tmp_path)
    plant = make_plant(machines=2, rows=100)
    rig.produce(messages_of(plant.until(50)))
    config = tmp_path / "worker.toml"
    config.write_text("[worker]\nstall_timeout_s = 4.0\n")
    pid = own_embedded_broker.pid
    assert pid is not None
    with rig.start(config=config, options=("--http-port", str(port))) as worker:
        wait_until(lambda: http_get(port, "/readyz")[0] == 200, "it was ready", worker)
        wait_until(lambda: metrics(port)["wheeltapper_rows_total"] == plant.until(50).rows, "rows were read", worker)
        # when nothing comes for longer than the limit, then it stays ready
        until = time.monotonic() + 6
        while time.monotonic() < until:
            assert http_get(port, "/readyz") == (200, "ready\n")
            time.sleep(0.5)
        # when the broker falls silent, with its memory kept
        os.kill(pid, signal.SIGSTOP)
        try:
            # then the worker is not ready once the silence has been noticed and the limit has passed
            wait_until(lambda: http_get(port, "/readyz")[0] == 503, "it was not ready", worker, timeout_s=25)
            # and it says why, and does not end, for longer than the limit
            wait_until(lambda: "no broker answers" in http_get(port, "/readyz")[1], "it said why", worker, timeout_s=15)
            time.sleep(5)
            assert worker.process.poll() is None
        finally:
            os.kill(pid, signal.SIGCONT)
        # and it is ready again once the broker is back, and reads on
        wait_until(lambda: http_get(port, "/readyz")[0] == 200, "it was ready again", worker)
        rig.produce(messages_of(plant.since(50), seed=5))
        wait_until(lambda: rig.committed() == rig.ends(), "it had read on", worker)


@pytest.mark.kafka
def test_rows_of_transactions_count_when_they_are_committed(kafka_rig: Rig) -> None:
    # given rows in transactions, whose markers take offsets too, an aborted one among them and one still open at the end
    rig = kafka_rig
    plant, never = make_plant(machines=4, rows=150), make_plant(machines=4, rows=50, seed=8)
    writer = f"{rig.prefix}writer"
    rig.produce(messages_of(plant.until(70)), transaction=writer)
    rig.produce(messages_of(never), transaction=writer, abort=True)
    rig.produce(messages_of(plant.since(70), seed=5), transaction=writer)
    unfinished = Producer(rig.broker.client(**{"transactional.id": f"{rig.prefix}unfinished"}))
    unfinished.init_transactions(30)
    unfinished.begin_transaction()
    for key, value, headers in messages_of(never.until(5), seed=6):
        unfinished.produce(rig.sensors, value, key, headers=list(headers))
    assert unfinished.flush(30) == 0
    # when a worker runs until it is idle
    rig.run()
    unfinished.abort_transaction(30)
    # then it has taken the committed rows, and only these
    assert rig.records("dead-letters") == []
    assert_alerts(rig, rig.expect(plant), exactly_once=True)
    assert_scores(rig, rig.expect(plant), exactly_once=True)


def wrong_uses(folder: Path, broker: str, prefix: str, taken_port: int) -> dict[str, tuple[list[str], str]]:
    """Name -> (options, what the one line must say)."""
    bundle = str(write_bundle(folder, RECIPE))
    damaged = write_bundle(folder / "damaged", RECIPE)
    (damaged / "model.onnx").write_bytes(b"\x08\x07")

    def settings(text: str) -> list[str]:
        path = folder / f"{len(list(folder.iterdir()))}.toml"
        path.write_text(text)
        return ["--config", str(path)]

    usual = ["--brokers", broker, "--prefix", prefix, "--bundle", bundle]
    return {
        "no broker": (["--brokers", "127.0.0.1:1", "--bundle", bundle], "no Kafka at 127.0.0.1:1"),
        "no bundle": (["--brokers", broker, "--prefix", prefix, "--bundle", f"{folder}/none"], "no such bundle"),
        "damaged bundle": (["--brokers", broker, "--prefix", prefix, "--bundle", str(damaged)], "sha256"),
        "taken port": ([*usual, "--http-port", str(taken_port)], f"worker.http_port {taken_port}"),
        "misspelt setting": ([*usual, *settings("[kafka]\ngruop = 'x'\n")], "did you mean 'group'"),
        "impossible value": ([*usual, *settings("[state]\nsnapshot_interval_s = -1\n")], "state.snapshot_interval_s"),
        "not TOML": ([*usual, *settings("[state\n")], "not a readable TOML file"),
        "no settings file": ([*usual, "--config", f"{folder}/none.toml"], "no such settings file"),
        "misspelt topic": ([*usual, *settings("[topics]\nsensors = 'snesors'\n")], "topic snesors (topics.sensors)"),
        "nowhere to start": ([*usual, "--from", "yesterday"], "--from yesterday: expected earliest, latest, a time"),
        "no time at all": ([*usual, "--until-idle", "0"], "--until-idle 0"),
        "transactions": ([*usual, *settings("[worker]\ntransactions = 'on'\n")], "worker.transactions is 'on'"),
    }


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    "case",
    ["no broker", "no bundle", "damaged bundle", "taken port", "misspelt setting", "impossible value",
     "not TOML", "no settings file", "misspelt topic", "nowhere to start", "no time at all", "transactions"],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_one_line(
    case: str, embedded_broker: str, topics_prefix: str, tmp_path: Path, taken_port: int
) -> None:
    # given
    options, expected = wrong_uses(tmp_path, embedded_broker, topics_prefix, taken_port)[case]
    # when
    started = time.monotonic()
    done = run_command("worker", *options, "--runner", "direct" if case == "transactions" else "faust", timeout_s=60)
    # then
    assert done.returncode == 2, done.stderr
    assert time.monotonic() - started < 20
    lines = done.stderr.splitlines()
    assert expected in lines[-1]
    assert lines[-1].startswith("wheeltapper: ")
    assert "Traceback" not in done.stderr
    assert not [line for line in lines[:-1] if "[info " not in line], done.stderr
