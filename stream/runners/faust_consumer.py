"""Faust's consumer, changed in two places where the stock one is slow or loses rows.

- A whole fetch goes to the agent as one event. Stock Faust makes an event, a pair of asyncio tasks and a lock round
  trip for every message, which costs several times what decoding and scoring it does.
- Offsets are committed only where the shell says so, never from acknowledgements: Faust acknowledges what its
  handlers raised on, and commits across gaps.

Written against the pinned faust-streaming release; tests/integration runs it against real brokers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, Protocol

import aiokafka
import faust
import structlog
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from wheeltapper.stream.kafka_errors import REFUSALS
from wheeltapper.stream.partition import PartitionKey
from wheeltapper.stream.records import PartitionBatch

log = structlog.get_logger(__name__)

# Our services log their start and stop where Faust's own services do.
FAUST_LOGGER = logging.getLogger("faust.wheeltapper")

# A broker answers a fetch within 1.5 s, with rows or without.
SILENT_S = 10.0


class CommitSource(Protocol):
    """Decides which offsets may be committed."""

    async def commit(self) -> bool: ...


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
        return consumer

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

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def pending_error(self) -> BaseException | None:
        """The error that keeps this client from joining the group; stock Faust checks it only after an assignment."""
        assert isinstance(self._thread, ConsumerThread)
        return self._thread.pending_error()

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
                generation = self.app.consumer_generation_id
                records, _ = await self._wait_next_records(timeout=1.0)
                await asyncio.sleep(0)
                if not records or self.should_stop:
                    continue
                if not self.flow_active or generation != self.app.consumer_generation_id:
                    # A rebalance happened in between: the partition's present owner reads these rows again.
                    await self._back_to_committed()
                    continue
                message = _as_one_message(records, generation)
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


def _as_one_message(records: dict[TP, Iterable[Any]], generation: int) -> ConsumerMessage | None:
    """All records of one fetch as one Faust message, whose value is a list of PartitionBatch."""
    batches = []
    for tp, partition_records in records.items():
        batch = PartitionBatch(tp.topic, tp.partition)
        for record in partition_records:
            batch.offsets.append(record.offset)
            batch.keys.append(record.key)
            batch.values.append(record.value)
            batch.headers.append(record.headers)
            batch.timestamps_ms.append(record.timestamp or 0)
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
