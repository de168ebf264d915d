"""Writes what follows from the table of topics and the message types: `python -m wheeltapper.schemas.generate`.

The Avro schemas and JSON Schemas of all messages, the JSON Schema of a bundle's manifest, and, in a checkout, the generated
parts of the docs and of deploy/worker.toml (`wheeltapper.schemas.topic_pages`). Tests fail where a file differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from wheeltapper.schemas import topic_pages
from wheeltapper.schemas.avro_records import NAMESPACE, avro_record
from wheeltapper.schemas.bundle.manifest import AudioManifest, SensorManifest
from wheeltapper.schemas.topics import TOPICS, TopicSpec, schema_name_of

SCHEMAS_FOLDER = Path(__file__).resolve().parent
AVRO_FOLDER = SCHEMAS_FOLDER / "avro"
JSON_SCHEMA_FOLDER = SCHEMAS_FOLDER / "jsonschema"
CHECKOUT = SCHEMAS_FOLDER.parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"

MESSAGES: dict[str, TopicSpec] = {
    schema_name_of(spec.model): spec for spec in TOPICS.values() if spec.model is not None
}
"""Schema name -> the topic whose values it describes."""


def _wire_form(spec: TopicSpec, form: type[BaseModel] | None, parameter: str) -> type[BaseModel]:
    if form is not None:
        return form
    assert spec.model is not None
    if not issubclass(spec.model, BaseModel):
        raise TypeError(
            f"topic '{spec.name}': {spec.model.__name__} is no pydantic model; give its entry in "
            f"wheeltapper.schemas.topics {parameter}=, the pydantic model of its form on the wire"
        )
    return spec.model


class AnyManifest(RootModel[SensorManifest | AudioManifest]):
    """manifest.json of a bundle, by its kind of input."""

    model_config = ConfigDict(title="Manifest")


JSON_SCHEMA_MODELS: dict[str, type[BaseModel]] = {
    **{name: _wire_form(spec, spec.json_form, "json_form") for name, spec in MESSAGES.items() if "json" in spec.codecs},
    "manifest": AnyManifest,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of what a reader takes."""
    return {"$schema": DIALECT, **JSON_SCHEMA_MODELS[name].model_json_schema()}


def avro_schema(name: str) -> dict[str, Any]:
    """The Avro schema that a message is written with."""
    spec = MESSAGES[name]
    assert spec.model is not None
    return avro_record(_wire_form(spec, spec.avro_form, "avro_form"), spec.model.__name__, f"{NAMESPACE}.{name}")


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def generated_files() -> Iterator[tuple[Path, str]]:
    """Every file that is made whole or in part, and the text that it must have.

    Raises:
        ValueError: a page lacks the markers of its generated part.
    """
    for name in MESSAGES:
        yield AVRO_FOLDER / f"{name}.avsc", _text(avro_schema(name))
    for name in JSON_SCHEMA_MODELS:
        yield JSON_SCHEMA_FOLDER / f"{name}.json", _text(json_schema(name))
    for page in topic_pages.PAGES:
        path = CHECKOUT / page
        if path.is_file():  # an installed package has no docs beside it
            yield path, topic_pages.refreshed(page, path.read_text(encoding="utf-8"))


def main() -> None:
    """Write every file that differs; remove schemas of messages that there are no more."""
    files = dict(generated_files())
    for path, text in files.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: written")
    for folder, ending in ((AVRO_FOLDER, "avsc"), (JSON_SCHEMA_FOLDER, "json")):
        for path in set(folder.glob(f"*.{ending}")) - set(files):
            path.unlink()
            print(f"{path}: removed, no topic has this message")


if __name__ == "__main__":
    main()
