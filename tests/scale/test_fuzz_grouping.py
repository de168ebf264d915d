"""Nonsense among rows, grouped into batches in other ways, and read on by a worker that starts anew: nothing of what comes of it changes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.helpers.plant import THRESHOLD, make_plant, messages_of
from tests.integration.worker_tools import RECIPE
from tests.scale.fuzzing import fuzzed
from tests.unit.stream.bundles import write_bundle
from tests.unit.stream.feeds import TOPIC, Message, assert_same_alerts, assert_same_scores, batch_of, letters_of
from wheeltapper.stream.core.counters import Counters
from wheeltapper.stream.kinds.contract import Routes
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import Settings

pytestmark = [pytest.mark.nightly]

FULL = 1_000_000
IN_A_TURN = 2_000
NOW_MS = 1_700_100_000_000
"""Of every record: hours behind the last row of `make_plant`."""


def messages_with_nonsense(number: int, seed: int, stamp_ms: int) -> list[Message]:
    """So many messages, of good machines and of nobody."""
    plant = make_plant(machines=6, rows=number // 30, seed=seed)
    good = messages_of(plant, largest_block=8, seed=seed)
    nonsense = fuzzed(number - len(good), seed=seed)
    every = max(1, (number - len(good)) // len(good))
    mixed = itertools.chain.from_iterable([*itertools.islice(nonsense, every), message] for message in good)
    return [Message(value, key, headers, stamp_ms) for key, value, headers in itertools.chain(mixed, nonsense)]


def settings_of(most_values: int | None = None) -> Settings:
    worker = {} if most_values is None else {"max_batch_values": most_values}
    return Settings.model_validate({"threshold": THRESHOLD.model_dump(exclude_unset=True), "worker": worker})


def through(
    routes: Routes, settings: Settings, messages: list[Message], sizes: Iterator[int]
) -> tuple[list[Output], Counters]:
    """In batches of these sizes; 0: the worker ends, and another one goes on from its snapshots."""
    pipelines = [Pipeline(routes, settings)]
    outputs: list[Output] = []
    state: dict[bytes, bytes] = {}
    start = 0
    while start < len(messages):
        size = next(sizes)
        if not size:
            partition = pipelines[-1].partition(TOPIC, 0)
            records = [*partition.snapshots(0.0, everything=True), partition.progress_record()]
            state |= {record.key or b"": record.value or b"" for record in records}
            pipelines.append(Pipeline(routes, settings))
            partition = pipelines[-1].partition(TOPIC, 0)
            partition.position = partition.input_end = start
            partition.restore(state)
            continue
        outputs += pipelines[-1].handle([batch_of(messages[start : start + size], first=start)], now=float(start))
        start += size
    return outputs, sum((pipeline.counters for pipeline in pipelines), Counters())


def assert_same(found: tuple[list[Output], Counters], wanted: tuple[list[Output], Counters], *, anew: bool) -> None:
    """Dead letters, counts, scores and alerts."""
    left, right = (
        {(each.offset, each.reason, each.detail, each.output.key, each.output.value) for each in letters_of(outputs)}
        for outputs, _ in (found, wanted)
    )
    assert left == right, f"only the first: {sorted(left - right)[:3]}, only the second: {sorted(right - left)[:3]}"
    counts, wanted_counts = (counts_of(counters, anew=anew) for _, counters in (found, wanted))
    assert counts == wanted_counts
    assert_same_scores(found[0], wanted[0])
    assert_same_alerts(found[0], wanted[0])


def counts_of(counters: Counters, *, anew: bool) -> dict[str, Any]:
    """All but those of what a restart forgets: whether rows come at the bundle's rate is looked at anew."""
    known = dataclasses.asdict(counters)
    known["scores"] = {name: found.cumulative()[-1] for name, found in counters.scores.items()}
    return {name: value for name, value in known.items() if not (anew and name == "odd_rates")}


@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("stamp_ms", [NOW_MS, -1], ids=["stamped", "without timestamps"])
def test_batches_and_restarts_change_nothing(tmp_path: Path, scale: float, stamp_ms: int) -> None:
    # given messages, most of them nonsense
    number = max(2 * IN_A_TURN, round(FULL * scale / 2))
    bundle = write_bundle(tmp_path, RECIPE)
    told: Counter[str] = Counter()
    for seed in range(number // IN_A_TURN):
        messages = messages_with_nonsense(IN_A_TURN, seed, stamp_ms)
        rng = np.random.default_rng(seed)
        usual = settings_of()
        routes = load_routes([str(bundle)], usual)
        with capture_logs():
            # when they come one by one, in one batch, in batches of any size, in steps of few values, and with restarts in between
            wanted = through(routes, usual, messages, itertools.repeat(1))
            told.update(letter.reason for letter in letters_of(wanted[0]))
            mixed = rng.integers(1, 200, size=len(messages)).tolist()
            small = settings_of(2_000)
            for settings, sizes in (
                (usual, itertools.repeat(len(messages))),
                (usual, iter(mixed)),
                (small, iter(mixed)),
            ):
                # then nothing of what comes of them is other than before
                assert_same(through(routes, settings, messages, sizes), wanted, anew=False)
            between = [0 if rng.random() < 0.2 else size for size in mixed for _ in range(2)]
            assert_same(through(routes, usual, messages, iter(between)), wanted, anew=True)
    print(f"{number} messages, stamped {stamp_ms}: dead letters {dict(told)}")
    assert len(told) > 5
