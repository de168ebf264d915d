"""The live pipeline over recordings, without Kafka: what `wheeltapper backtest` runs on a data set of sound."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from wheeltapper.schemas.audio_chunk import AudioChunk, AudioEncoding
from wheeltapper.schemas.bundle import BundleManifest
from wheeltapper.schemas.bundle.manifest import AudioManifest
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_audio_chunk
from wheeltapper.schemas.errors import InputError
from wheeltapper.sound.chunks import MICROS, Microphone, even_blocks, parse_attributes
from wheeltapper.sound.files import find_files
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START, shift_to
from wheeltapper.training.datasets.registry import load_sound

WAV = "wav"
# Neither changes the result.
CHUNK_S = 1.0
MESSAGES_PER_BATCH = 64


def recorded_chunks(arguments: argparse.Namespace, manifest: BundleManifest) -> Iterator[AudioChunk]:
    """What is scored, as the chunks of a live microphone.

    Of 'wav' those are the files of --data, one after another, as `wheeltapper replay wav` sends them; of other sets the test clips,
    each with its attributes.

    Raises:
        InputError: nothing to read, or another number of channels than the bundle takes.
    """
    assert isinstance(manifest, AudioManifest)
    start = int(shift_to(np.array([MADE_UP_TEST_START]), arguments.start)[0])
    said = parse_attributes(arguments.attribute)
    has_unit = any(channel.unit for channel in manifest.channels)
    done = 0
    for microphone, blocks in _sources(arguments, manifest):
        own = replace(microphone, attributes={**microphone.attributes, **said})
        for block in even_blocks(blocks, max(1, round(CHUNK_S * own.sample_rate))):
            left = len(block) if arguments.limit is None else min(len(block), arguments.limit - done)
            if left <= 0:
                return
            # A sensor's own unit does not fit into 16 bits.
            pcm: AudioEncoding = "float32" if has_unit or np.abs(block).max() > 1 else "int16"
            yield replace(own, pcm=pcm).chunk(block[:left], start + round(done * MICROS / own.sample_rate))
            done += left


def run_offline_sound(pipeline: Pipeline, chunks: Iterator[AudioChunk]) -> Iterator[Output]:
    """Send chunks through decoder, clips, scores, thresholds and alerts; yields what would be published."""
    headers = [("content-type", CONTENT_TYPES["avro"].encode())]
    batch = PartitionBatch(pipeline.topics[0], 0)
    for offset, chunk in enumerate(chunks):
        batch.offsets.append(offset)
        batch.keys.append(chunk.machine.encode())
        batch.values.append(encode_audio_chunk(chunk, "avro"))
        batch.headers.append(headers)
        batch.timestamps_ms.append(chunk.end // 1000)
        if len(batch.offsets) == MESSAGES_PER_BATCH:
            yield from pipeline.handle([batch], now=0.0)
            batch = PartitionBatch(pipeline.topics[0], 0)
    if batch.offsets:
        yield from pipeline.handle([batch], now=0.0)


def _sources(
    arguments: argparse.Namespace, manifest: AudioManifest
) -> Iterator[tuple[Microphone, Iterator[np.ndarray]]]:
    """Whose samples they are, and the samples in blocks."""
    if arguments.dataset == WAV and arguments.entity is None and arguments.data is not None:
        files = find_files(arguments.data)
        first = files[0]
        _check_channels(str(arguments.data), first.channels, manifest)
        machine = arguments.machine or Path(arguments.data).resolve().stem
        yield (
            Microphone(machine, "", first.sample_rate),
            (block for file in files for block in file.blocks(file.sample_rate)),
        )
        return
    series = load_sound(arguments.dataset, arguments.data, arguments.entity)
    if not series.test:
        raise InputError(f"{series.dataset} {series.entity}: no test clips to run over; choose another entity")
    _check_channels(f"{series.dataset} {series.entity}", len(series.channels), manifest)
    for clip in series.test:
        yield (
            Microphone(arguments.machine or series.entity, "", series.sample_rate, clip.attributes),
            iter([clip.samples]),
        )


def _check_channels(name: str, channels: int, manifest: AudioManifest) -> None:
    """
    Raises:
        InputError: another number than the bundle takes; the stream would refuse every message.
    """
    if channels != len(manifest.channels):
        raise InputError(
            f"{name}: {channels} channel(s), the bundle {manifest.bundle_id} takes {len(manifest.channels)} "
            f"({', '.join(manifest.channel_names)}); give recordings of the same microphone or sensor"
        )
