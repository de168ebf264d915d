"""Every detector of sound on the live pipeline: a tone in a long recording is an alert that names its moment and its frequency."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from tests.conformance.promises import promised
from tests.conformance.trained_sound import trained_sound, with_tone
from wheeltapper.offline import open_pipeline
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.sound.backtest import run_offline_sound
from wheeltapper.sound.chunks import even_blocks
from wheeltapper.stream.settings import Settings, StateSettings
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START
from wheeltapper.training.datasets.sound.simulated import LOUDNESS, RATE, recording

SECONDS = 24.0
# Three windows of the battery's two seconds, and more.
TONE_S = (12.0, 18.0)
TONE_HZ = 3_000.0


def chunks(samples: np.ndarray, seconds: float) -> Iterator[AudioChunk]:
    """As a microphone without a name sends them."""
    done = 0
    for block in even_blocks([samples], round(seconds * RATE)):
        yield AudioChunk("fan-1", "", MADE_UP_TEST_START + round(done * 1e6 / RATE), RATE, block, {}, "int16")
        done += len(block)


def alerts(location: str, samples: np.ndarray, seconds: float) -> list[dict[str, object]]:
    """Alert events of the bundle's rule, in order."""
    pipeline = open_pipeline([f"*={location}"], Settings(state=StateSettings(snapshot_windows=1)))
    outputs = list(run_offline_sound(pipeline, chunks(samples, seconds)))
    assert [output for output in outputs if output.topic == "dead-letters"] == []
    return [orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts"]


def test_a_tone_is_an_alert_at_its_moment_and_frequency(sound: str) -> None:
    # given a recording of another day, with a loud tone from the 12th to the 18th second
    bundle = trained_sound(sound).bundle
    quiet = recording("fan-1", SECONDS, number=50).astype(np.float32)
    toned = with_tone(quiet, *TONE_S, TONE_HZ, 8 * LOUDNESS)
    # when it comes in chunks of a second, or of 0.37 s
    events = alerts(str(bundle.location), toned, 1.0)
    other = alerts(str(bundle.location), toned, 0.37)
    # then the chunks change nothing
    assert [(event["alert_id"], event["event"], event["time"]) for event in events] == [
        (event["alert_id"], event["event"], event["time"]) for event in other
    ]
    # and an alert opens while the tone lasts, whose patches touch it
    opened = [event for event in events if event["event"] == "opened"]
    with promised(sound, "a tone is an alert on the stream"):
        during = [
            event
            for event in opened
            if TONE_S[0] <= (int(str(event["time"])) - MADE_UP_TEST_START) / 1e6 <= TONE_S[1] + 1
        ]
        assert during, events
        patches = during[0]["patches"]
        assert isinstance(patches, list)
        assert any(patch["low_hz"] <= TONE_HZ <= patch["high_hz"] for patch in patches), patches
