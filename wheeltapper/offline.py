"""The live pipeline over a recorded series, without Kafka: what `backtest` runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from wheeltapper.schemas.audio_chunk import AudioChunk, record_key
from wheeltapper.schemas.codec import CONTENT_TYPES, encode_audio_chunk, encode_sensor_block
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import AUDIO, SENSORS
from wheeltapper.stream.core.row_clock import NO_STAMP
from wheeltapper.stream.maintenance import maintenance_sources
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output, PartitionBatch
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

if TYPE_CHECKING:
    from wheeltapper.training.datasets.series import SensorSeries

# Rows in one message, and messages handed over at a time: neither changes the result.
ROWS_PER_MESSAGE = 64
MESSAGES_PER_BATCH = 64
LINES_PER_BATCH = 1_000


def replay_block(series: SensorSeries, machine: str | None = None, limit: int | None = None) -> SensorBlock:
    """The series' test part as one block of `machine` (default: the entity)."""
    rows = slice(0, limit)
    return SensorBlock(machine or series.entity, series.test_ts[rows], series.channels, series.test[rows])


def run_offline(pipeline: Pipeline, block: SensorBlock) -> Iterator[Output]:
    """Send a block through decoder, windows, scores, thresholds and alerts; yields what would be published.

    Recorded rows have no timestamps of records: of rows from the future their neighbours tell.
    """
    headers = [("content-type", CONTENT_TYPES["arrow"].encode())]
    offset = 0
    step = ROWS_PER_MESSAGE * MESSAGES_PER_BATCH
    for begin in range(0, len(block), step):
        batch = PartitionBatch(pipeline.topics[0], 0)
        for first in range(begin, min(begin + step, len(block)), ROWS_PER_MESSAGE):
            rows = slice(first, min(first + ROWS_PER_MESSAGE, begin + step))
            part = SensorBlock(block.machine, block.ts[rows], block.channels, block.values[rows])
            batch.offsets.append(offset)
            batch.keys.append(block.machine.encode())
            batch.values.append(encode_sensor_block(part, "arrow"))
            batch.headers.append(headers)
            batch.timestamps_ms.append(NO_STAMP)
            offset += 1
        yield from pipeline.handle([batch], now=0.0)
    yield from pipeline.finish()


def run_messages_offline(pipeline: Pipeline, values: Iterable[bytes], key: bytes | None = None) -> Iterator[Output]:
    """`run_offline` for messages of the sensors topic as they are: in the order given, without timestamps of their records.

    Args:
        key: of every record.
    """
    topic = pipeline.settings.topics.full_name(SENSORS)
    batch = PartitionBatch(topic, 0)
    for offset, value in enumerate(values):
        batch.offsets.append(offset)
        batch.keys.append(key)
        batch.values.append(value)
        batch.headers.append(None)
        batch.timestamps_ms.append(NO_STAMP)
        if len(batch) == LINES_PER_BATCH:
            yield from pipeline.handle([batch], now=0.0)
            batch = PartitionBatch(topic, 0)
    if len(batch):
        yield from pipeline.handle([batch], now=0.0)
    yield from pipeline.finish()


def run_chunks_offline(pipeline: Pipeline, chunks: Iterable[AudioChunk]) -> Iterator[Output]:
    """`run_offline` for sound: send chunks of any microphones, in the order given; yields what would be published."""
    headers = [("content-type", CONTENT_TYPES["avro"].encode())]
    topic = pipeline.settings.topics.full_name(AUDIO)
    batch = PartitionBatch(topic, 0)
    for offset, chunk in enumerate(chunks):
        batch.offsets.append(offset)
        batch.keys.append(record_key(chunk.machine))
        batch.values.append(encode_audio_chunk(chunk, "avro"))
        batch.headers.append(headers)
        batch.timestamps_ms.append(NO_STAMP)
        if len(batch) == MESSAGES_PER_BATCH:
            yield from pipeline.handle([batch], now=0.0)
            batch = PartitionBatch(topic, 0)
    if len(batch):
        yield from pipeline.handle([batch], now=0.0)


def open_pipeline(bundles: list[str], settings: Settings) -> Pipeline:
    """A pipeline as a worker would open it, of these bundles alone: [routes] of the settings are for a plant's machines."""
    settings = settings.model_copy(update={"routes": {}})
    return Pipeline(load_routes(bundles, settings), settings, maintenance_sources(settings.maintenance))
