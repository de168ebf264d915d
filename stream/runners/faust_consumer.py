"""Faust's consumer, changed where the stock one is slow, loses rows, or stops.

- Rows are fetched by `runners.rows`, as in the direct runner; aiokafka keeps the membership in the group and commits. Its own
  fetcher unpacks rows under Python's lock, in a thread beside the pipeline's: the two wait for each other most of the time.
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
from functools import partial
from typing import Any, Protocol

import aiokafka
import aiokafka.client
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

# aiokafka asks for its topics in a way by which brokers make those that are missing: an input topic that somebody deletes, to
# make it anew with other partitions, would be there again before he can.
aiokafka.client.MetadataRequest = partial(aiokafka.client.MetadataRequest, allow_auto_topic_creation=False)

# aiokafka tries a commit again and again for as long as the broker gives reasons that may pass; nothing else is done meanwhile.
COMMIT_S = 30.0

# How often a fetch that waits for the agent looks whether Faust has suspended the flow meanwhile.
LOOK_S = 0.2


class RowSource(Protocol):
    """Gives rows, decides which offsets may be committed, and knows where reading goes on."""

    async def read(self) -> list[PartitionBatch]:
        """What has been fetched; waits for a moment where there is nothing."""
        ...

    async def read_again(self) -> None:
        """Read on behind what has been handled: what was read since is lost."""
        ...

    async def commit(self) -> bool: ...


class Fetch(list[PartitionBatch]):
    """What one fetch brought.

    Attributes:
        seeks: how often the reader had been sent elsewhere before.
        done: set once the agent has handled it, or left it.
    """

    def __init__(self, batches: Iterable[PartitionBatch], seeks: int) -> None:
        super().__init__(batches)
        self.seeks = seeks
        self.done = asyncio.Event()


class FetchSchema(faust.Schema):
    """Passes the value on as it is: a list of PartitionBatch, not bytes."""

    def loads_key(self, app: Any, message: Any, **options: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        return message.value


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The group's member. It fetches nothing."""

    logger = FAUST_LOGGER

    def answer_group(self) -> None:
        """Say that work goes on: a worker that fetches nothing for the poll interval would leave its group."""
        subscription = self._ensure_consumer()._subscription
        subscription._last_fetch_ended = time.monotonic()

    async def on_thread_stop(self) -> None:
        try:
            await super().on_thread_stop()
        except (asyncio.CancelledError, aiokafka.errors.KafkaError) as error:
            log.info("left the group without notifying the broker", reason=str(error) or type(error).__name__)

    def pending_error(self) -> BaseException | None:
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        error: BaseException | None = getattr(coordinator, "_pending_exception", None)
        return error

    async def commit_quietly(self, offsets: dict[TP, int]) -> bool:
        """Commit; False where the broker is away or the partition has moved: the next commit tries again."""
        return bool(await self.call_thread(self._commit_quietly, offsets))

    async def _commit_quietly(self, offsets: dict[TP, int]) -> bool:
        positions = {
            driver.ensure_aiokafka_TP(tp): driver.OffsetAndMetadata(offset, "") for tp, offset in offsets.items()
        }
        try:
            await asyncio.wait_for(self._ensure_consumer().commit(positions), COMMIT_S)
        except (TimeoutError, aiokafka.errors.KafkaError) as error:
            if getattr(error, "errno", None) in REFUSALS:
                raise
            log.warning("offsets not committed", error=str(error) or type(error).__name__)
            return False
        return True


class PausingListener(driver.ConsumerRebalanceListener):
    """Keeps aiokafka from fetching what this worker is assigned: another client does."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._thread._ensure_consumer().pause(*assigned)
        await super().on_partitions_assigned(assigned)


class FetchConsumer(driver.Consumer):
    """Hands whole fetches of `source` to the agent, and leaves commits to it."""

    logger = FAUST_LOGGER
    RebalanceListener = PausingListener

    source: RowSource | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.handed_over: dict[PartitionKey, int] = {}
        """Partition -> offset behind the last row that the agent was given; emptied when partitions are revoked."""
        self.seeks = 0
        """How often the reader was sent elsewhere: what was fetched before is read again, and not handled."""

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
        """Nothing: Faust would wait for aiokafka to find out where it reads on, up to its request timeout, and it reads nothing."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust would look at aiokafka's fetches. `stream.progress` looks after rows that wait."""

    def went_elsewhere(self) -> None:
        """The reader was sent elsewhere. What was fetched before is dropped."""
        self.seeks += 1
        self.handed_over.clear()

    def note(self, batches: Iterable[PartitionBatch]) -> None:
        """Note that these rows are to be handled now."""
        for batch in batches:
            self.handed_over[batch.topic, batch.partition] = batch.offsets[-1] + 1

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Called by Faust's timer, on rebalance and on stop."""
        source = self.source
        return await source.commit() if source is not None else False

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        """Commit what the shell allows."""
        assert isinstance(self._thread, ConsumerThread)
        owned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in owned}
        return len(mine) == len(offsets) and await self._thread.commit_quietly(mine)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and hand over until stopped; the fetcher is restarted by Faust after a rebalance."""
        source = self.source
        assert source is not None
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                    continue
                generation, seeks = self.app.consumer_generation_id, self.seeks
                batches = await source.read()
                self.answer_group()
                if not batches or self.should_stop:
                    continue
                if not self.flow_active or generation != self.app.consumer_generation_id or seeks != self.seeks:
                    # A rebalance happened in between: the partition's present owner reads these rows again.
                    await source.read_again()
                    continue
                await self._hand_over(Fetch(batches, seeks), generation)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _hand_over(self, fetch: Fetch, generation: int) -> None:
        """Give a fetch to the agent and wait until it is done with it: reading and handling take turns in one thread."""
        self.note(fetch)
        await self.callback(_as_message(fetch, generation))
        # A rebalance drops a fetch that the agent has not begun with, and may be over between two looks: then the reader has been sent
        # elsewhere, and nobody will ever be done with this one.
        while self.flow_active and not self.should_stop and fetch.seeks == self.seeks and not fetch.done.is_set():
            try:
                await asyncio.wait_for(fetch.done.wait(), LOOK_S)
            except TimeoutError:
                continue


class FetchTransport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer = FetchConsumer


def _as_message(fetch: Fetch, generation: int) -> ConsumerMessage:
    """A fetch as one Faust message; its value is the fetch."""
    first = fetch[0]
    return ConsumerMessage(
        first.topic,
        first.partition,
        first.offsets[0],
        first.timestamps_ms[0] / 1000,
        0,
        (),
        None,
        fetch,
        None,
        tp=TP(first.topic, first.partition),
        generation_id=generation,
    )
