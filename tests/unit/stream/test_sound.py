"""Chunks of sound through the pipeline: scores, alerts with patches and clips, and what becomes of bad input."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.stream.feeds import Message, letters_of, parsed, scores_of
from tests.unit.stream.sounds import (
    AUDIO_TOPIC,
    BANDS,
    COLUMNS,
    HOP,
    PRODUCT,
    RATE,
    SETTINGS,
    SPEED,
    START,
    WINDOW,
    band_energies,
    chunk_at,
    chunks_of,
    handle,
    hum,
    pipeline_of,
    sound_batch,
    sound_message,
    write_sound_bundle,
)
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.clock import MAX_MICROS, MIN_MICROS
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.scoring import BatchScorer
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import (
    AudioSettings,
    Settings,
)

STEADY = SETTINGS.threshold


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound_bundle(tmp_path_factory.mktemp("bundle"))


def test_sound_becomes_scores_and_an_alert_with_its_moment_and_frequency(bundle: Path) -> None:
    # given ten seconds with a tone at 2,000 Hz from the fourth to the sixth, in chunks of 0.1 s
    signal = hum(10, loud=(4.1, 6.3))
    pipeline = pipeline_of(bundle)
    # when they are handled
    outputs = handle(pipeline, chunks_of(signal, [RATE // 10], microphone="inlet"))
    # then every half second in steps of a quarter has the score that numpy gives, at its last sample
    stops = np.arange(WINDOW, len(signal) + 1, HOP)
    wanted = band_energies(np.stack([signal[stop - WINDOW : stop, 0] for stop in stops])).mean(axis=(1, 2)) / 0.02
    found = scores_of(outputs)
    assert [key[2] for key in found] == [START + (int(stop) - 1) * 125 for stop in stops]
    np.testing.assert_allclose([score[0].score for score in found.values()], wanted, rtol=1e-4)
    assert {key[:2] for key in found} == {("fan-1::inlet", "energy")}
    # and the tone is one alert, whose first patch is the tone's
    events = parsed(outputs, "alerts")
    assert [event["event"] for event in events if event["event"] != "updated"] == ["opened", "cleared"]
    opened = events[0]
    assert opened["machine"] == "fan-1::inlet"
    assert opened["channels"][0] == {
        "channel": "1600-2400 Hz", "unit": "", "share": opened["channels"][0]["share"], "actual": None, "expected": None,
        "worst": None,
    }  # fmt: skip
    patch = opened["patches"][0]
    assert (patch["low_hz"], patch["high_hz"]) == (1_600, 2_400)
    assert abs(patch["start"] - (START + 4_100_000)) <= 1e6 * WINDOW / RATE / COLUMNS
    assert patch["share"] > 0.95
    # and a pointer to the messages that the clip came in: 0.1 s each
    (clip,) = [each["clip"] for each in parsed(outputs, "localizations") if each["time"] == opened["time"]]
    assert (clip["machine"], clip["microphone"], clip["topic"]) == ("fan-1", "inlet", AUDIO_TOPIC)
    assert clip["end"] - clip["start"] == WINDOW * 125
    assert clip["first_offset"] == (clip["start"] - START) // 100_000
    assert clip["last_offset"] == (clip["end"] - START - 125) // 100_000
    # and all of a machine has the machine's key
    assert {output.key for output in outputs if output.topic != "dead-letters"} == {b"fan-1"}
    assert pipeline.counters.sound_samples == len(signal)


def test_axes_are_scored_together_and_blamed_apart(tmp_path: Path) -> None:
    # given an accelerometer of two axes, of which the second is disturbed
    bundle = write_sound_bundle(tmp_path, channels=("x", "y"))
    signal = hum(4, channels=2)
    signal[:, 1] = hum(4, loud=(2, 3))[:, 0]
    # when it is handled, as float32
    outputs = handle(pipeline_of(bundle), chunks_of(signal, [1_234], encoding="float32"))
    # then scores are those of both, channel after channel, and the second is blamed
    stops = np.arange(WINDOW, len(signal) + 1, HOP)
    windows = np.stack([signal[stop - WINDOW : stop].T.ravel() for stop in stops])
    wanted = band_energies(windows, 2).mean(axis=(1, 2)) / 0.02
    np.testing.assert_allclose([score[0].score for score in scores_of(outputs).values()], wanted, rtol=1e-4)
    opened = parsed(outputs, "alerts")[0]
    assert opened["channels"][0]["channel"] == "y 1600-2400 Hz"
    assert opened["patches"][0]["channel"] == "y"


def test_the_operating_point_goes_to_the_graph(tmp_path: Path) -> None:
    # given a bundle whose score grows by the speed, and by ten for oil
    bundle = write_sound_bundle(tmp_path, attributes=(SPEED, PRODUCT))
    told = {"speed": 0.5, "product": "oil"}
    attributes = [told, {"speed": 0.5}, {"speed": "fast", "product": "milk"}, {}]
    signal = hum(4)
    chunks = [
        chunk_at(signal[number * RATE : (number + 1) * RATE], number * RATE, attributes=each)
        for number, each in enumerate(attributes)
    ]
    # when chunks come with some of them, then each window is scored under those of its last sample; what is unknown adds nothing
    outputs = handle(pipeline_of(bundle), chunks)
    raw = [float(value) for block in parsed(outputs, "scores") for value in block["raw"]]
    added = [round(value, 1) for value in raw]
    assert added == [10.5] * 3 + [0.5] * 4 + [0.0] * 8


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"time_columns": COLUMNS + 1}, r"contributions of model.onnx are 4 x 20, the manifest says 4 x 21"),
        ({"bands": ({"channel": "", "low_hz": 0, "high_hz": 100},)}, r"4 x 20, the manifest says 1 x 20"),
        ({"attributes": (SPEED,)}, "takes 0 columns of attributes, the manifest says 1"),
        ({"window": WINDOW + 1}, "takes windows of 4000, the manifest says 4001"),
    ],
)
def test_a_bundle_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, changed: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        pipeline_of(write_sound_bundle(tmp_path, changed=changed))


def bad(case: str) -> AudioChunk | Message:
    good = chunk_at(hum(0.5), 0)
    changes: dict[str, Any] = {
        "stereo where mono was trained": {"samples": hum(0.5, channels=2)},
        "a lower rate than the bundle's": {"sample_rate": RATE // 2},
        "a rate of megahertz": {"sample_rate": 65 * RATE},
        "a chunk of an hour": {"samples": np.zeros((61 * RATE, 1), np.float32), "encoding": "flac"},
        "a machine without a bundle": {"machine": "pump-1"},
    }
    if case in changes:
        return dataclasses.replace(good, **changes[case])
    message = sound_message(dataclasses.replace(good, encoding="float32" if case == "NaN" else "flac"))
    assert message.value is not None
    if case == "a key that is no UTF-8 in place of a machine":
        # The name, behind the fingerprint, is empty.
        value = sound_message(dataclasses.replace(good, machine="x")).value or b""
        return Message(value[:10] + b"\x00" + value[12:], b"fan-\xff")
    if case == "corrupt FLAC":
        return message._replace(value=message.value[:-3_000] + bytes(3_000))
    if case == "NaN":
        return message._replace(value=message.value[:-4] + np.array([np.nan], "<f4").tobytes())
    return message._replace(value=None if case == "no value" else b"?")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("stereo where mono was trained", "wrong-width"),
        ("a lower rate than the bundle's", "wrong-rate"),
        ("a rate of megahertz", "wrong-rate"),
        ("a chunk of an hour", "too-large"),
        ("a machine without a bundle", "no-route"),
        ("a key that is no UTF-8 in place of a machine", "no-machine"),
        ("corrupt FLAC", "not-decodable"),
        ("NaN", "not-finite"),
        ("no value", "not-decodable"),
        ("no chunk", "not-decodable"),
    ],
)
def test_bad_sound_is_a_dead_letter_and_never_a_wrong_score(bundle: Path, case: str, reason: str) -> None:
    # given a bad message between two good ones that follow each other
    signal = hum(2)
    good = chunks_of(signal, [RATE])
    # when they are handled
    outputs = pipeline_of(bundle).handle([sound_batch([good[0], bad(case), good[1]])], now=0.0)
    # then it is a dead letter that says why, and the scores are those without it
    (letter,) = letters_of(outputs)
    assert (letter.reason, letter.offset) == (reason, 1)
    alone = handle(pipeline_of(bundle), good)
    assert parsed(outputs, "scores") == parsed(alone, "scores")
    assert len(scores_of(outputs)) == 7


def test_a_lower_rate_is_taken_where_settings_say_so(bundle: Path) -> None:
    settings = Settings(threshold=STEADY, audio=AudioSettings(upsample=True))
    outputs = handle(pipeline_of(bundle, settings), chunks_of(hum(3, rate=6_000), [6_000], rate=6_000))
    assert letters_of(outputs) == []
    assert len(scores_of(outputs)) == 10  # of eleven: the last quarter second waits for what comes after it


def test_a_long_chunk_takes_no_more_memory_than_the_window(bundle: Path) -> None:
    # given a chunk of a minute, and many in one batch
    pipeline = pipeline_of(bundle)
    chunks = chunks_of(hum(60), [60 * RATE]) + chunks_of(hum(4), [RATE // 40], machine="fan-2")
    # when they are handled
    outputs = handle(pipeline, chunks)
    # then all is scored, and what is kept is a window and a second
    assert len(scores_of(outputs)) == 239 + 15
    for name in ("fan-1", "fan-2"):
        machine = pipeline.partition(AUDIO_TOPIC, 0).find(name)
        assert machine is not None
        buffer = machine.memory._raw  # type: ignore[attr-defined]
        assert buffer._data.nbytes <= 4 * (WINDOW + 2 * RATE)
        assert len(machine.memory._marks.starts) < 200  # type: ignore[attr-defined]


def test_a_worker_without_the_extra_says_so_at_start(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(InputError, match=r"need soxr, which is not installed: pip install 'wheeltapper\[audio\]'"):
        pipeline_of(bundle)


def test_bundles_of_one_pattern_that_differ_are_refused(tmp_path: Path, bundle: Path) -> None:
    other = write_sound_bundle(tmp_path, channels=("x", "y"), detector="other")
    with pytest.raises(InputError, match="8000 Hz, channels x, y"):
        load_routes([f"*={bundle}", f"*={other}"], SETTINGS)


def test_the_hop_is_in_seconds_and_the_stride_of_rows_is_not_for_sound(bundle: Path) -> None:
    settings = Settings.model_validate({"audio": {"hop_s": 1.0}, "windows": {"stride": 3}})
    (rule,) = load_routes([str(bundle)], settings).rules
    assert rule.stride == RATE
    (rule,) = load_routes([str(bundle)], Settings.model_validate({"windows": {"stride": 3}})).rules
    assert rule.stride == HOP


def test_patches_do_not_overlap_and_hold_no_more_than_all(bundle: Path) -> None:
    # given two tones at once and one after the other
    times = np.arange(2 * RATE) / RATE
    low, high = np.sin(2 * np.pi * 400 * times), np.sin(2 * np.pi * 3_000 * times)
    sound = 0.4 * low * (times < 1.2) + 0.4 * high * ((times > 0.6) & (times < 0.8))
    settings = Settings(threshold=STEADY.model_copy(update={"raise_level": 0.01}))
    outputs = handle(pipeline_of(bundle, settings), chunks_of(sound[:, None].astype(np.float32), [500]))
    # then the patches of every localization are apart, strongest first, and within their clip
    for found in parsed(outputs, "localizations"):
        patches = found["patches"]
        assert patches == sorted(patches, key=lambda patch: -patch["share"])
        assert sum(patch["share"] for patch in patches) <= 1 + 1e-5
        assert all(patch["low_hz"] >= BANDS[0][0] and patch["high_hz"] <= BANDS[-1][1] for patch in patches)
        assert all(
            found["clip"]["start"] - 1 <= patch["start"] < patch["end"] <= found["clip"]["end"] + 1 for patch in patches
        )
        for number, one in enumerate(patches):
            for other in patches[number + 1 :]:
                apart_in_time = one["end"] <= other["start"] or other["end"] <= one["start"]
                assert apart_in_time or one["high_hz"] <= other["low_hz"] or other["high_hz"] <= one["low_hz"]


@pytest.mark.parametrize("edge", ["first", "last"])
def test_sound_at_the_ends_of_time_is_scored_like_any(bundle: Path, edge: str) -> None:
    # given a tone in the first second of the year 1, and in the last of 9999
    signal = hum(1, loud=(0, 1))
    start = MIN_MICROS if edge == "first" else MAX_MICROS - 1_000_000
    chunks = [
        AudioChunk("fan-1", "", start + 100_000 * number, RATE, signal[800 * number :][:800]) for number in range(10)
    ]
    # when it is handled, then its alert is within what a message can say
    outputs = handle(pipeline_of(bundle), chunks)
    assert letters_of(outputs) == []
    assert [event["event"] for event in parsed(outputs, "alerts")] == ["opened"]
    assert parsed(outputs, "localizations")[0]["clip"]["start"] >= MIN_MICROS
    assert parsed(outputs, "localizations")[0]["clip"]["end"] <= MAX_MICROS


def test_attributes_follow_their_windows_through_any_number_of_batches(tmp_path: Path) -> None:
    # given more windows than are run at a time, each under a speed of its own
    (rule,) = load_routes([str(write_sound_bundle(tmp_path, attributes=(SPEED, PRODUCT)))], SETTINGS).rules
    count = 2 * rule.graph.largest_batch + 3
    windows = np.random.default_rng(1).normal(0, 0.1, (count, WINDOW)).astype(np.float32)
    speeds = np.zeros((count, 3), dtype=np.float32)
    speeds[:, 0] = np.arange(count)
    speeds[7, 0] = np.nan
    # when they are scored in pieces and at once
    scorer = BatchScorer(rule)
    for start in range(0, count, 5):
        scorer.add(windows[start : start + 5], speeds[start : start + 5])
    raw = scorer.finish().raw
    # then each has its own speed in its score
    wanted = band_energies(windows).mean(axis=(1, 2)) + np.nan_to_num(speeds[:, 0])
    np.testing.assert_allclose(raw, wanted, rtol=1e-5)
    np.testing.assert_allclose(rule.graph.run(windows, speeds).score, raw, rtol=1e-6)
    # and none, or too few, are refused
    for given in (None, speeds[:, :2], speeds[1:]):
        with pytest.raises(ValueError, match="attributes are"):
            rule.graph.run(windows, given)
