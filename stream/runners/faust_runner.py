"""The Faust runner: an agent on the input topic, the pipeline in a thread beside the event loop.

At-least-once with idempotent output: offsets follow snapshots, and a repeated alert carries the id it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import aiokafka
import faust
import structlog
from faust.types import TP

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.kafka_client import broker_answers
from wheeltapper.stream.kafka_errors import PublishError, refusal, refusal_of
from wheeltapper.stream.partition import PartitionKey
from wheeltapper.stream.progress import Progress, StallError
from wheeltapper.stream.records import PartitionBatch
from wheeltapper.stream.runners.faust_app import add_agent, make_app
from wheeltapper.stream.runners.faust_consumer import FetchConsumer, FetchSchema
from wheeltapper.stream.runners.repeated_lines import limit_repeats
from wheeltapper.stream.runners.rows import RowReader, consumer_of
from wheeltapper.stream.settings import Settings
from wheeltapper.stream.shell import Shell

log = structlog.get_logger(__name__)

# Longest wait of one look for rows: commits and rebalances have their turn in between.
READ_S = 0.1

# Rows are handled and read in the pipeline's thread for so long before commits and rebalances have their turn: each way to that
# thread and back, through Faust's stream, costs as much as handling dozens of rows.
TURN_S = 0.1

# How often idleness, progress and stop requests are checked, and how often a broker with nothing new must answer.
WATCH_S, ANSWER_INTERVAL_S = 0.2, 5.0

# A thread that has not read for so long is in a call that waits.
SILENT_S = 10.0

# How often the pipeline looks for machines that have fallen silent.
TICK_S = 1.0

# Faust leaves its group within seconds if the broker can be reached.
STOP_TIMEOUT_S = 10.0

# A stream without messages for this long is snapshotted at once: a restart then has nothing to replay.
QUIET_S = 2.0


class FaustRunner:
    """One Faust app around one shell."""

    def __init__(
        self,
        settings: Settings,
        open_shell: Callable[[], Shell],
        *,
        progress: Progress,
        stop: Callable[[], bool],
        until_idle_s: float | None = None,
    ) -> None:
        """
        Args:
            open_shell: gives the shell with a started publisher.
            stop: asked several times a second.
            until_idle_s: end once the input has been read to its end and stayed quiet that long.
        """
        self._settings = settings
        self._shell = open_shell()
        self._stop = stop
        self._until_idle_s = until_idle_s
        self._failure: BaseException | None = None
        self._owned: set[PartitionKey] = set()
        self._generation = -1
        """Of the consumer group, once its partitions have been restored; -1 while there is none."""
        self._is_anew = False
        """True where a topic that was made anew has to be taken over before anything of it is handled."""
        self._steps: Iterator[None] = iter(())
        """Of the work in hand."""
        self._handling = False
        """True while rows are being handled: until that is over, they wait."""
        self._rows = RowReader(settings, self._shell.topics, consumer_of(settings))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._last_message = self._read_at = time.monotonic()
        self._progress = progress
        self.is_stuck = False
        """True where Faust did not stop in time: its threads then keep the process alive."""

    def run(self) -> None:
        """Work until stopped or idle.

        Raises:
            InputError: the broker refuses this client: credentials, rights, a topic that does not exist.
            Exception: whatever else the pipeline or the broker raised: nothing was committed past it.
        """
        limit_repeats("aiokafka")
        asyncio.run(self._main())
        if self._failure is None:
            return
        refused = _refusal(self._failure)
        if refused:
            raise InputError(refused) from self._failure
        if self._stop() and isinstance(self._failure, PublishError | TimeoutError):
            log.warning(
                "stopped without a final commit; the next start repeats the rows after the last one",
                error=str(self._failure),
            )
            return
        raise self._failure

    async def _main(self) -> None:
        # Made here, as Faust's futures belong to the loop that is running when they are made.
        self._busy = asyncio.Lock()
        self.app = make_app(self._settings)
        assert isinstance(self.app.consumer, FetchConsumer)
        self._consumer = self.app.consumer
        self._consumer.source = self
        add_agent(self.app, self.app.topic(*self._shell.topics, schema=FetchSchema()), self._score, name="score")
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        # Faust has started once it has partitions; stopping and failing must not wait for that.
        starting = asyncio.ensure_future(self.app.start())
        try:
            await self._watch(starting)
            if self._failure is None:
                with contextlib.suppress(Exception):  # it is in self._failure
                    await self._commit(everything=True)
        finally:
            starting.cancel()
            self._shell.close()
            try:
                await asyncio.wait_for(self.app.stop(), STOP_TIMEOUT_S)
            except TimeoutError:
                self.is_stuck = True
            self._thread.submit(self._rows.close)
            self._thread.shutdown(wait=False)

    # -- the agent ------------------------------------------------------------------------------------------------

    async def _score(self, fetches: faust.Stream[list[PartitionBatch]]) -> None:
        events: AsyncIterable[Any] = fetches.events()
        async for event in events:
            while event.message.generation_id > self._generation and self._failure is None:
                await asyncio.sleep(WATCH_S / 10)  # Faust lets rows through before the state has been restored
            try:
                await self._handle(event)
            finally:
                event.value.done.set()

    async def _handle(self, event: Any) -> None:
        self._steps = self._shell.work(event.value)
        is_done = False
        while not is_done:
            async with self._busy:  # between two turns commits and rebalances have theirs
                if event.message.generation_id != self._generation or self._failure is not None:
                    return  # from before a rebalance: its rows are read again from the commit
                if event.value.seeks != self._consumer.seeks:
                    return  # the reader was sent elsewhere meanwhile, and comes to these rows again
                self._handling = True
                is_done = await self._in_thread(self._take_turn)
                self._handling = False
            self._last_message = time.monotonic()

    def _take_turn(self) -> bool:
        """Steps of work for a moment, one at least, and of what comes meanwhile; True once nothing is left half done."""
        until = time.monotonic() + TURN_S
        while True:
            while next(self._steps, True) is None:
                self._progress.handled()
                self._consumer.answer_group()
                if time.monotonic() >= until or self._stop():
                    return False
            left_s = until - time.monotonic()
            batches = self._read(left_s) if left_s > 0 and not self._stop() else []
            if not batches:
                return True
            self._read_at = time.monotonic()
            self._consumer.note(batches)
            self._steps = self._shell.work(batches)

    async def read(self) -> list[PartitionBatch]:
        """See `RowSource`."""
        batches: list[PartitionBatch] = []
        if not self._is_anew:
            batches = await self._in_thread(self._read, READ_S)
            self._read_at = time.monotonic()
        if self._is_anew:
            self._is_anew = False
            await self._take_over_again()
        return batches

    def _read(self, wait_s: float) -> list[PartitionBatch]:
        """Rows; none of a topic that was made anew: what came of the old one is kept, and the new one is read from its first row."""
        batches = self._rows.read(wait_s)
        if batches and self._rows.came_after_pause and self._shell.input.topic_made_anew() is not None:
            self._is_anew = True
            return []
        return batches

    async def read_again(self) -> None:
        """See `RowSource`."""
        async with self._busy:
            if self._generation >= 0:
                await self._in_thread(self._read_on)

    # -- partitions and commits -----------------------------------------------------------------------------------

    async def _assigned(self, app: faust.App, assigned: set[TP], **_: Any) -> None:
        partitions = sorted((tp.topic, tp.partition) for tp in assigned if tp.topic in self._shell.topics)
        async with self._busy:
            await self._take_over(partitions)
            self._generation = self.app.consumer_generation_id
        self._last_message = self._read_at = time.monotonic()

    async def _take_over(self, partitions: list[PartitionKey]) -> None:
        """Restore them, and read on where the shell says: mostly at the group's commit."""
        await self._in_thread(self._assign, partitions)
        self._owned = set(partitions)

    def _assign(self, partitions: list[PartitionKey]) -> None:
        starts = self._shell.assign(partitions)
        self._rows.renew()
        self._rows.assign(starts)
        self._consumer.went_elsewhere()

    def _read_on(self) -> None:
        positions = self._shell.input.positions()
        self._rows.assign({partition: positions[partition] for partition in self._owned if partition in positions})
        self._consumer.went_elsewhere()

    async def _look_at_input(self) -> None:
        """Where the input is not what it was: keep what came of it, and read on where the input that is there now has it."""
        async with self._busy:
            if not await self._in_thread(self._shell.input.must_take_over):
                return
        await self._take_over_again()

    async def _take_over_again(self) -> None:
        await self._commit(everything=True)
        async with self._busy:
            if self._generation >= 0:
                await self._take_over(sorted(self._owned))

    async def _revoked(self, app: faust.App, revoked: set[TP], **_: Any) -> None:
        await self._commit(everything=True)
        async with self._busy:
            await self._in_thread(self._rows.forget)
            self._shell.revoke(sorted(self._owned))
            self._consumer.handed_over.clear()
            self._owned = set()
            self._generation = -1

    async def commit(self) -> bool:
        """Called by Faust's commit timer."""
        return await self._commit(everything=time.monotonic() - self._last_message > QUIET_S)

    async def _commit(self, *, everything: bool) -> bool:
        if self._failure is not None or not self._owned:
            return False
        async with self._busy:
            offsets = await self._in_thread(partial(self._shell.prepare_commit, everything=everything))
            if not offsets:
                return False
            positions = {TP(*key): offset for key, offset in offsets.items()}
            done = await self._consumer.commit_offsets(positions)
            if done:
                self._shell.committed(offsets)
            return done

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run in the pipeline's thread. A failure ends the worker: Faust would drop the batch and go on."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except Exception as error:
            if self._failure is None:
                self._failure = error
                # Logged once, at the end: Faust would log the same error again, with tracebacks.
                for library in ("faust", "mode"):
                    logging.getLogger(library).setLevel(logging.CRITICAL + 1)
            raise

    # -- when to end ------------------------------------------------------------------------------------------------

    async def _watch(self, starting: asyncio.Future[Any]) -> None:
        ticked_at = time.monotonic()
        ticking: asyncio.Future[None] | None = None
        while not self._stop() and self._failure is None:
            await asyncio.sleep(WATCH_S)
            if starting.done() and not starting.cancelled() and starting.exception() is not None:
                self._failure = self._failure or starting.exception()
                return
            if self.app.should_stop or self.app.crashed:
                self._failure = (
                    self._failure or getattr(self.app, "_crash_reason", None) or RuntimeError("faust stopped by itself")
                )
                return
            self._failure = self._failure or self._consumer.pending_error()
            at_end = self._is_at_end()
            if self._progress.should_ask() or (at_end and self._progress.unheard_s > ANSWER_INTERVAL_S):
                self._progress.broker(await self._broker_answers())
            self._progress.look(at_end)
            if at_end:
                idle_s = time.monotonic() - self._last_message
                if self._until_idle_s is not None and idle_s >= self._until_idle_s and await self._broker_answers():
                    return
            ticks = ticking is not None and not ticking.done()
            if (
                not ticks
                and time.monotonic() - ticked_at >= TICK_S
                and self._generation >= 0
                and not self.app.rebalancing
            ):
                ticked_at = time.monotonic()
                # Not awaited: it waits for the batch in hand, and who looks after progress must not.
                ticking = asyncio.ensure_future(self._tick())
            try:
                self._progress.check()
            except StallError as error:
                self._failure = self._failure or error

    async def _tick(self) -> None:
        try:
            await self._look_at_input()
            async with self._busy:
                await self._in_thread(self._look_at_rows)
        except Exception as error:
            if self._failure is None:  # that of our own thread is there already, and is told at the end
                log.warning("looking at silent machines and at the input failed; it is tried again", error=repr(error))

    def _look_at_rows(self) -> None:
        self._rows.note_ends(self._shell.input_ends, self._owned)
        self._shell.tick(self._rows.is_read_to_end)

    async def _broker_answers(self) -> bool:
        return await asyncio.get_running_loop().run_in_executor(None, broker_answers, self._settings.kafka)

    def _is_at_end(self) -> bool | None:
        """False where rows wait, here or in the broker; None where that is not known, as while the broker is away."""
        if self._generation < 0 or self.app.rebalancing:
            return None
        if self._handling:
            return False
        if any(self._waits(partition) for partition in self._owned):
            return False
        at_end = self._rows.idle.is_at_end()
        # A thread that has not read for so long is in a call that waits: whatever was read, rows may wait.
        return False if at_end and time.monotonic() - self._read_at > SILENT_S else at_end

    def _waits(self, partition: PartitionKey) -> bool:
        """Whether rows of the partition were handed over that have not been handled."""
        state = self._shell.pipeline.partitions.get(partition)
        return self._consumer.handed_over.get(partition, 0) > (0 if state is None else state.position)


def _refusal(error: BaseException) -> str | None:
    """As `kafka_errors.refusal`, for the exceptions of either client."""
    if isinstance(error, aiokafka.errors.KafkaError):
        return refusal_of(error.errno, str(error)) if isinstance(error.errno, int) else None
    return refusal(error)
