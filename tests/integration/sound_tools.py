"""Microphones on a broker: what is sent, and what must come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tests.integration.kafka_tools import Broker, consume_all
from tests.integration.worker_tools import PATIENCE_S, Rig, make_rig
from tests.unit.stream.sounds import RATE, chunks_of, hum, sound_message, write_sound_bundle
from wheeltapper.offline import run_chunks_offline
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import decode_audio_chunk
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import AudioSettings, Settings, ThresholdSettings

THRESHOLD = {"method": "fixed", "raise_level": 0.5, "clear_duration_s": 0.5}
SETTINGS = Settings(threshold=ThresholdSettings.model_validate(THRESHOLD), audio=AudioSettings(dead_after_s=1.0))
VARIABLES = {
    **{f"WHEELTAPPER_THRESHOLD__{name.upper()}": str(value) for name, value in THRESHOLD.items()},
    "WHEELTAPPER_AUDIO__DEAD_AFTER_S": "1.0",
}


@dataclass(frozen=True)
class Sound:
    """What must come of a hall of microphones.

    Attributes:
        alerts: (alert id, event, time).
        scores: (microphone, time in us) -> calibrated score.
    """

    alerts: set[tuple[str, str, int]]
    scores: dict[tuple[str, int], float]


def hall(machines: int, seconds: float) -> list[AudioChunk]:
    """Microphones with a tone each and one that dies, at two rates and in three encodings, in chunks of about 0.1 s, by time."""
    chunks: list[AudioChunk] = []
    for number in range(machines):
        rate = RATE * (1 + number % 2)
        signal = hum(seconds, loud=(2 + number, 3 + number), rate=rate)
        if number == 1:
            signal[round(3.5 * rate) : round(5.5 * rate)] = 0.0
        encoding: Any = ("int16", "float32", "flac")[number % 3]
        name, microphone = f"fan-{number // 2}", ("", "left")[number % 2]
        chunks += chunks_of(
            signal, [rate // 10 + 17 * number], rate=rate, machine=name, microphone=microphone, encoding=encoding
        )
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.source))


def messages_of(chunks: Sequence[AudioChunk]) -> list[tuple[bytes | None, bytes | None, Any]]:
    """As `Rig.produce` takes them, Avro and Arrow in turn."""
    found = [sound_message(chunk, ("avro", "arrow")[number % 2]) for number, chunk in enumerate(chunks)]
    return [(message.key, message.value, message.headers) for message in found]


def expect(bundle: Path, chunks: Sequence[AudioChunk]) -> Sound:
    """What the pipeline without Kafka gives."""
    outputs = list(run_chunks_offline(Pipeline(load_routes([str(bundle)], SETTINGS), SETTINGS), chunks))
    alerts = [orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts"]
    blocks = [orjson.loads(output.value or b"") for output in outputs if output.topic == "scores"]
    scores = {
        (block["machine"], time): score
        for block in blocks
        for time, score in zip(block["time"], block["score"], strict=True)
    }
    return Sound({(alert["alert_id"], alert["event"], alert["time"]) for alert in alerts}, scores)


def sound_rig(broker: Broker, runner: str, prefix: str, folder: Path) -> Rig:
    """A rig whose workers listen to microphones."""
    rig = make_rig(broker, runner, prefix, folder)
    bundle = write_sound_bundle(folder)
    return dataclasses.replace(rig, bundle=bundle, sensors=f"{prefix}audio", threshold=VARIABLES)


def assert_sound(rig: Rig, expected: Sound) -> None:
    """Alerts and scores are those of an undisturbed run; with transactions each came once."""
    alerts = [(alert["alert_id"], alert["event"], alert["time"]) for alert in rig.messages("alerts")]
    assert set(alerts) == expected.alerts
    found: dict[tuple[str, int], float] = {}
    count = 0
    for block in rig.messages("scores"):
        for time, score in zip(block["time"], block["score"], strict=True):
            found[block["machine"], time] = score
            count += 1
    assert found.keys() == expected.scores.keys()
    names = sorted(found)
    np.testing.assert_allclose([found[name] for name in names], [expected.scores[name] for name in names], rtol=1e-4)
    if rig.transactional:
        assert len(alerts) == len(set(alerts))
        assert count == len(found)


def assert_clips(rig: Rig) -> int:
    """Every localization's pointer leads to messages that hold the clip from its first sample to its last; how many there were."""
    records = {
        (record.partition, record.offset): record
        for record in consume_all(rig.broker, rig.sensors, timeout_s=PATIENCE_S)
    }
    found = rig.messages("localizations")
    for localization in found:
        clip = localization["clip"]
        assert clip["topic"] == rig.sensors
        read = (
            records[clip["partition"], offset]
            for offset in range(clip["first_offset"], clip["last_offset"] + 1)
            if (clip["partition"], offset) in records
        )
        chunks = [decode_audio_chunk(record.value) for record in read]
        mine = [chunk for chunk in chunks if (chunk.machine, chunk.microphone) == (clip["machine"], clip["microphone"])]
        assert mine[0].start <= clip["start"] + 1
        assert mine[-1].end >= clip["end"] - 1
        assert mine[0].end > clip["start"], "the first message has a part of the clip"
        assert mine[-1].start < clip["end"], "the last one too"
    return len(found)
