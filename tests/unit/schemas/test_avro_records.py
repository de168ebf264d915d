"""Avro records from Python types: every kind of field, and what has no form."""

from __future__ import annotations

import io
from enum import StrEnum
from typing import Annotated, Any, Literal

import fastavro
import pytest
from pydantic import BaseModel, Field, create_model

from wheeltapper.schemas.avro_records import AvroEnum, AvroType, avro_record


class Colour(StrEnum):
    RED = "red"
    DARK_RED = "dark-red"


class Part(BaseModel):
    """A part.

    More of it.
    """

    name: str


class Everything(BaseModel):
    """One field of each kind."""

    text: str = Field(description="some text")
    flag: bool = False
    data: bytes
    number: float
    small: int = Field(ge=0, le=100)
    large: int
    non_negative: int = Field(ge=0)
    exact: Annotated[float, AvroType("float")]
    time: Annotated[int, AvroType("long", "timestamp-micros")]
    maybe: float | None = None
    names: tuple[str, ...] = ("a", "b")
    rows: list[list[float | None]]
    by_name: dict[str, float]
    part: Part
    parts: tuple[Part, ...]
    choice: Annotated[Literal["yes", "no"], AvroEnum("Answer", default="no")] = Field("yes", description="an answer")
    colour: Annotated[Colour, AvroEnum("elsewhere.Colour", default="dark-red")] | None = None


def types_of(record: dict[str, Any]) -> dict[str, Any]:
    return {field["name"]: field["type"] for field in record["fields"]}


def test_every_kind_of_field_has_its_avro_type() -> None:
    # given a type with a field of each kind, when its record is made
    record = avro_record(Everything, "Everything", "wheeltapper.everything")
    # then each is what the module's table says, and a type is defined once
    part = {
        "type": "record", "name": "Part", "namespace": "wheeltapper.everything", "doc": "A part.",
        "fields": [{"name": "name", "type": "string"}],
    }  # fmt: skip
    assert types_of(record) == {
        "text": "string", "flag": "boolean", "data": "bytes", "number": "double", "small": "int", "large": "long",
        "non_negative": "long", "exact": "float", "time": {"type": "long", "logicalType": "timestamp-micros"},
        "maybe": ["null", "double"], "names": {"type": "array", "items": "string"},
        "rows": {"type": "array", "items": {"type": "array", "items": ["null", "double"]}},
        "by_name": {"type": "map", "values": "double"}, "part": part,
        "parts": {"type": "array", "items": "wheeltapper.everything.Part"},
        "choice": {
            "type": "enum", "name": "Answer", "namespace": "wheeltapper.everything", "symbols": ["yes", "no"], "default": "no",
        },
        "colour": ["null", {
            "type": "enum", "name": "Colour", "namespace": "elsewhere", "symbols": ["red", "dark_red"],
            "jsonSymbols": ["red", "dark-red"], "default": "dark_red",
        }],
    }  # fmt: skip


def test_defaults_and_docs_are_those_of_the_type() -> None:
    record = avro_record(Everything, "Everything", "wheeltapper.everything")
    fields = {field["name"]: field for field in record["fields"]}

    assert (record["namespace"], record["doc"]) == ("wheeltapper", "One field of each kind.")
    assert {name: field["default"] for name, field in fields.items() if "default" in field} == {
        "flag": False, "maybe": None, "names": ["a", "b"], "choice": "yes", "colour": None,
    }  # fmt: skip
    assert fields["text"]["doc"] == "some text"
    assert fields["choice"]["doc"] == "an answer; an older reader takes a value that it does not know as no"
    assert fields["colour"]["doc"] == "an older reader takes a value that it does not know as dark_red"
    assert "doc" not in fields["number"]


def test_the_record_is_one_that_fastavro_writes_and_reads() -> None:
    # given a message of it
    schema = fastavro.parse_schema(avro_record(Everything, "Everything", "wheeltapper.everything"))
    message = {
        "text": "t", "flag": True, "data": b"\0", "number": 0.5, "small": 1, "large": 2**40, "non_negative": 2**33,
        "exact": 1.5, "time": 7, "maybe": None, "names": [], "rows": [[None, 1.0]], "by_name": {"a": 1.0},
        "part": {"name": "p"}, "parts": [{"name": "q"}], "choice": "no", "colour": "dark_red",
    }  # fmt: skip
    # when it is written and read
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, message)
    out.seek(0)
    read = fastavro.schemaless_reader(out, schema, None)
    # then it is the same, the time as the logical type says
    assert read["time"].microsecond == 7
    assert {**read, "time": 7} == message


WITHOUT_FORM: dict[str, tuple[Any, str]] = {
    "a union of two types": (str | int, "M.field is .*str | int.*no Avro form"),
    "a set": (set[str], "M.field is set.*no Avro form"),
    "a tuple of a fixed length": (tuple[str, str], "M.field is tuple.*no Avro form"),
    "a map with other keys": (dict[int, str], "M.field is dict.*no Avro form"),
    "a choice without a name": (Literal["a", "b"], r"M.field is a choice of \['a', 'b'\]; annotate it with AvroEnum"),
    "a choice with a default that it lacks": (
        Annotated[Literal["a", "b"], AvroEnum("Choice", default="c")],
        "annotate it with AvroEnum",
    ),
    "a choice within an array, of values that Avro cannot spell": (
        tuple[Annotated[Colour, AvroEnum("Colour", default="red")], ...],
        "M.field has a choice within it whose values Avro cannot spell",
    ),
}


@pytest.mark.parametrize("what", WITHOUT_FORM)
def test_what_has_no_form_is_named(what: str) -> None:
    annotation, complaint = WITHOUT_FORM[what]
    model = create_model("M", field=(annotation, ...))

    with pytest.raises(TypeError, match=complaint):
        avro_record(model, "M", "wheeltapper.m")


def test_one_name_cannot_mean_two_things() -> None:
    model = create_model(
        "M",
        one=(Annotated[Literal["a"], AvroEnum("Choice", default="a")], ...),
        other=(Annotated[Literal["b"], AvroEnum("Choice", default="b")], ...),
    )

    with pytest.raises(TypeError, match=r"M.other: wheeltapper.m.Choice is already another type"):
        avro_record(model, "M", "wheeltapper.m")
