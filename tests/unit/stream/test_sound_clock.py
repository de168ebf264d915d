"""How sound is put together: chunks of any size, encoding and rate, gaps, overlaps, late and repeated chunks, restarts at any point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.stream.feeds import REPEATABLE, assert_same_scores, events_of, parsed, scores_of
from tests.unit.stream.sounds import (
    AUDIO_TOPIC,
    HOP,
    RATE,
    START,
    WINDOW,
    chunk_at,
    chunks_of,
    hum,
    sound_batch,
    write_sound_bundle,
)
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.stream.kinds.audio.resampling import BlockResampler
from wheeltapper.stream.kinds.audio.samples import SampleBuffer
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import AudioSettings, Settings, ThresholdSettings
from wheeltapper.stream.state import PROGRESS, progress_record

SETTINGS = Settings(
    threshold=ThresholdSettings(method="fixed", raise_level=0.5, clear_duration_s=0.5),
    audio=AudioSettings(dead_after_s=1.0, clock_restart_s=3.0),
)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Routes:
    return load_routes([str(write_sound_bundle(tmp_path_factory.mktemp("bundle")))], SETTINGS)


def handle(routes: Routes, chunks: Sequence[AudioChunk]) -> tuple[Pipeline, list[Output]]:
    pipeline = Pipeline(routes, SETTINGS)
    return pipeline, pipeline.handle([sound_batch(chunks)], now=0.0)


# -- how it is grouped changes nothing ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """Samples [start, stop) of a signal that are sent one after the other; those of another stretch may lie before or after."""

    start: int
    stop: int


def stretches_of(rate: int) -> list[Stretch]:
    """A recording with a gap to fill, an overlap, a repeat, something late, a long gap, and a clock that is set back."""
    seconds = [(0.0, 2.0), (2.1, 3.0), (2.7, 4.0), (1.0, 2.05), (4.0, 6.5), (8.0, 12.0), (4.5, 9.5)]
    return [Stretch(round(start * rate), round(stop * rate)) for start, stop in seconds]


def recording(rate: int) -> np.ndarray:
    """Hum with a tone, and a dead second and a half."""
    signal = hum(12, loud=(3.2, 4.0), rate=rate)
    signal[round(9.5 * rate) : round(11.2 * rate)] = 0.0
    return signal


def sent(signal: np.ndarray, rate: int, sizes: Sequence[int], encodings: Sequence[Any]) -> list[AudioChunk]:
    """The stretches in chunks of these sizes."""
    chunks: list[AudioChunk] = []
    for stretch in stretches_of(rate):
        first = stretch.start
        while first < stretch.stop:
            stop = min(first + sizes[len(chunks) % len(sizes)], stretch.stop)
            encoding = encodings[len(chunks) % len(encodings)]
            chunks.append(chunk_at(signal[first:stop], first, rate=rate, encoding=encoding))
            first = stop
    return chunks


@dataclass
class Worker:
    """A pipeline that is killed now and then; another goes on from the last snapshot, as the shell would have it."""

    routes: Routes
    chunks: list[AudioChunk]
    outputs: list[Output]

    def run(self, batch_sizes: Sequence[int], kills: dict[int, int]) -> list[Output]:
        """
        Args:
            kills: number of a batch -> messages since its last snapshot that are read again.
        """
        pipeline, position, number, published = Pipeline(self.routes, SETTINGS), 0, 0, 0
        commits: list[tuple[int, dict[bytes, bytes]]] = [(0, {})]
        while position < len(self.chunks):
            size = batch_sizes[number % len(batch_sizes)]
            batch = sound_batch(self.chunks[position : position + size], first=position)
            self.outputs += pipeline.handle([batch], now=float(number))
            position += len(batch)
            published = max(published, position)
            partition = pipeline.partition(AUDIO_TOPIC, 0)
            if number % 2 == 0:
                records = partition.snapshots(float(number), everything=True)
                held = {record.key or b"": record.value or b"" for record in records}
                commits.append((position, {**commits[-1][1], **held}))
            if number in kills:
                committed, state = commits[max(0, len(commits) - 1 - kills[number])]
                progress = progress_record(published, 0)
                pipeline = Pipeline(self.routes, SETTINGS)
                partition = pipeline.partition(AUDIO_TOPIC, 0)
                partition.position = position = committed
                partition.restore({**state, PROGRESS: progress.value or b""})
                commits = [entry for entry in commits if entry[0] <= committed]
            number += 1
            assert number < 10_000
        return self.outputs


sizes = st.lists(st.integers(1, 9_000) | st.integers(200, 1_500), min_size=1, max_size=5).filter(
    lambda found: bool(np.mean(found) > 300)
)


@pytest.fixture(scope="module", params=[RATE, 2 * RATE, 11_025])
def undisturbed(request: pytest.FixtureRequest, routes: Routes) -> tuple[int, np.ndarray, list[Output]]:
    """A rate, a recording at it, and what comes of it in chunks of a tenth of a second without a break."""
    rate: int = request.param
    signal = recording(rate)
    pipeline, outputs = handle(routes, sent(signal, rate, [rate // 10], ["int16"]))
    assert pipeline.counters.sound.keys() >= {"filled-gap", "repeated", "gap", "late", "clock-restart", "silent"}
    assert {rule for _, rule in events_of(outputs)} == {"energy", "dead-microphone"}
    return rate, signal, outputs


@given(
    sizes=sizes,
    encodings=st.lists(st.sampled_from(["int16", "float32", "flac"]), min_size=1, max_size=3),
    batch_sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    kills=st.dictionaries(st.integers(0, 25), st.integers(0, 2), max_size=4),
)
@settings(REPEATABLE, max_examples=15)
def test_chunks_encodings_batches_and_restarts_change_nothing(
    routes: Routes,
    undisturbed: tuple[int, np.ndarray, list[Output]],
    sizes: list[int],
    encodings: list[str],
    batch_sizes: list[int],
    kills: dict[int, int],
) -> None:
    # given a recording with gaps, repeats and a dead stretch
    rate, signal, expected = undisturbed
    # when it comes in any chunks, encodings and batches, and workers are killed at any point
    found = Worker(routes, sent(signal, rate, sizes, encodings), []).run(batch_sizes, kills)
    # then scores, alerts and their ids are those of an undisturbed run, those of the microphone too
    assert_same_scores(found, expected)
    assert events_of(found) == events_of(expected)


# -- resampling -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "bundle"), [(48_000, 16_000), (44_100, 16_000), (25_600, 20_000), (15_990, 16_000), (96_000, 16_000)]
)
def test_blocks_fit_together_as_if_all_had_been_resampled_at_once(sender: int, bundle: int) -> None:
    # given two seconds of noise on two channels
    noise = np.random.default_rng(5).normal(0, 0.1, (2 * sender, 2)).astype(np.float32)
    whole = soxr.resample(noise, sender, bundle, quality="HQ")

    def in_pieces(pieces: Sequence[int]) -> np.ndarray:
        resampler, raw, found = BlockResampler(sender, bundle), SampleBuffer(2), [np.empty((2, 0), np.float32)]
        first = turn = 0
        while first < len(noise):
            size = pieces[turn % len(pieces)]
            turn += 1
            raw.append(noise[first : first + size].T, 100)
            first += size
            found += resampler.take(raw)
            raw.drop_before(resampler.needs_from)
        return np.concatenate(found, axis=1).T

    # when it is resampled in pieces, then the pieces' sizes change no bit
    one = in_pieces([len(noise)])
    for pieces in ([1_000], [333, 7, 12_345], [sender // 10]):
        np.testing.assert_array_equal(in_pieces(pieces), one)
    # and it is what one call gives, to the last bits of 32
    assert len(one) > 1.2 * bundle
    assert np.abs(one - whole[: len(one)]).max() < 3e-6 * np.abs(whole).max()


def test_sound_of_a_higher_rate_is_scored_as_that_of_the_bundles(routes: Routes) -> None:
    # given the same hum at 48 kHz, and at 8 kHz resampled at once
    signal = hum(4, loud=(1, 2), rate=48_000)
    _, fine = handle(routes, chunks_of(signal, [4_800], rate=48_000))
    at_once = soxr.resample(signal, 48_000, RATE, quality="HQ")
    _, coarse = handle(routes, chunks_of(at_once, [800], encoding="float32"))
    # then the scores and their times agree, as far as the sound has been waited for
    left, right = scores_of(fine), scores_of(coarse)
    assert len(left) == len(right) - 1 or len(left) == len(right)
    assert left.keys() <= right.keys()
    for key, (score,) in left.items():
        assert score.raw == pytest.approx(right[key][0].raw, rel=1e-4), key


def test_clips_with_pauses_between_them_are_scored_whole_at_any_rate(routes: Routes) -> None:
    # given recordings of exactly one window with pauses between them, at twice the bundle's rate
    clip = hum(WINDOW / RATE, rate=2 * RATE)
    chunks = [chunk_at(clip, number * 5 * len(clip), rate=2 * RATE) for number in range(3)]
    # when they are handled
    _, outputs = handle(routes, chunks)
    # then each is scored at its last sample as soon as the next has come
    times = sorted(key[2] for key in scores_of(outputs))
    assert times == [START + number * 2_500_000 + 499_875 for number in range(2)]
    scores = [score[0].score for score in scores_of(outputs).values()]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


# -- what is noticed ------------------------------------------------------------------------------------------------------------


def test_a_short_gap_is_filled_and_lowers_the_quality_of_the_windows_it_lies_in(routes: Routes) -> None:
    # given two seconds of hum of which a tenth is missing
    signal = hum(2)
    chunks = [chunk_at(signal[:RATE], 0), chunk_at(signal[RATE + 800 :], RATE + 800)]
    pipeline, outputs = handle(routes, chunks)
    # then the windows with the missing tenth say so, and their scores are those of hum
    found = {(key[2] + 125 - START) // 125: score[0] for key, score in scores_of(outputs).items()}
    qualities = {stop: score.quality for stop, score in found.items()}
    assert qualities[RATE] == 1.0
    assert qualities[RATE + HOP] == pytest.approx(1 - 800 / WINDOW)
    assert qualities[2 * RATE] == 1.0
    scores = [score.score for score in found.values()]
    assert max(scores) < 1.3 * min(scores)
    assert pipeline.counters.sound == {"filled-gap": 1}


def test_after_a_long_gap_the_window_starts_anew(routes: Routes) -> None:
    signal = hum(3)
    chunks = [chunk_at(signal[: RATE + 100], 0), chunk_at(signal[2 * RATE :], 2 * RATE)]
    pipeline, outputs = handle(routes, chunks)
    stops = [(key[2] + 125 - START) // 125 for key in scores_of(outputs)]
    assert stops == [4_000, 6_000, 8_000, 20_000, 22_000, 24_000]
    assert pipeline.counters.sound == {"gap": 1}


@pytest.mark.parametrize(
    ("again", "noticed"),
    [
        ([(2_000, 4_000)], "repeated"),
        ([(4_000, 9_000)], "overlap"),
        ([(-4_000, -2_000)], "late"),
    ],
)
def test_what_came_before_is_dropped_and_counted(routes: Routes, again: list[tuple[int, int]], noticed: str) -> None:
    # given a second of hum, something that is not new, and the rest
    signal = hum(2)
    before = [
        chunk_at(np.zeros((2_000, 1), np.float32) if start < 0 else signal[start:stop], start) for start, stop in again
    ]
    rest = max(RATE, again[-1][1])
    chunks = [chunk_at(signal[:RATE], 0), *before, chunk_at(signal[rest:], rest)]
    pipeline, outputs = handle(routes, chunks)
    # then scores are those of the hum alone
    _, alone = handle(routes, chunks_of(signal, [RATE]))
    assert_same_scores(outputs, alone)
    assert pipeline.counters.sound == {noticed: 1}
    assert pipeline.counters.sound_samples == len(signal)


def test_a_chunk_that_comes_into_its_filled_gap_is_late(routes: Routes) -> None:
    signal = hum(2)
    parts = chunks_of(signal, [1_600])
    parts[2], parts[3] = parts[3], parts[2]
    pipeline, _ = handle(routes, parts)
    assert pipeline.counters.sound == {"filled-gap": 1, "late": 1}


def test_a_clock_that_is_set_back_is_followed_in_the_end(routes: Routes) -> None:
    # given hum whose clock goes back by a minute, for longer than audio.clock_restart_s
    signal = hum(12)
    chunks = chunks_of(signal[: 2 * RATE], [800]) + chunks_of(signal, [800], late_us=-60_000_000)
    pipeline, outputs = handle(routes, chunks)
    # then three seconds are dropped, and it goes on by the new clock
    assert pipeline.counters.sound["clock-restart"] == 1
    times = [key[2] for key in scores_of(outputs)]
    assert times[7] == START - 60_000_000 + 3_000_000 + 500_000 - 125
    assert len(times) == 7 + (9 * RATE - WINDOW) // HOP + 1


def test_a_clock_that_runs_fast_is_followed_slowly(routes: Routes) -> None:
    # given an hour's tenth of chunks whose times run ahead by 100 in a million, and jitter by a millisecond
    jitter = np.random.default_rng(7).integers(-1_000, 1_000, 3_600)
    silent = hum(0.1)
    chunks = [
        chunk_at(silent, number * 800, late_us=round(number * 100_000 * 1e-4) + int(jitter[number]))
        for number in range(3_600)
    ]
    pipeline, outputs = handle(routes, chunks)
    # then nothing is missing or dropped, and the time of the last score is the sender's, to some milliseconds
    assert set(pipeline.counters.sound) == {"skew"}
    assert len(scores_of(outputs)) == (3_600 * 800 - WINDOW) // HOP + 1
    last = max(key[2] for key in scores_of(outputs))
    assert abs(last - (START + 3_600 * 100_010)) < 5_000


def test_another_rate_in_between_starts_the_window_anew(routes: Routes) -> None:
    first, second = hum(1), hum(2, rate=16_000)
    chunks = [chunk_at(first, 0), chunk_at(second, 16_000, rate=16_000)]
    pipeline, outputs = handle(routes, chunks)
    assert pipeline.counters.sound == {"rate-change": 1}
    assert len(scores_of(outputs)) == 3 + 6


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (lambda signal: np.clip(signal * 60, -1, 1), "clipped"),
        (lambda signal: signal + 0.2, "offset"),
        (lambda signal: np.full_like(signal, 0.0), "silent"),
        (lambda signal: signal, None),
    ],
)
@pytest.mark.parametrize("encoding", ["int16", "float32"])
def test_clipping_offset_and_silence_are_noticed(
    routes: Routes, change: Any, noticed: str | None, encoding: Any
) -> None:
    signal = change(hum(1)).astype(np.float32)
    pipeline, _ = handle(routes, chunks_of(signal, [1_000], encoding=encoding))
    assert pipeline.counters.sound == ({noticed: 4} if noticed else {})


# -- a dead microphone -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 3e-6])
def test_a_dead_microphone_is_an_alert_of_its_own(routes: Routes, level: float) -> None:
    # given hum, two seconds of nothing, a crackle, nothing, and hum again
    signal = hum(8)
    signal[2 * RATE : 5 * RATE] = level * np.random.default_rng(2).normal(0, 1, (3 * RATE, 1))
    signal[4 * RATE : 4 * RATE + 10] = 0.5
    pipeline, outputs = handle(routes, chunks_of(signal, [700], microphone="left", encoding="float32"))
    # then it opens when it has been dead for a second, and clears with the first second of sound
    events = [event for event in parsed(outputs, "alerts") if event["rule"] == "dead-microphone"]
    assert [event["event"] for event in events] == ["opened", "cleared"]
    opened, cleared = events
    assert (opened["machine"], opened["bundle"], opened["severity"]) == ("fan-1::left", "", 50)
    assert (opened["opened_at"], opened["time"]) == (START + 2_000_000, START + 3_000_000)
    assert [channel["channel"] for channel in opened["channels"]] == ["sound"]
    assert (cleared["time"], cleared["reason"]) == (START + 6_000_000, "recovered")
    assert cleared["alert_id"] == opened["alert_id"]
    assert (pipeline.counters.dead_microphones, pipeline.counters.alerts) == (1, {"opened": 1, "cleared": 1})


def test_a_short_silence_is_no_dead_microphone(routes: Routes) -> None:
    signal = hum(4)
    signal[RATE : RATE + 7_000] = 0
    _, outputs = handle(routes, chunks_of(signal, [700]))
    assert parsed(outputs, "alerts") == []


def test_a_snapshot_of_another_rate_is_not_used_and_its_alert_ends(routes: Routes, tmp_path: Path) -> None:
    # given a snapshot of a dead microphone
    pipeline, outputs = handle(routes, chunks_of(np.zeros((2 * RATE, 1), np.float32), [800]))
    (dead,) = parsed(outputs, "alerts")
    (record,) = pipeline.partition(AUDIO_TOPIC, 0).snapshots(0.0, everything=True)
    # when a bundle of other channels serves the machine after a restart
    other = load_routes([str(write_sound_bundle(tmp_path, channels=("x", "y")))], SETTINGS)
    partition = Pipeline(other, SETTINGS).partition(AUDIO_TOPIC, 0)
    ended, unused = partition.restore({record.key or b"": record.value or b""})
    # then the microphone warms up again, and the alert ends
    (event,) = parsed(ended, "alerts")
    assert (event["alert_id"], event["event"], event["reason"]) == (dead["alert_id"], "cleared", "superseded")
    assert unused == []
    # and where no bundle serves it any more, too
    nobody = load_routes([f"pump-*={write_sound_bundle(tmp_path)}"], SETTINGS)
    ended, unused = (
        Pipeline(nobody, SETTINGS).partition(AUDIO_TOPIC, 0).restore({record.key or b"": record.value or b""})
    )
    assert [event["reason"] for event in parsed(ended, "alerts")] == ["machine-retired"]
    assert unused == [record.key]
