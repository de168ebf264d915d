"""Microphones in operation: operators, maintenance, deployments, drift, silence, and the pipeline without Kafka."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.stream.feeds import assert_same_scores, events_of, parsed, scores_of
from tests.unit.stream.sounds import (
    AUDIO_TOPIC,
    RATE,
    SETTINGS,
    START,
    chunks_of,
    handle,
    hum,
    pipeline_of,
    write_sound_bundle,
)
from wheeltapper.adaptation.rows import RowCollector
from wheeltapper.offline import MESSAGES_PER_BATCH, run_chunks_offline
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.commands import AlarmCommand
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.calendar import MaintenanceSpan
from wheeltapper.stream.core.drift.reference import drift_reference, normal_blocks
from wheeltapper.stream.deployment import Deployment
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import (
    DriftSettings,
    LabelSettings,
    Settings,
    StateSettings,
)
from wheeltapper.training.adaptation.service.life import RowSource
from wheeltapper.what_if.scores import scores_from_series

STEADY = SETTINGS.threshold


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound_bundle(tmp_path_factory.mktemp("bundle"))


def test_microphones_of_a_machine_are_apart_and_its_patterns_mean_both(bundle: Path) -> None:
    # given two microphones of a machine that is in maintenance, and another machine
    spans = [MaintenanceSpan("fan-1", START, START + 10**9)]
    pipeline = pipeline_of(bundle, maintenance=[lambda first, last: spans])
    signal = hum(4, loud=(1, 3))
    batch = [
        chunk
        for chunks in zip(
            chunks_of(signal, [800], microphone="left"),
            chunks_of(signal * 0.0625, [800], microphone="right"),
            chunks_of(signal, [800], machine="fan-2"),
            strict=True,
        )
        for chunk in chunks
    ]
    # when their sound comes in one partition
    outputs = handle(pipeline, batch)
    # then each has scores of its own, and the machine in maintenance has no alert
    assert {key[0] for key in scores_of(outputs)} == {"fan-1::left", "fan-1::right", "fan-2"}
    assert {event["machine"] for event in parsed(outputs, "alerts")} == {"fan-2"}
    assert any(any(block["maintenance"]) for block in parsed(outputs, "scores") if block["machine"] == "fan-1::left")


@pytest.mark.parametrize("named", ["fan-1", "fan-1::left"])
def test_operators_may_name_the_machine_or_its_microphone(bundle: Path, named: str) -> None:
    # given an open alert of a microphone
    pipeline = pipeline_of(bundle)
    outputs = handle(pipeline, chunks_of(hum(4, loud=(1, 4)), [800], microphone="left"))
    assert next(event["event"] for event in parsed(outputs, "alerts")) == "opened"
    # when an operator accepts it, then it ends
    ended = pipeline.command(AlarmCommand(command_id="c", machine=named, action="accept", who="me", at=START), now=0.0)
    (event,) = parsed(ended, "alerts")
    assert (event["event"], event["reason"], event["machine"]) == ("cleared", "accepted", "fan-1::left")


def test_sound_asks_no_label_and_is_judged_for_drift_by_scores_and_embeddings(bundle: Path) -> None:
    # given a worker that asks for labels
    settings = Settings(threshold=STEADY, labels=LabelSettings(enabled=True, per_day=1_440, margin=0.9))
    outputs = handle(pipeline_of(bundle, settings), chunks_of(hum(140, loud=(60, 62)), [RATE]))
    # then sound has none: a question carries rows
    assert parsed(outputs, "label-requests") == []
    # and drift knows no values of channels
    (rule,) = load_routes([str(bundle)], settings).rules
    assert normal_blocks(rule, 3_600_000_000).summaries.shape[0] == 0
    assert open_bundle(bundle).manifest.row_width == 1


def test_drift_of_sound_is_judged_block_by_block(tmp_path: Path) -> None:
    # given a bundle that knows 40 blocks of 4 s of its normal, with their embeddings
    signal = hum(240)
    bundle = write_sound_bundle(tmp_path, held_out=signal[: 160 * RATE])
    settings = Settings(threshold=STEADY, drift=DriftSettings(block_s=4.0))
    (rule,) = load_routes([str(bundle)], settings).rules
    assert drift_reference(rule, settings.drift).families == ("scores", "embedding")
    # when a minute and a half of sound comes
    pipeline = pipeline_of(bundle, settings)
    outputs = handle(pipeline, chunks_of(signal[160 * RATE :], [RATE]))
    # then every whole block is judged, and none has drifted
    assert pipeline.counters.drift_blocks == {"judged": 19}
    assert parsed(outputs, "drift") == []


def test_a_silent_and_forgotten_microphone_ends_its_alerts(bundle: Path) -> None:
    # given a microphone that has died, and an alert of that
    settings = Settings(state=StateSettings(forget_machine_after_s=1_000))
    pipeline = pipeline_of(bundle, settings)
    outputs = handle(pipeline, chunks_of(np.zeros((8 * RATE, 1), np.float32), [RATE], microphone="left"))
    (dead,) = parsed(outputs, "alerts")
    assert (dead["rule"], dead["event"]) == ("dead-microphone", "opened")
    # when nothing comes from it any more
    at_end = [(AUDIO_TOPIC, 0)].__contains__
    (silent,) = parsed(pipeline.tick(100.0, at_end), "alerts")
    assert (silent["rule"], silent["machine"]) == ("no-data", "fan-1::left")
    gone = pipeline.tick(1_000.0, at_end)
    # then both alerts end
    ended = {(event["rule"], event["event"], event["reason"]) for event in parsed(gone, "alerts")}
    assert ended == {("no-data", "cleared", "no-data"), ("dead-microphone", "cleared", "no-data")}
    assert {event["alert_id"] for event in parsed(gone, "alerts")} == {dead["alert_id"], silent["alert_id"]}


def test_a_new_bundle_takes_a_microphone_over_and_its_alert_goes_on(bundle: Path, tmp_path: Path) -> None:
    # given an open alert, and another bundle for the machine
    pipeline = pipeline_of(bundle)
    chunks = chunks_of(hum(6, loud=(1, 5)), [800], microphone="left")
    outputs = handle(pipeline, chunks[:30])
    (opened,) = [event for event in parsed(outputs, "alerts") if event["event"] == "opened"]
    other = write_sound_bundle(tmp_path, alarm_level=0.05)
    # when it is deployed for the machine, not for its microphone
    deployment = Deployment("energy", "active", machines="fan-1", kind="audio", bundle=str(other))
    outputs = [*pipeline.command(deployment, now=0.0), *handle(pipeline, chunks[30:], first=30)]
    # then it scores without a warm-up, and the alert goes on under its id
    assert [event["alert_id"] for event in parsed(outputs, "alerts")] == [opened["alert_id"]]
    scores = [score[0].score for score in scores_of(outputs).values()]
    assert len(scores) == 12
    assert max(scores) == pytest.approx(1.53 * 0.02 / 0.05, rel=0.01)
    # and a bundle of other channels is refused
    with pytest.raises(InputError, match="both serve machines"):
        pipeline.command(
            Deployment("energy", "active", kind="audio", bundle=str(write_sound_bundle(tmp_path, channels=("x", "y")))),
            now=0.0,
        )


def test_a_recording_runs_offline_as_it_does_live(bundle: Path) -> None:
    # given a recording of two microphones in more chunks than one batch holds
    chunks = [
        chunk
        for pair in zip(
            chunks_of(hum(8, loud=(2, 3)), [500], microphone="left"),
            chunks_of(hum(8, loud=(5, 6)), [500], machine="fan-2"),
            strict=True,
        )
        for chunk in pair
    ]
    assert len(chunks) > MESSAGES_PER_BATCH
    # when it runs offline, then what comes out is what a worker gives
    offline = list(run_chunks_offline(pipeline_of(bundle), chunks))
    live = handle(pipeline_of(bundle), chunks)
    assert_same_scores(offline, live)
    assert events_of(offline) == events_of(live)
    assert len(events_of(live)) == 2


def test_an_adaptation_of_sound_says_that_there_is_none(bundle: Path) -> None:
    # given a drift of a microphone, when its sound is to be collected, then the adaptation ends with what to do instead
    with pytest.raises(InputError, match="only bundles of rows are adapted: train one on recent recordings"):
        RowCollector(SETTINGS, "fan-1", open_bundle(bundle), RowSource(AUDIO_TOPIC, 0, 0))


def test_what_if_over_a_data_set_is_of_rows(bundle: Path) -> None:
    with pytest.raises(InputError, match="leave out --dataset"):
        scores_from_series(open_bundle(bundle), None, SETTINGS)  # type: ignore[arg-type]
