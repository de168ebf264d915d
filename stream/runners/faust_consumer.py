"""Faust's consumer, changed in three places where the stock one is slow, loses rows, or stops.

- A whole fetch goes to the agent as one event. Stock Faust makes an event, a pair of asyncio tasks and a lock round
  trip for every message, which costs several times what decoding and scoring it does.
- Offsets are committed only where the shell says so, never from acknowledgements: Faust acknowledges what its
  handlers raised on, and commits across gaps.
- Frames of records are unpacked by `runners.frames`: a header name that is no UTF-8 and a frame that unpacks to gigabytes
  would end stock aiokafka, at every start again.

Written against the pinned faust-streaming release; tests/integration runs it against real brokers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

import aiokafka
import aiokafka.client
import faust
import structlog
from aiokafka.consumer import fetcher as aiokafka_fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from wheeltapper.stream.kafka_errors import REFUSALS
from wheeltapper.stream.partition import PartitionKey
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners.frames import Frames
from wheeltapper.stream.runners.raw_frames import add_records

log = structlog.get_logger(__name__)

# aiokafka has no other place where a parser could be put.
aiokafka_fetcher.MemoryRecords = Frames

# Our services log their start and stop where Faust's own services do.
FAUST_LOGGER = logging.getLogger("faust.wheeltapper")

# What is fetched ahead of the work: see the direct runner. Records are unpacked when they are handed over, so many at a time until
# so many bytes are together.
FETCH_BYTES = 512 * 1024
FETCH_BYTES_OF_PARTITION = 128 * 1024
MESSAGES_AT_ONCE = 64
MOST_BYTES = 8 * 2**20
# aiokafka asks for its topics in a way by which brokers make those that are missing: an input topic that somebody deletes, to
# make it anew with other partitions, would be there again before he can.
aiokafka.client.MetadataRequest = partial(aiokafka.client.MetadataRequest, allow_auto_topic_creation=False)

# A broker answers a fetch within 1.5 s, with rows or without.
SILENT_S = 10.0


class CommitSource(Protocol):
    """Decides which offsets may be committed, and knows where reading goes on."""

    async def commit(self) -> bool: ...

    def positions(self) -> dict[TP, int]:
        """The next offset to handle of each partition that has been taken over; of others nothing is known yet."""
        ...


class Fetch(list[PartitionBatch]):
    """What one fetch brought.

    Attributes:
        seeks: how often the reader had been sent elsewhere before.
    """

    seeks = 0


class FetchSchema(faust.Schema):
    """Passes the value on as it is: a list of PartitionBatch, not bytes."""

    def loads_key(self, app: Any, message: Any, **options: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        return message.value


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed input only: rows of aborted transactions are skipped."""

    logger = FAUST_LOGGER

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_bytes = FETCH_BYTES
        consumer._max_partition_fetch_bytes = FETCH_BYTES_OF_PARTITION
        return consumer

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        """What has been fetched, at most `max_records` and not much more than `MOST_BYTES`."""
        found: dict[TP, list[Any]] = {}
        left, left_bytes = max_records or 1, MOST_BYTES
        while left > 0 and left_bytes > 0:
            records = await super()._fetch_records(
                consumer, active_partitions, 0 if found else timeout, min(left, MESSAGES_AT_ONCE)
            )
            if not records:
                break
            for partition, more in records.items():
                found.setdefault(partition, []).extend(more)
                left -= len(more)
                left_bytes -= sum(len(record.value or b"") for record in more)
        return found

    def answer_group(self) -> None:
        """Say that work goes on: a worker that fetches nothing for the poll interval would leave its group."""
        subscription = self._ensure_consumer()._subscription
        subscription._last_fetch_ended = time.monotonic()

    async def on_thread_stop(self) -> None:
        try:
            await super().on_thread_stop()
        except (asyncio.CancelledError, aiokafka.errors.KafkaError) as error:
            log.info("left the group without notifying the broker", reason=str(error) or type(error).__name__)

    def end_of(self, partition: TP) -> int | None:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        partition = driver.ensure_aiokafka_TP(partition)
        if assignment is None or partition not in assignment.tps:
            return None
        end: int | None = assignment.state_value(partition).highwater
        return end

    def is_at_end(self, partition: TP) -> bool | None:
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        partition = driver.ensure_aiokafka_TP(partition)
        if assignment is None or partition not in assignment.tps:
            return None
        state = assignment.state_value(partition)
        if not state.has_valid_position or state.highwater is None:
            return None
        if time.time() - (state.timestamp or 0) / 1000 > SILENT_S:
            return None
        # Rows behind the last stable offset belong to a transaction that is still open: nobody may read them yet.
        end = state.highwater if state.lso is None or state.lso < 0 else min(state.highwater, state.lso)
        return bool(state.position >= end)

    def pending_error(self) -> BaseException | None:
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        error: BaseException | None = getattr(coordinator, "_pending_exception", None)
        return error

    async def go_to(self, positions: dict[TP, int]) -> None:
        """Read on from these offsets; partitions that are not assigned any more are left out."""
        await self.call_thread(self._go_to, positions)

    async def _go_to(self, positions: dict[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in positions.items():
            partition = driver.ensure_aiokafka_TP(tp)
            if partition in assigned:
                consumer.seek(partition, offset)

    async def commit_quietly(self, offsets: dict[TP, int]) -> bool:
        """Commit; False where the broker is away or the partition has moved: the next commit tries again."""
        return bool(await self.call_thread(self._commit_quietly, offsets))

    async def _commit_quietly(self, offsets: dict[TP, int]) -> bool:
        try:
            await self._ensure_consumer().commit(
                {driver.ensure_aiokafka_TP(tp): driver.OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )
        except (TimeoutError, aiokafka.errors.KafkaError) as error:
            if getattr(error, "errno", None) in REFUSALS:
                raise
            log.warning("offsets not committed", error=str(error) or type(error).__name__)
            return False
        return True


class FetchConsumer(driver.Consumer):
    """Hands whole fetches to the agent, and leaves commits to `commit_source`."""

    logger = FAUST_LOGGER

    commit_source: CommitSource | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handed_over: dict[PartitionKey, int] = {}
        """Partition -> offset behind the last row that the agent was given; emptied when partitions are revoked."""
        self.seeks = 0
        """How often the reader was sent elsewhere: what was fetched before is read again, and not handled."""

    def end_of(self, partition: TP) -> int | None:
        """Offset behind the partition's last message, as the last fetch told."""
        assert isinstance(self._thread, ConsumerThread)
        return self._thread.end_of(partition)

    def is_at_end(self, partition: TP) -> bool | None:
        """Whether every available row has been handed over; None if the broker has not reported its end lately.

        By the fetcher's position, not by offsets of rows: a transaction's markers take offsets too.
        """
        assert isinstance(self._thread, ConsumerThread)
        return self._thread.is_at_end(partition)

    def answer_group(self) -> None:
        """See `ConsumerThread.answer_group`; to be called after every step of work."""
        assert isinstance(self._thread, ConsumerThread)
        self._thread.answer_group()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def pending_error(self) -> BaseException | None:
        """The error that keeps this client from joining the group; stock Faust checks it only after an assignment."""
        assert isinstance(self._thread, ConsumerThread)
        return self._thread.pending_error()

    async def perform_seek(self) -> None:
        """Called by Faust after a rebalance: on to the group's commits, but where the shell knows better."""
        await super().perform_seek()
        await self.go_on()

    async def go_on(self) -> None:
        """Read on at the shell's positions. What was fetched before is dropped."""
        assert isinstance(self._thread, ConsumerThread)
        source = self.commit_source
        if source is not None:
            await self._thread.go_to(source.positions())
        self.seeks += 1
        self.handed_over.clear()

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Called by Faust's timer, on rebalance and on stop."""
        source = self.commit_source
        return await source.commit() if source is not None else False

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        """Commit what the shell allows."""
        assert isinstance(self._thread, ConsumerThread)
        owned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in owned}
        return len(mine) == len(offsets) and await self._thread.commit_quietly(mine)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and hand over until stopped; the fetcher is restarted by Faust after a rebalance."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                generation, seeks = self.app.consumer_generation_id, self.seeks
                records, _ = await self._wait_next_records(timeout=1.0)
                await asyncio.sleep(0)
                if not records or self.should_stop:
                    continue
                if not self.flow_active or generation != self.app.consumer_generation_id or seeks != self.seeks:
                    # A rebalance happened in between: the partition's present owner reads these rows again.
                    await self._back_to_committed()
                    continue
                message = _as_one_message(records, generation, seeks)
                if message is not None:
                    for batch in message.value:
                        self.handed_over[batch.topic, batch.partition] = batch.offsets[-1] + 1
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _back_to_committed(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:
            log.info("could not seek while rebalancing", error=str(error))


class FetchTransport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer = FetchConsumer


def _as_one_message(records: dict[TP, Iterable[Any]], generation: int, seeks: int) -> ConsumerMessage | None:
    """All records of one fetch as one Faust message, whose value is a `Fetch`."""
    batches = Fetch()
    batches.seeks = seeks
    for tp, partition_records in records.items():
        batch = PartitionBatch(tp.topic, tp.partition)
        add_records(batch, partition_records)
        if len(batch):
            batches.append(batch)
    if not batches:
        return None
    first = batches[0]
    return ConsumerMessage(
        first.topic,
        first.partition,
        first.offsets[0],
        first.timestamps_ms[0] / 1000,
        0,
        (),
        None,
        batches,
        None,
        tp=TP(first.topic, first.partition),
        generation_id=generation,
    )
