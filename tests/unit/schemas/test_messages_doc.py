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
    decode_audio_chunk,
    decode_message,
    decode_sensor_block,
    encode_audio_chunk,
    encode_message,
    encode_sensor_block,
)
from wheeltapper.schemas.codec.avro_schemas import SCHEMA_NAMES, schema_fingerprint
from wheeltapper.schemas.codec.checks import MAX_NAME_LENGTH
from wheeltapper.schemas.events import ClearReason, DeadLetterHeader, DeadLetterReason
from wheeltapper.schemas.generate import json_schema
from wheeltapper.schemas.limits import MAX_ATTRIBUTES, MAX_AUDIO_CHANNELS
from wheeltapper.schemas.sensor_block import SensorBlock
from wheeltapper.schemas.topics import DEFAULT_PREFIX, TOPICS

TEXT = (Path(__file__).parents[3] / "docs" / "messages.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)\n```", TEXT, re.DOTALL)
TYPES = {
    spec.model.__name__: spec.model for spec in TOPICS.values() if spec.model is not None and "json" in spec.codecs
}


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


def test_the_bytes_of_a_chunk_of_sound_are_those_of_the_page() -> None:
    # given the bytes as the page lists them, field by field
    (listed,) = re.findall(r"<!-- bytes: AudioChunk -->\n```\n(.*?)\n```", TEXT, re.DOTALL)
    value = bytes.fromhex("".join(line.split("    ")[0] for line in listed.splitlines()))
    # when they are read
    chunk = decode_audio_chunk(value)
    # then they are the chunk of the text, and as the code writes it
    assert (chunk.machine, chunk.microphone, chunk.start, chunk.sample_rate) == (
        "pump-7",
        "inlet",
        1793866380000000,
        16000,
    )
    assert chunk.samples.ravel().tolist() == [0, 0.25, -0.5, 0.5]
    assert chunk.attributes == {"speed": 1480.0, "product": "oil"}
    assert encode_audio_chunk(chunk, "avro") == value
    assert f"take {len(value)} bytes" in TEXT


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
        f"{MAX_AUDIO_CHANNELS} channels",
        f"{MAX_VALUES:,} samples",
        f"{MAX_ATTRIBUTES} attributes",
    ):
        assert limit in TEXT


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
