"""`replay wav`, `record` and `clip` over a broker: what arrives is what was recorded, and comes back as it was."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers import forked
from tests.integration.kafka_tools import Broker, consume_all, produce
from tests.integration.processes import run_command
from wheeltapper.schemas.audio_chunk import AudioChunk
from wheeltapper.schemas.codec import CONTENT_TYPES, decode_audio_chunk
from wheeltapper.schemas.events import ClipPointer, Localization, Patch

pytestmark = [pytest.mark.broker, pytest.mark.one_broker]
RATE = 8_000


def sounds(folder: Path) -> np.ndarray:
    """Two files of a microphone, 2.5 and 1 s; their samples in order."""
    rng = np.random.default_rng(4)
    parts = [rng.integers(-20_000, 20_000, count, dtype=np.int16) for count in (20_000, 8_000)]
    for number, codes in zip((2, 10), parts, strict=True):
        soundfile.write(folder / f"part_{number}.wav", codes, RATE, subtype="PCM_16")
    return (np.concatenate(parts) / 32768).astype(np.float32)


def chunks(broker: Broker, prefix: str) -> list[AudioChunk]:
    found = []
    for record in consume_all(broker, f"{prefix}audio"):
        assert record.value is not None
        chunk = decode_audio_chunk(record.value, record.headers["content-type"])
        assert record.key == chunk.machine.encode()
        found.append(chunk)
    return found


@pytest.mark.parametrize(("encoding", "pcm"), [("avro", "int16"), ("arrow", "float32"), ("avro", "flac")])
def test_files_arrive_as_one_microphone_to_the_bit(
    broker: Broker, topics_prefix: str, tmp_path: Path, encoding: str, pcm: str
) -> None:
    # given two recordings in a folder
    wanted = sounds(tmp_path)
    # when they are replayed
    done = run_command(
        *("replay", "wav", str(tmp_path), "--brokers", broker.address, "--prefix", topics_prefix, "--machine", "fan-1"),
        *("--microphone", "left", "--encoding", encoding, "--pcm", pcm, "--chunk-s", "0.7", "--speed", "0"),
        *("--attribute", "speed=1500", "--attribute", "product=A"),
        timeout_s=120,
    )
    # then the topic is made and holds exactly these samples, in chunks that follow each other
    assert done.returncode == 0, done.stderr
    assert "sent 3.5 s of sound (2 files, 8000 Hz, 1 channels) in 5 messages" in done.stdout
    arrived = chunks(broker, topics_prefix)
    np.testing.assert_array_equal(np.concatenate([chunk.samples[:, 0] for chunk in arrived]), wanted)
    assert {(chunk.machine, chunk.microphone, chunk.sample_rate) for chunk in arrived} == {("fan-1", "left", RATE)}
    assert all(chunk.attributes == {"speed": 1500.0, "product": "A"} for chunk in arrived)
    assert [chunk.start for chunk in arrived[1:]] == [chunk.end for chunk in arrived[:-1]]


def test_another_programs_pcm_arrives_stamped_by_the_sample_clock(broker: Broker, topics_prefix: str) -> None:
    codes = np.random.default_rng(5).integers(-9_000, 9_000, (12_000, 2), dtype=np.int16)
    done = forked.run(
        [
            *("record", "--stdin", "--machine", "gearbox", "--rate", str(RATE)),
            *("--channels", "2", "--brokers", broker.address, "--prefix", topics_prefix),
        ],
        input=codes.astype("<i2").tobytes(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert b"sent 1.5 s of sound in 2 messages" in done.stdout
    arrived = chunks(broker, topics_prefix)
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in arrived]) * 32768, codes)


def test_the_sound_of_an_alert_is_cut_and_drawn(broker: Broker, topics_prefix: str, tmp_path: Path) -> None:
    # given a replayed recording, and an alert that points to 1.5 s of it
    (tmp_path / "in").mkdir()
    wanted = sounds(tmp_path / "in")
    common = ("--brokers", broker.address, "--prefix", topics_prefix)
    assert (
        run_command("replay", "wav", str(tmp_path / "in"), *common, "--machine", "fan-1", "--speed", "0").returncode
        == 0
    )
    records = consume_all(broker, f"{topics_prefix}audio")
    first = decode_audio_chunk(records[0].value, records[0].headers["content-type"])
    start, end = first.start + 500_000, first.start + 2_000_000
    pointer = ClipPointer(
        topic=f"{topics_prefix}audio",
        partition=records[0].partition,
        first_offset=records[0].offset,
        last_offset=records[1].offset,
        start=start,
        end=end,
        machine="fan-1",
    )
    patch = Patch(start=start + 200_000, end=start + 600_000, low_hz=900, high_hz=1_200, share=0.8)
    localization = Localization(
        alert_id="5f3a1c00-0000-5000-8000-000000000000",
        machine="fan-1",
        time=end,
        rule="band-profile",
        detector="band-profile",
        bundle="b",
        channels=(),
        patches=(patch,),
        clip=pointer,
    )
    headers = [("content-type", CONTENT_TYPES["json"].encode())]
    produce(broker, f"{topics_prefix}localizations", [(b"fan-1", localization.model_dump_json().encode(), headers)])
    # when its clip is asked for by the first letters of its id
    done = run_command("clip", "5f3a", *common, "--out", str(tmp_path / "out"), timeout_s=120)
    # then the WAV holds these samples, and the picture is there
    assert done.returncode == 0, done.stderr
    assert "1.5 s from" in done.stdout
    assert "0.2 to 0.6 s, 900 to 1200 Hz: 80%" in done.stdout
    samples, rate = soundfile.read(tmp_path / "out" / "fan-1-5f3a1c00.wav", dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(samples, wanted[4_000:16_000])
    assert (tmp_path / "out" / "fan-1-5f3a1c00.png").read_bytes()[:4] == b"\x89PNG"
    # and an alert that is not there is named as missing
    missing = run_command("clip", "77", *common, timeout_s=60)
    assert missing.returncode == 2
    assert "no localization of alert '77'" in missing.stderr


def test_what_cannot_be_sent_is_refused_with_the_remedy(broker: Broker, topics_prefix: str, tmp_path: Path) -> None:
    common = ("--brokers", broker.address, "--prefix", topics_prefix)
    for words, wanted in (
        (("replay", "wav", str(tmp_path / "none")), "does not exist; expected a sound file"),
        (("replay", "wav"), "replay wav needs a file or folder"),
        (("record", "--stdin"), "--machine is missing"),
        (("record", "--stdin", "--machine", "a", "--rate", "1"), "--rate 1: expected 100 to"),
    ):
        done = run_command(*words, *common, timeout_s=60)
        assert done.returncode == 2
        assert wanted in done.stderr
        assert "Traceback" not in done.stderr
    assert io.StringIO(done.stderr).readline().startswith("wheeltapper")
