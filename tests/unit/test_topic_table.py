"""The table of topics: a topic is one entry and one message type, and everything else follows.

A topic is added to a copy of the checkout as a contributor would add it, the generator is run there, and what follows is
asked of the copy's own code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wheeltapper.kafka_admin import is_needed
from wheeltapper.schemas.topics import AUDIO, SENSORS, TOPICS, Program
from wheeltapper.stream.settings import Settings, load_settings

CHECKOUT = Path(__file__).resolve().parents[2]

MESSAGE_TYPE = '''

class WearEvent(Message):
    """How worn a part is. Value of the `wear-events` topic."""

    machine: str = Field(min_length=1)
    time: Micros = Field(description="event time, microseconds UTC")
    grade: Annotated[Literal["good", "worn-out"], AvroEnum("WearGrade", default="worn-out")] = "worn-out"
    channels: tuple[ChannelShare, ...] = ()
'''
ENTRY = """WEAR_EVENTS = _entry(
    TopicSpec(
        "wear-events",
        "how worn a part is",
        WearEvent,
        ("json", "avro"),
        "delete",
        (writes(Program.WORKER, setting="labels.enabled"), reads(Program.SUBSCRIBER)),
        config={"retention.ms": _days(14), "max.message.bytes": str(2 * MIB)},
    )
)

"""
PROBE = """
import json
from wheeltapper.kafka_admin import is_needed, new_topic
from wheeltapper.schemas.codec import decode_message, encode_message
from wheeltapper.schemas.events import WearEvent
from wheeltapper.schemas.topics import TOPICS, WEAR_EVENTS
from wheeltapper.stream.publisher import Publisher
from wheeltapper.stream.records import Output
from wheeltapper.stream.settings import load_settings
from wheeltapper.stream.settings_page import page

settings = load_settings(kafka={"brokers": "127.0.0.1:1"}, topics={"wear_events": "plant.wear"})
publisher = Publisher(settings)
publisher.publish([Output(WEAR_EVENTS, b"pump-7", b"{}")])
publisher.abandon()
spec = TOPICS[WEAR_EVENTS]
made = new_topic(spec, settings.topics.full_name(WEAR_EVENTS), partitions=6)
event = WearEvent(machine="pump-7", time=1, grade="worn-out")
print(json.dumps({
    "own name": settings.topics.full_name("wear-events"),
    "prefixed name": load_settings().topics.full_name("wear-events"),
    "published": publisher.published,
    "admin": [made.topic, made.num_partitions, made.config],
    "needed": [is_needed(spec, load_settings(labels={"enabled": enabled}), ()) for enabled in (False, True)],
    "settings page": page(),
    "encoded": {encoding: encode_message(event, encoding).hex() for encoding in spec.codecs},
    "decoded": [
        decode_message(WearEvent, encode_message(event, encoding)).model_dump(mode="json") for encoding in spec.codecs
    ],
}))
"""


def run_python(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHEELTAPPER_")}
    environment |= {"PYTHONPATH": str(folder), **variables}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=folder, env=environment, timeout=120
    )


def copy_of_checkout(folder: Path) -> Path:
    for name in ("schemas", "stream", "deploy", "docs", "wheeltapper"):
        shutil.copytree(
            CHECKOUT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.png")
        )
    return folder


def add_topic(checkout: Path, message_type: str, entry: str) -> None:
    events, topics = checkout / "schemas" / "events.py", checkout / "schemas" / "topics.py"
    events.write_text(events.read_text(encoding="utf-8") + message_type, encoding="utf-8")
    text = topics.read_text(encoding="utf-8")
    assert text.count("\nTOPICS: ") == 1
    text = text.replace("\nTOPICS: ", f"\n{entry}TOPICS: ").replace(" ScoreBlock\n", " ScoreBlock, WearEvent\n")
    topics.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one topic more."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("grown"))
    add_topic(checkout, MESSAGE_TYPE, ENTRY)
    done = run_python(checkout, "-m", "wheeltapper.schemas.generate")
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.fixture(scope="module")
def found(grown: Path) -> dict[str, Any]:
    """What the grown checkout's code says of the new topic."""
    done = run_python(grown, "-c", PROBE)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_new_topic_has_a_setting_of_its_own(found: dict[str, Any]) -> None:
    # given a checkout with one entry more, when settings are loaded, then its name can be set, and is prefix + name else
    assert found["own name"] == "plant.wear"
    assert found["prefixed name"] == "wheeltapper.wear-events"
    assert "| `wear_events` | none |" in found["settings page"]


def test_a_misspelt_name_of_a_new_topic_names_the_nearest(grown: Path) -> None:
    # given a setting that is nearly the new one
    code = "from wheeltapper.stream.settings import load_settings; load_settings()"
    # when settings are loaded
    done = run_python(grown, "-c", code, WHEELTAPPER_TOPICS__WEAR_EVENT="plant.wear")
    # then the error names it
    assert "unknown setting 'topics.wear_event', did you mean 'wear_events'?" in done.stderr


def test_a_new_topic_can_be_published_to(found: dict[str, Any]) -> None:
    assert found["published"] == 1


def test_a_new_topic_is_created_as_its_entry_says(found: dict[str, Any]) -> None:
    config = {"cleanup.policy": "delete", "retention.ms": str(14 * 86_400_000), "max.message.bytes": str(2 * 2**20)}

    assert found["admin"] == ["plant.wear", 6, config]
    # and a worker waits for it only where the setting of its entry is on
    assert found["needed"] == [False, True]


def test_a_new_message_is_written_and_read(found: dict[str, Any]) -> None:
    message = {"machine": "pump-7", "time": 1, "grade": "worn-out", "channels": []}

    assert found["decoded"] == [message, message]
    assert json.loads(bytes.fromhex(found["encoded"]["json"])) == message
    assert found["encoded"]["avro"].startswith("c301")


def test_a_new_message_has_its_schemas(grown: Path) -> None:
    avro = json.loads((grown / "schemas" / "avro" / "wear_event.avsc").read_text())
    json_schema = json.loads((grown / "schemas" / "jsonschema" / "wear_event.json").read_text())

    assert [field["name"] for field in avro["fields"]] == ["machine", "time", "grade", "channels"]
    assert avro["fields"][2]["type"]["symbols"] == ["good", "worn_out"]
    assert avro["fields"][3]["type"]["items"]["namespace"] == "wheeltapper.wear_event"
    assert json_schema["properties"]["grade"]["enum"] == ["good", "worn-out"]


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("docs/messages.md", "| `wear-events` | `WearEvent`: how worn a part is | machine | json, avro | delete |"),
        ("docs/deploy.md", "| `wear-events` | delete | 14 days | 2 MiB |"),
        (
            "docs/deploy.md",
            "| | topic `wheeltapper.wear-events`, where `labels.enabled` is true | WRITE, DESCRIBE_CONFIGS |",
        ),
        ("docs/deploy.md", "| | topic `wheeltapper.wear-events` | READ |"),
        ("deploy/worker.toml", '# wear_events = "wheeltapper.wear-events"        # how worn a part is'),
    ],
)
def test_a_new_topic_is_in_the_docs(grown: Path, page: str, line: str) -> None:
    assert line in (grown / page).read_text(encoding="utf-8").splitlines()


def test_nothing_else_in_the_docs_changes(grown: Path) -> None:
    # given the pages before and after, when the new topic's lines are left out, then they are the same
    for page in ("docs/messages.md", "docs/deploy.md", "deploy/worker.toml"):
        lines = (grown / page).read_text(encoding="utf-8").splitlines()
        rest = [line for line in lines if not re.search("wear.events", line)]
        assert rest == (CHECKOUT / page).read_text(encoding="utf-8").splitlines(), page


def test_a_message_that_is_no_pydantic_model_is_asked_for_its_form(tmp_path: Path) -> None:
    # given a topic whose type is a plain class
    checkout = copy_of_checkout(tmp_path)
    add_topic(checkout, "\n\nclass WearEvent:\n    machine: str\n", ENTRY)
    # when the schemas are generated
    done = run_python(checkout, "-m", "wheeltapper.schemas.generate")
    # then the topic is named, and what is missing
    assert done.returncode == 1
    assert "topic 'wear-events': WearEvent is no pydantic model" in done.stderr
    assert "json_form=" in done.stderr


def test_a_page_without_its_markers_is_named(tmp_path: Path) -> None:
    # given a page whose generated part was deleted
    checkout = copy_of_checkout(tmp_path)
    page = checkout / "docs" / "deploy.md"
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- end of rights -->\n", ""), encoding="utf-8")
    # when the pages are generated
    done = run_python(checkout, "-m", "wheeltapper.schemas.generate")
    # then the page and the part are named
    assert done.returncode == 1
    assert "docs/deploy.md: the generated part 'rights' is not there" in done.stderr


def test_names_are_words_with_hyphens_and_none_is_another_setting() -> None:
    assert [name for name in TOPICS if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name) or name == "prefix"] == []
    assert [name for name, spec in TOPICS.items() if name != spec.name] == []


def test_each_message_type_has_one_topic() -> None:
    models = [spec.model for spec in TOPICS.values() if spec.model is not None]

    assert len(models) == len(set(models))
    assert all(bool(spec.codecs) == (spec.model is not None) for spec in TOPICS.values())


def test_conditions_of_access_are_settings_that_are_on_or_off() -> None:
    # given every setting that an entry names
    conditions = {access.setting for spec in TOPICS.values() for access in spec.access if access.setting}
    assert conditions
    for condition in conditions:
        section, _, key = condition.partition(".")
        # then it is a boolean of the worker's settings
        assert isinstance(getattr(getattr(Settings(), section), key), bool), condition


def test_only_sensors_come_from_outside_and_a_worker_uses_all_but_labels() -> None:
    assert [name for name, spec in TOPICS.items() if spec.is_input] == [SENSORS, AUDIO]
    assert {name for name, spec in TOPICS.items() if not spec.access_of(Program.WORKER)} == {"labels"}


def test_a_worker_needs_the_topics_of_what_is_enabled() -> None:
    # given a worker that scores and alerts alone, and one that does all it can
    off = {"enabled": False}
    quiet = load_settings(scoring={"publish_scores": False}, control=off, drift=off)
    busy = load_settings(labels={"enabled": True})
    # when it is asked what they need, the second of them with microphones
    needed = [
        {name for name, spec in TOPICS.items() if is_needed(spec, each, inputs)}
        for each, inputs in ((quiet, {SENSORS}), (busy, {SENSORS, AUDIO}))
    ]
    # then the difference is these topics
    assert needed[0] == {"sensors", "alerts", "localizations", "dead-letters", "state"}
    others = {"audio", "scores", "label-requests", "models", "alarm-commands", "adaptations", "drift"}
    assert needed[1] == needed[0] | others


def test_full_names_are_those_of_every_topic_and_no_other_name_has_one() -> None:
    topics = load_settings(topics={"prefix": "hall4.", "dead_letters": "dlq"}).topics

    assert topics.full_names() == {name: "dlq" if name == "dead-letters" else f"hall4.{name}" for name in TOPICS}
    for name in ("prefix", "nothing", "dead_letters"):
        with pytest.raises(KeyError):
            topics.full_name(name)
