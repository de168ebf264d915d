"""Settings: a TOML file, variables over it, options over both; mistakes are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.settings import Settings, confluent_config, load_settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WHEELTAPPER_"):
            monkeypatch.delenv(name)


def toml(folder: Path, text: str) -> Path:
    path = folder / "worker.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(config: Path | None = None, **options: Any) -> str:
    """The one line that is said of wrong settings."""
    with pytest.raises(InputError) as caught:
        load_settings(config, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings() == Settings()


def test_variables_win_over_the_file_and_options_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a file, variables and an option that each set the same, and something of their own
    config = toml(
        tmp_path,
        """
        [kafka]
        brokers = "file:9092"
        group = "of the file"
        [threshold]
        method = "spot"
        spot_tail = 0.05
        raise_level = 2
        """,
    )
    monkeypatch.setenv("WHEELTAPPER_KAFKA__BROKERS", "variable:9092")
    monkeypatch.setenv("WHEELTAPPER_THRESHOLD__SPOT_TAIL", "0.1")
    monkeypatch.setenv("WHEELTAPPER_SCORING__PUBLISH_SCORES", "false")
    monkeypatch.setenv("WHEELTAPPER_WORKER__HTTP_PORT", "8080")
    # when they are loaded
    settings = load_settings(config, kafka={"brokers": "option:9092", "group": None})
    # then options win over variables and these over the file; what is left out leaves the others alone
    assert (settings.kafka.brokers, settings.kafka.group) == ("option:9092", "of the file")
    assert settings.threshold.method == "spot"
    assert (settings.threshold.spot_tail, settings.threshold.raise_level) == (0.1, 2.0)
    assert (settings.scoring.publish_scores, settings.worker.http_port) == (False, 8080)


def test_a_table_may_come_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    # given new names of fields, as TOML in a variable
    monkeypatch.setenv("WHEELTAPPER_INPUT__RENAME", '{"TT-101" = "temperature", flow_1 = "flow"}')
    # when settings are loaded: then they are a table
    assert load_settings().input.rename == {"TT-101": "temperature", "flow_1": "flow"}


@pytest.mark.parametrize("value", ["{TT = temperature}", "{TT", '{"a" = "b"} x'])
def test_a_table_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    # given a variable that is no TOML table, when settings are loaded: then the variable is named
    monkeypatch.setenv("WHEELTAPPER_INPUT__RENAME", value)
    assert complaint().startswith("WHEELTAPPER_INPUT__RENAME: not a TOML table")


def test_variables_of_other_parts_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    # given the variables that commands and tests read
    monkeypatch.setenv("WHEELTAPPER_DATA", "/data")
    monkeypatch.setenv("WHEELTAPPER_TEST_KAFKA", "/opt/kafka/start")
    # when settings are loaded: then they are left alone
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[threshold]\nmetod = 'spot'", "unknown setting 'threshold.metod', did you mean 'method'?"),
        ("[treshold]\nmethod = 'spot'", "unknown section 'treshold', did you mean 'threshold'?"),
        ("[treshold]", "unknown section 'treshold', did you mean 'threshold'?"),
        ("[kafka]\nbootstrap = 'x'", "unknown setting 'kafka.bootstrap'; [kafka] has ['brokers', "),
        ("method = 'spot'", "'method' stands outside of a section; expected one of ['kafka', "),
        ("kafka = 'localhost:9092'", "'kafka' stands outside of a section"),
        ("[threshold]\nmethod = spot", "not a readable TOML file (Invalid value"),
        ("[threshold", "not a readable TOML file"),
        (
            "[threshold]\nmethod = 'Spot'",
            "setting threshold.method: Input should be 'budget', 'fixed', 'spot', 'dspot', 'aci', 'quantile' or 'ewma', found "
            "'Spot'",
        ),
        ("[threshold]\nraise_level = 'high'", "setting threshold.raise_level: "),
        ("[threshold]\nraise_level = 0", "setting threshold.raise_level: Input should be greater than 0, found 0"),
        (
            "[threshold]\nraise_level = inf",
            "setting threshold.raise_level: Input should be less than or equal to 1000000000",
        ),
        ("[threshold]\nfalse_alarms_per_day = nan", "setting threshold.false_alarms_per_day: "),
        ("[threshold]\nclear_ratio = 1.5", "setting threshold.clear_ratio: "),
        ("[threshold]\nmin_duration_s = -1", "setting threshold.min_duration_s: "),
        (
            "[threshold]\nmin_duration = 3",
            "setting 'threshold.min_duration' is gone; write threshold.min_duration_s, in seconds instead of windows",
        ),
        (
            "[threshold]\nclear_duration = 10",
            "setting 'threshold.clear_duration' is gone; write threshold.clear_duration_s, in seconds instead of windows",
        ),
        ("[windows]\nstride = 0", "setting windows.stride: "),
        ("[input]\ntime_unit = 'hours'", "setting input.time_unit: "),
        ("[input]\nrename = 'a'", "setting input.rename: "),
        ("[input]\nrename = {a = 1}", "setting input.rename.a: "),
        ("[kafka]\ngroup = ''", "setting kafka.group: "),
        ("[worker]\nhttp_port = 70000", "setting worker.http_port: "),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, said: str) -> None:
    # given a file with a mistake, when it is loaded: then one line says where and what
    config = toml(tmp_path, text)
    found = complaint(config)
    assert said in found
    assert str(config) in found


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WHEELTAPPER_TRESHOLD__METHOD", "spot", "unknown section 'treshold', did you mean 'threshold'?"),
        ("WHEELTAPPER_THRESHOLD__METOD", "spot", "unknown setting 'threshold.metod', did you mean 'method'?"),
        ("WHEELTAPPER_THRESHOLD", "spot", "names a section but no setting; write WHEELTAPPER_THRESHOLD__METHOD"),
        ("WHEELTAPPER_BROKERS", "a:1", "unknown section 'brokers'"),
        ("WHEELTAPPER_WORKER__HTTP_PORT", "http", "setting worker.http_port: "),
        ("WHEELTAPPER_THRESHOLD__RAISE_LEVEL", "-1", "setting threshold.raise_level: "),
        ("WHEELTAPPER_INPUT__RENAME", "TT=flow", "setting input.rename: "),
    ],
)
def test_mistakes_in_variables_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    # given a variable with a mistake, when settings are loaded: then one line says where and what
    monkeypatch.setenv(name, value)
    assert said in complaint()


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    # given no file, a folder, and a file of other bytes, when they are loaded: then the path is named
    missing, binary = tmp_path / "none.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert complaint(missing) == f"{missing}: no such settings file; give the path of a TOML file to --config"
    for path in (tmp_path, binary):
        assert complaint(path).startswith(f"{path}: not a readable TOML file")


def test_an_empty_file_is_as_none(tmp_path: Path) -> None:
    assert load_settings(toml(tmp_path, "# nothing\n[kafka]\n")) == Settings()


@pytest.mark.parametrize("key", ["sasl_password", "ssl_key_password"])
@pytest.mark.parametrize("value", ["['hunter2']", "{word = 'hunter2'}"])
def test_secrets_are_not_shown_in_errors(tmp_path: Path, key: str, value: str) -> None:
    # given a password of a wrong type, when it is loaded: then the setting is named, the value is not
    said = complaint(toml(tmp_path, f"[kafka]\n{key} = {value}"))
    assert f"kafka.{key}" in said
    assert "hunter2" not in said


def test_secrets_under_a_wrong_name_are_not_shown_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a password under a misspelt name, in the file and as a variable, when it is loaded
    for said in (
        complaint(toml(tmp_path, "[kafka]\nsasl_pasword = 'hunter2'")),
        complaint(toml(tmp_path, "sasl_password = 'hunter2'")),
        complaint(toml(tmp_path, "[kafka]\nsasl_password = hunter2")),
    ):
        # then its value is not shown
        assert "hunter2" not in said
    monkeypatch.setenv("WHEELTAPPER_KAFKA__PASSWORD", "hunter2")
    assert "hunter2" not in complaint()


def test_secrets_are_not_shown_in_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a password, when settings are printed or dumped: then it is not in them, but clients get it
    monkeypatch.setenv("WHEELTAPPER_KAFKA__SASL_PASSWORD", "hunter2")
    settings = load_settings(kafka={"security_protocol": "SASL_SSL", "sasl_username": "worker"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    assert confluent_config(settings.kafka)["sasl.password"] == "hunter2"


def test_clients_are_told_of_files_that_exist(tmp_path: Path) -> None:
    # given an authority's file, and a key that is not there
    authority = toml(tmp_path, "a certificate")
    settings = load_settings(kafka={"security_protocol": "SSL", "ssl_ca_location": authority})
    # when a client is configured: then it gets the path, without SASL
    assert confluent_config(settings.kafka) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority),
    }
    settings = load_settings(kafka={"ssl_key_location": tmp_path / "none.key"})
    with pytest.raises(InputError, match=r"none.key: no such file; kafka.ssl_key_location must name a PEM file"):
        confluent_config(settings.kafka)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threshold.method = "spot"  # type: ignore[misc]


def test_topics_have_a_prefix_or_a_name_of_their_own() -> None:
    # given a prefix, and a plant's own name for one topic
    topics = load_settings(topics={"prefix": "hall4.", "sensors": "scada", "dead_letters": "dlq"}).topics
    # when full names are asked for
    names = [topics.full_name(name) for name in ("sensors", "dead-letters", "alerts", "state")]
    # then they are these
    assert names == ["scada", "dlq", "hall4.alerts", "hall4.state"]


# -- routes -----------------------------------------------------------------------------------------------------------


def test_routes_have_machines_for_keys_and_three_forms(tmp_path: Path) -> None:
    # given ids with any characters
    config = toml(
        tmp_path,
        """
        [routes]
        "pump-*" = "bundles/pumps"
        "line=1;press[3]" = ["bundles/a", "bundles/b"]
        mill-7 = { bundles = "bundles/mills", area = "hall 2/line 1", exact = true }
        """,
    )
    # when they are loaded, then each says its bundles
    routes = load_settings(config).routes
    assert {name: route.bundles for name, route in routes.items()} == {
        "pump-*": ("bundles/pumps",),
        "line=1;press[3]": ("bundles/a", "bundles/b"),
        "mill-7": ("bundles/mills",),
    }
    assert (routes["mill-7"].area, routes["mill-7"].exact) == ("hall 2/line 1", True)


def test_routes_are_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEELTAPPER_ROUTES", '{"pump-*" = "bundles/pumps"}')
    assert load_settings().routes["pump-*"].bundles == ("bundles/pumps",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"pump-*" = 3', "routes.pump-*"),
        ('"pump-*" = []', "routes.pump-*.bundles"),
        ('"pump-*" = { bundle = "bundles/pumps" }', "did you mean 'bundles'?"),
        ('"pump-*" = { bundles = [1] }', "routes.pump-*.bundles.0"),
        ('pump.7 = "bundles/pumps"', 'an id with dots is one key in quotes: "pump.7"'),
        ('"" = "bundles/pumps"', "[routes] has an empty key"),
    ],
)
def test_a_route_that_says_nothing_is_named(tmp_path: Path, text: str, found: str) -> None:
    assert found in complaint(toml(tmp_path, f"[routes]\n{text}"))


def test_routes_are_one_table(tmp_path: Path) -> None:
    assert "[routes] is one table" in complaint(toml(tmp_path, '[[routes]]\nmachines = "pump-*"'))


def test_routes_as_a_variable_each_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEELTAPPER_ROUTES__PUMP", "bundles/pumps")
    assert "WHEELTAPPER_ROUTES=" in complaint()
