"""What the Faust runner's consumer does where Faust and its client would wait without end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.stream.feeds import batch_of, block_of, row_by_row
from wheeltapper.stream.runners import faust_consumer
from wheeltapper.stream.runners.faust_consumer import ConsumerThread, Fetch, FetchConsumer

SOON_S = 10.0


def consumer_at(seeks: int) -> Any:
    """As much of a consumer as handing over needs, whose agent is given nothing: Faust has dropped it."""

    async def drop(message: object) -> None: ...

    return SimpleNamespace(flow_active=True, should_stop=False, seeks=seeks, note=lambda batches: None, callback=drop)


def test_a_fetch_that_a_rebalance_dropped_is_not_waited_for() -> None:
    async def scenario() -> None:
        # given a fetch that was handed over and dropped by a rebalance
        consumer = consumer_at(seeks=4)
        fetch = Fetch([batch_of(row_by_row(block_of("pump", np.zeros((3, 3)))))], 4)
        waiting = asyncio.ensure_future(FetchConsumer._hand_over(consumer, fetch, 3))
        await asyncio.sleep(3 * faust_consumer.LOOK_S)
        assert not waiting.done()
        # when that was over between two looks, in a group whose generation has the number that it had: that of a broker restored from
        # an older copy; then reading goes on
        consumer.seeks += 1
        await asyncio.wait_for(waiting, SOON_S)
        assert not fetch.done.is_set()

    asyncio.run(scenario())


def test_a_commit_that_the_client_tries_again_and_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a client that never stops trying
    monkeypatch.setattr(faust_consumer, "COMMIT_S", 0.1)

    async def commit(offsets: object) -> None:
        await asyncio.Event().wait()

    thread: Any = SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(commit=commit))
    # when offsets are committed, then that ends, and is known not to be done
    done = asyncio.run(asyncio.wait_for(ConsumerThread._commit_quietly(thread, {}), SOON_S))
    assert done is False
