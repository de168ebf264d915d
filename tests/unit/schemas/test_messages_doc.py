"""docs/messages.md: its examples are what the code writes, its tables name what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from wheeltapper.schemas.codec import (
    CONTENT_TYPES,
    MAX_CHANNELS,
    MAX_MESSAGE_BYTES,
    MAX_PARSED_BYTES,
    MAX_ROWS,
    MAX_VALUES,
    decode_message,
    decode_sensor_block,
    encode_message,
    encode_sensor_block,
)
from wheeltapper.schemas.codec.avro_schemas import SCHEMA_NAMES, schema_fingerprint
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH
from wheeltapper.schemas.events import ClearReason, DeadLetterHeader, DeadLetterReason
from wheeltapper.schemas.generate import json_schema
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import DEFAULT_PREFIX, TOPICS

TEXT = (Path(__file__).parents[3] / "docs" / "messages.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)\n```", TEXT, re.DOTALL)
TYPES = {message_type.__name__: message_type for message_type in SCHEMA_NAMES}


def rows_of_table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its two head lines."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.split("\n### ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_message_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == set(TYPES)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_what_the_code_reads_and_writes(name: str, example: str) -> None:
    value = example.encode()

    if name == "SensorBlock":
        assert encode_sensor_block(decode_sensor_block(value), "json") == value
    else:
        assert json.loads(encode_message(decode_message(TYPES[name], value))) == json.loads(value)
    jsonschema.validate(json.loads(value), json_schema(SCHEMA_NAMES[TYPES[name]]))


def test_the_avro_bytes_are_those_of_the_example() -> None:
    block = decode_sensor_block(EXAMPLES[1][1].encode())

    value = encode_sensor_block(block, "avro")

    assert f"takes {len(value)} bytes" in TEXT
    assert (b"\xc3\x01" + schema_fingerprint(SCHEMA_NAMES[SensorBlock])).hex(" ") in TEXT


def test_topics_are_those_that_are_made() -> None:
    documented = {row[0].strip("`"): (row[2], row[3], row[4]) for row in rows_of_table("Topics")}

    assert documented == {
        name: (topic.key, ", ".join(topic.codecs) or "-", topic.cleanup) for name, topic in TOPICS.items()
    }
    assert f"prefix `{DEFAULT_PREFIX}`" in TEXT


def test_reasons_headers_and_content_types_are_those_of_the_code() -> None:
    assert [row[0] for row in rows_of_table("What is refused, and why")] == [
        f"`{reason}`" for reason in DeadLetterReason
    ]
    assert [row[0] for row in rows_of_table("Dead letters")] == [f"`{header}`" for header in DeadLetterHeader]
    for content_type in CONTENT_TYPES.values():
        assert f"`{content_type}`" in TEXT


def test_reasons_of_an_end_are_those_of_the_code() -> None:
    table = TEXT.split("| reason | symbol in Avro | meaning |\n|---|---|---|\n")[1].split("\n\n")[0]
    documented = [tuple(cell.strip(" `") for cell in line.split("|")[1:3]) for line in table.splitlines()]

    assert documented == [(reason, reason.replace("-", "_")) for reason in ClearReason]


def test_limits_are_those_of_the_code() -> None:
    mib = 1024 * 1024
    for limit in (
        f"{MAX_MESSAGE_BYTES // mib} MiB",
        f"{MAX_PARSED_BYTES // mib} MiB of JSON",
        f"{MAX_ROWS:,} rows",
        f"{MAX_CHANNELS:,} channels",
        f"{MAX_VALUES:,} values",
        f"{MAX_NAME_LENGTH:,} characters",
    ):
        assert limit in TEXT


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
