"""Every example of docs/gateways.md is read as the page says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import orjson
import pytest

from tests.unit.stream.bundles import Recipe
from tests.unit.stream.conftest import OpenRoutes
from tests.unit.stream.feeds import Message, feed, letters_of, scores_of
from wheeltapper.stream.pipeline import Pipeline
from wheeltapper.stream.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "gateways.md"
TIME = 1_714_550_400_000_000
EXAMPLES = re.findall(
    r"^### (.*?)\n\n```json\n(.*?)```\n\n```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_every_form_of_the_page_is_an_example() -> None:
    assert len(EXAMPLES) == PAGE.read_text(encoding="utf-8").count("\n### ") == 7


@pytest.mark.parametrize(("messages", "text"), [example[1:] for example in EXAMPLES], ids=[e[0] for e in EXAMPLES])
def test_an_example_is_read(open_routes: OpenRoutes, messages: str, text: str) -> None:
    # given the settings and messages of the page, with the channels of the tests' bundle in place of the pump's
    named = {"flow": "a", "pressure": "b"}
    sections = tomllib.loads(text)
    sections["input"]["rename"] = named
    key = re.search(r"^# key of the record: (\S+)$", text, re.MULTILINE)
    sent = [Message(line.encode(), key[1].encode() if key else None) for line in messages.splitlines()]
    assert all(orjson.loads(message.value or b"") for message in sent)
    # when they are read
    pipeline = Pipeline(open_routes(Recipe(window=1)), Settings.model_validate(sections))
    outputs = [*feed(pipeline, sent), *pipeline.finish()]
    # then they make one row with both values, and nothing is left over
    assert letters_of(outputs) == []
    assert [(machine, time) for machine, _, time in scores_of(outputs)] == [("pump-1", TIME)]
    assert pipeline.counters.imputed_values == 1
    assert pipeline.counters.readings == {}
