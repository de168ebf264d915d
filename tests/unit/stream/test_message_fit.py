"""A message that is larger than its topic takes is split or cut: it fits, it is valid, and it says what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import REPEATABLE, block_of, feed, message_of, parsed, scores_of
from wheeltapper.schemas.adaptation import AdaptationEvent, AdaptationStep, DriftChannel, DriftEvent
from wheeltapper.schemas.events import AlertEvent, ChannelShare, LabelRequest, Localization, Patch, ScoreBlock
from wheeltapper.stream.message_fit import LEFT_OUT, fit, record_bytes
from wheeltapper.stream.outgoing import JSON_HEADERS
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import Settings

ROWS = 600
TIME = 1_793_866_860_000_000


def output_of(topic: str, message: BaseModel) -> Output:
    return Output(topic, b"pump-7", message.model_dump_json().encode(), JSON_HEADERS)


def shares(count: int) -> tuple[ChannelShare, ...]:
    return tuple(
        ChannelShare(channel=f'räume "{index}"', unit="m³/h", share=0.001, actual=index / 3, expected=None)
        for index in range(count)
    )


def patches(count: int) -> tuple[Patch, ...]:
    return tuple(
        Patch(start=TIME, end=TIME + index, low_hz=10.0, high_hz=20.0 + index, share=0.01) for index in range(count)
    )


def request_of(rows: int, judged: int) -> LabelRequest:
    return LabelRequest(
        request_id="r", machine="pump-7", time=TIME + judged, rule="r", detector="d", bundle="b", score=1.0, threshold=1.0,
        uncertainty=0.5, quality=1.0, shares=shares(3), channels=("a", "b"), units=("", ""),
        ts=tuple(range(TIME, TIME + rows)), values=tuple((float(row), None) for row in range(rows)),
    )  # fmt: skip


LARGE: dict[str, tuple[type[BaseModel], Output]] = {
    "alert": (
        AlertEvent,
        output_of(
            "alerts",
            AlertEvent(
                alert_id="i", machine="pump-7", event="opened", opened_at=TIME, time=TIME, severity=50, score=1.0,
                peak_score=1.0, threshold=1.0, rule="r", detector="d", bundle="b", quality=1.0, channels=shares(400),
                patches=patches(400), level_reason="weil \U0001f6a8 " * 9_000,
            ),
        ),
    ),
    "localization": (
        Localization,
        output_of(
            "localizations",
            Localization(
                alert_id="i", machine="pump-7", time=TIME, rule="r", detector="d", bundle="b", channels=shares(3_000)
            ),
        ),
    ),
    "localization of sound": (
        Localization,
        output_of(
            "localizations",
            Localization(
                alert_id="i", machine="pump-7", time=TIME, rule="r", detector="d", bundle="b", channels=shares(300),
                patches=patches(900),
            ),
        ),
    ),
    "label request": (LabelRequest, output_of("label-requests", request_of(20_000, 19_999))),
    "label request of a detector that looks ahead": (LabelRequest, output_of("label-requests", request_of(20_000, 10))),
    "drift": (
        DriftEvent,
        output_of(
            "drift",
            DriftEvent(
                drift_id="i", machine="pump-7", rule="r", bundle="b", event="started", time=TIME, since=TIME, tests=("adwin",),
                score_before=0.1, score_after=0.2,
                channels=tuple(
                    DriftChannel(channel=f"c{index}", statistic="mean", before=0.0, after=1.0, effect=9.0)
                    for index in range(5_000)
                ),
            ),
        ),
    ),
    "adaptation": (
        AdaptationEvent,
        output_of(
            "adaptations",
            AdaptationEvent(
                adaptation_id="i", machine="pump-7", rule="r", event=AdaptationStep.REFUSED, at=TIME,
                evidence=orjson.dumps({"figures": list(range(20_000))}).decode(), reason="because " * 20_000,
            ),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("largest", [2_000, 20_000, 60_000])
@pytest.mark.parametrize("case", LARGE)
def test_a_large_message_is_cut_to_a_valid_one_that_says_so(case: str, largest: int) -> None:
    # given a message of 200 kB and more
    model, large = LARGE[case]
    assert record_bytes(large) > 60_000
    # when its topic takes less
    fitted = fit(large, largest)
    # then one message comes out that fits and fills what there is room for
    (cut,) = fitted.outputs
    assert 0.7 * largest < record_bytes(cut) <= largest
    assert (cut.topic, cut.key, cut.partition) == (large.topic, large.key, large.partition)
    # which is a valid one, with everything that is not dispensable as it was
    before, after = orjson.loads(large.value or b""), orjson.loads(cut.value or b"")
    model.model_validate_json(cut.value or b"")
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert changed <= {"channels", "patches", "level_reason", "shares", "ts", "values", "evidence", "reason"}
    # lists have kept their beginning, label requests the judged row
    for name in changed & {"channels", "patches", "shares", "level_reason", "reason"}:
        assert after[name] == before[name][: len(after[name])]
    # and a header says what is missing
    said = dict(cut.headers)[LEFT_OUT]
    assert said
    assert fitted.what == f"cut: {said.decode()}"
    assert dict(cut.headers)["content-type"] == b"application/json"


def test_what_cannot_be_made_to_fit_is_left_out() -> None:
    # given a topic that takes less than a machine's name
    # when messages are to fit, then none of them is sent, and it is said
    for _, large in LARGE.values():
        fitted = fit(large, 300)
        assert fitted.outputs == ()
        assert fitted.what.startswith("left out")


def test_rows_of_a_label_request_that_stay_hold_the_judged_one() -> None:
    # given a request whose judged row is not its last
    fitted = fit(LARGE["label request of a detector that looks ahead"][1], 5_000)
    # when it is cut: then it holds that row, and rows in order without a gap
    request = LabelRequest.model_validate_json(fitted.outputs[0].value or b"")
    assert request.time in request.ts
    assert list(request.ts) == list(range(request.ts[0], request.ts[-1] + 1))
    assert [row[0] for row in request.values] == [float(time - TIME) for time in request.ts]


@settings(REPEATABLE, max_examples=30)
@given(largest=st.integers(700, 40_000), maintenance=st.booleans())
def test_scores_are_split_without_a_change(open_routes: OpenRoutes, largest: int, maintenance: bool) -> None:
    # given the scores of a long message
    outputs = feed(
        Pipeline(open_routes(Recipe(window=4, stride=1)), Settings()),
        [message_of(block_of("press-1", np.random.default_rng(3).normal(0.5, 1.0, (ROWS, 3))), "arrow")],
    )
    (block,) = [output for output in outputs if output.topic == "scores"]
    if maintenance:
        parts: Any = orjson.loads(block.value or b"")
        parts["maintenance"] = [index % 3 == 0 for index in range(len(parts["time"]))]
        block = Output(block.topic, block.key, orjson.dumps(parts), block.headers)
    # when they are to fit a smaller message
    fitted = fit(block, largest)
    # then several come out, each valid and small enough, and together they are what they were, in order
    assert len(fitted.outputs) > 1 or record_bytes(block) <= largest
    assert all(record_bytes(part) <= largest for part in fitted.outputs)
    assert all((part.key, part.headers) == (block.key, block.headers) for part in fitted.outputs)
    for part in fitted.outputs:
        ScoreBlock.model_validate_json(part.value or b"")
    assert scores_of(fitted.outputs) == scores_of([block])
    for name in ("time", "maintenance"):
        told = [entry for message in parsed(fitted.outputs, "scores") for entry in message.get(name, [])]
        assert told == parsed([block], "scores")[0].get(name, [])
