"""The loop of labels, closed: a worker asks, an operator who knows the truth answers, training learns from the answers."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import forked
from tests.integration.kafka_tools import Broker, consume_all, create_topics, produce
from tests.integration.processes import run_worker
from wheeltapper.cli import main
from wheeltapper.labels.options import add_label_arguments, read_sources, windows_to_learn
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_message, encode_sensor_block
from wheeltapper.schemas.events import Label, LabelRequest
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.datasets.simulated import DAY, simulate
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.label_files import read_answers, write_answers
from wheeltapper.training.fitting.labels import ANOMALOUS, Answer, LabelledWindows, labelled_windows
from wheeltapper.training.fitting.options import ExtraData, TrainOptions

pytestmark = pytest.mark.broker

ASKING = {
    "WHEELTAPPER_LABELS__ENABLED": "true",
    "WHEELTAPPER_LABELS__MARGIN": "0.6",
    "WHEELTAPPER_LABELS__PER_DAY": "48",
}
# Enough for one look at the machinery; what labels are worth is measured elsewhere.
TINY_RL_VAE = {
    "episodes": "2", "gradient_steps": "2", "walkers": "16", "windows_per_epoch": "256", "hidden": "16", "q_hidden": "8",
    "pool_limit": "200", "spread": "0",
}  # fmt: skip


@dataclass(frozen=True)
class Loop:
    """A broker with the topics of one plant."""

    broker: Broker
    prefix: str

    def label(self, *words: str) -> str:
        """What `wheeltapper label` prints; it must end with 0."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main([*self.command, *words]) == 0
        return printed.getvalue()

    def type_in(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """`wheeltapper label` in a process of its own, with an operator who types."""
        return forked.run(
            [*self.command, "--who", "bert"],
            input="".join(f"{line}\n" for line in lines),
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "200"},
        )

    @property
    def command(self) -> list[str]:
        return ["label", "--brokers", self.broker.address, "--prefix", self.prefix]

    def open_requests(self) -> list[LabelRequest]:
        """As `--list --json` prints them."""
        return [LabelRequest.model_validate_json(line) for line in self.label("--list", "--json").splitlines()]


def truth_of(series: SensorSeries, request: LabelRequest) -> int:
    """1 where the judged row lies in a fault."""
    assert series.test_labels is not None
    return int(series.test_labels[np.searchsorted(series.test_ts, request.time)])


def rows_as_messages(series: SensorSeries, rows: int = 120) -> list[tuple[bytes, bytes, Sequence[tuple[str, bytes]]]]:
    key, headers = series.entity.encode(), [("content-type", CONTENT_TYPES["arrow"].encode())]
    blocks = (
        SensorBlock(series.entity, series.test_ts[at : at + rows], series.channels, series.test[at : at + rows])
        for at in range(0, len(series.test), rows)
    )
    return [(key, encode_sensor_block(block, "arrow"), headers) for block in blocks]


def labels_from_topics(loop: Loop, series: SensorSeries, monkeypatch: pytest.MonkeyPatch) -> LabelledWindows | None:
    """What `train --labels-from` reads."""
    parser = argparse.ArgumentParser()
    add_label_arguments(parser)
    monkeypatch.setenv("WHEELTAPPER_TOPICS__PREFIX", loop.prefix)
    arguments = parser.parse_args(["--labels-from", loop.broker.address, "--labels-machine", series.entity])
    return windows_to_learn(
        read_sources(arguments), [], series, machines=arguments.labels_machine, window=None, default_window=1
    )


@pytest.mark.one_broker
def test_a_worker_asks_an_operator_answers_training_learns(
    broker: Broker, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a pump's bundle, and a worker that saw two days of it, faults among them, and may ask
    series = simulate("pump-1", train_rows=3 * DAY, test_rows=2 * DAY)
    fitted, scores = train_detector("pca", series)
    write_bundle(fitted, series, tmp_path / "pca", scores=scores, false_alarms_per_day=0.25, seed=0, torchscript=False)
    loop = Loop(broker, topics_prefix)
    create_topics(broker, topics_prefix, partitions=2)
    produce(broker, f"{topics_prefix}sensors", rows_as_messages(series))
    group = ("--group", f"{topics_prefix}group")
    run_worker(
        broker, [tmp_path / "pca"], tmp_path / "worker.log", runner="direct", prefix=topics_prefix, options=group,
        until_idle_s=1.0, environment=ASKING,
    )  # fmt: skip

    # when the operator looks: then some windows are open, newest first, each once, of both kinds
    asked = loop.open_requests()
    truth = {request.request_id: truth_of(series, request) for request in asked}
    assert len(truth) == len(asked) >= 8
    assert [request.time for request in asked] == sorted((request.time for request in asked), reverse=True)
    assert set(truth.values()) == {0, 1}
    assert len({request.time // (DAY * 60_000_000 // 48) for request in asked}) == len(asked)

    # when one is answered by its id, wrongly, and corrected; one with 'unsure'; the others one after the other
    newest, unsure = asked[0], asked[1]
    words = {0: "normal", 1: "anomalous"}
    wrong, right = words[1 - truth[newest.request_id]], words[truth[newest.request_id]]
    for answer in (wrong, right):
        printed = loop.label("--answer", answer, "--request", newest.request_id[:8], "--who", "anna", "--comment", "hm")
        assert f": {answer}" in printed
    assert f"(was {wrong}, by anna)" in printed
    typed = ["u cannot say"] + [words[truth[request.request_id]][0] for request in asked[2:]]
    done = loop.type_in(*typed)
    # then all have an answer
    assert done.returncode == 0, done.stderr
    assert f"{len(asked) - 1} answered, 0 open" in done.stdout
    assert loop.open_requests() == []
    said = [json.loads(record.value or b"") for record in consume_all(broker, f"{topics_prefix}labels")]
    assert len(said) == len(asked) + 1
    assert {(one["who"], one["comment"]) for one in said} == {("anna", "hm"), ("bert", "cannot say"), ("bert", "")}

    # when training reads them back from the topics
    labelled = labels_from_topics(loop, series, monkeypatch)
    # then they are the operator's truth, with the rows as they were sent, without the one that nobody could tell
    assert labelled is not None
    expected = {request.time: truth[request.request_id] for request in asked if request is not unsure}
    assert dict(zip(labelled.times.tolist(), labelled.labels.tolist(), strict=True)) == expected
    for window, time in zip(labelled.windows, labelled.times, strict=True):
        last = int(np.searchsorted(series.test_ts, time))
        np.testing.assert_array_equal(window, series.test[last + 1 - len(window) : last + 1].astype(np.float32))
    # and a file holds the same
    file = tmp_path / "labels.jsonl"
    assert f"{len(asked)} labels" in loop.label("--export", str(file))
    assert {answer.request.request_id: answer.label.label for answer in read_answers(file)} == {
        request.request_id: "unsure" if request is unsure else words[truth[request.request_id]] for request in asked
    }

    # when a detector that learns from labels is trained with them (its export is tested elsewhere, and takes its time)
    options = TrainOptions(
        window=labelled.windows.shape[1],
        settings=TINY_RL_VAE,
        epochs=1,
        held_out_by="torch",
        extra_data=ExtraData(labelled=labelled),
    )
    learned, _ = train_detector("rl-vae", series, options)
    # then it knows all of them, and bought none
    known = {name: learned.parameters[name] for name in ("labels_known", "anomalies_known", "labels_bought")}
    anomalous = int((labelled.labels == ANOMALOUS).sum())
    assert known == {"labels_known": len(labelled), "anomalies_known": anomalous, "labels_bought": 0}


def test_what_is_no_request_and_who_may_not_ask(broker: Broker, topics_prefix: str, capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    # given topics with something else in them
    create_topics(broker, topics_prefix, partitions=1)
    produce(broker, f"{topics_prefix}label-requests", [(b"pump", b'{"machine": 1}', []), (b"pump", b"\xff", [])])
    words = ["label", "--brokers", broker.address, "--prefix", topics_prefix]
    # when the operator looks: then it is named and left out
    assert main([*words, "--list"]) == 0
    out, error = capfd.readouterr()
    assert out == ""
    assert error.count("is no LabelRequest and is left out") == 2
    # and an answer to a request that is not there, or topics that are not, end with one line
    assert main([*words, "--answer", "normal", "--request", "abc"]) == 2
    assert "no label requests begin so" in capfd.readouterr().err.splitlines()[-1]
    assert main([*words[:-1], "nowhere.", "--list"]) == 2
    assert "wheeltapper topics create" in capfd.readouterr().err


@pytest.mark.one_broker
def test_a_label_in_the_topic_corrects_one_in_a_file_whose_question_the_topic_no_longer_has(
    broker: Broker, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a file with an answer, and a correction of it in the topic, where the question has expired
    create_topics(broker, topics_prefix, partitions=1)
    start = 1_700_000_000_000_000
    request = LabelRequest(
        request_id="q1", machine="pump", time=start + 60_000_000, rule="pca", detector="pca", bundle="b", score=0.9,
        threshold=1, uncertainty=0.5, quality=1, shares=(), channels=("flow",), units=("",),
        ts=(start, start + 60_000_000), values=((1.0,), (2.0,)),
    )  # fmt: skip
    wrong = Label(request_id="q1", machine="pump", time=request.time, label="normal", who="anna", at=start)
    right = wrong.model_copy(update={"label": "anomalous", "at": start + 1})
    write_answers(tmp_path / "labels.jsonl", [Answer(request, wrong)])
    produce(broker, f"{topics_prefix}labels", [(b"pump", encode_message(right), ())])
    # when training reads both
    monkeypatch.setenv("WHEELTAPPER_TOPICS__PREFIX", topics_prefix)
    parser = argparse.ArgumentParser()
    add_label_arguments(parser)
    words = ["--labels", str(tmp_path / "labels.jsonl"), "--labels-from", broker.address]
    answers = read_sources(parser.parse_args(words)).answers
    labelled, _ = labelled_windows(answers, ("flow",))
    # then the correction counts
    assert labelled.labels.tolist() == [ANOMALOUS]
