"""`wheeltapper config`: are the settings right, and where does each come from."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from tests.unit.stream.bundles import Recipe, write_bundle
from wheeltapper.cli import main
from wheeltapper.stream.settings import RouteSetting, Settings, load_settings
from wheeltapper.stream.settings.origins import settings_in_force, toml_value


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WHEELTAPPER_"):
            monkeypatch.delenv(name)


def test_every_setting_is_shown_and_read_back_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given settings of all kinds: numbers, switches, tables, routes, paths
    config = tmp_path / "worker.toml"
    config.write_text(
        """
        [routes]
        "line=1;press[3]" = { bundles = ["a", "b"], exact = true, area = 'hall "2"' }
        "pump-*" = "bundles/pumps"
        [input]
        rename = { "TT-101" = "temperature" }
        [threshold]
        raise_level = 1.5
        [control]
        enabled = false
        """
    )
    # when all are shown
    assert main(["config", "show", "--config", str(config), "--all"]) == 0
    shown = capsys.readouterr().out
    # then what is shown is TOML that gives the same settings
    (tmp_path / "again.toml").write_text(shown)
    assert load_settings(tmp_path / "again.toml") == load_settings(config)
    assert {(section, key) for section, values in tomllib.loads(shown).items() for key in values} <= {
        (setting.section, setting.key) for setting in settings_in_force(config)
    }


def test_what_differs_is_shown_with_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "worker.toml"
    config.write_text('[kafka]\nbrokers = "kafka-1:9092"\ngroup = "plant"\n')
    monkeypatch.setenv("WHEELTAPPER_KAFKA__GROUP", "of-the-variable")
    monkeypatch.setenv("WHEELTAPPER_KAFKA__SASL_PASSWORD", "very-secret")
    assert main(["config", "show", "--config", str(config)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["[kafka]"],
        ["brokers", "=", '"kafka-1:9092"', "#", str(config)],
        ["group", "=", '"of-the-variable"', "#", "WHEELTAPPER_KAFKA__GROUP"],
        ["#", "sasl_password", "=", "(set,", "not", "shown)", "#", "WHEELTAPPER_KAFKA__SASL_PASSWORD"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1e-05, "1e-05"),
        (float("inf"), "inf"),
        ("a\tb\x7f'\"é", '"a\\tb\\u007f\'\\"é"'),
        ({"ns=2;s=T 1": "x", "plain": 3}, '{ "ns=2;s=T 1" = "x", plain = 3 }'),
        ({}, "{}"),
        (RouteSetting(bundles=("a",)), '"a"'),
        (RouteSetting(bundles=("a", "b")), '["a", "b"]'),
        (None, None),
    ],
)
def test_values_are_written_as_toml(value: object, text: str | None) -> None:
    assert toml_value(value) == text
    if text is not None and not isinstance(value, RouteSetting):
        assert tomllib.loads(f"x = {text}")["x"] == value


def test_check_loads_what_a_worker_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "b", Recipe())
    config = tmp_path / "worker.toml"
    config.write_text(f'[routes]\n"pump-*" = "{bundle}"\n"pump-1" = "{bundle}"\n')
    assert main(["config", "check", "--config", str(config)]) == 0
    assert f"2 routes to 1 bundle, loaded: {Recipe().bundle_id}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[routes]\n"pump-*" = "nowhere"', "nowhere"),
        ("[maintenance]\ncalendar = 'nowhere.ics'", "nowhere.ics"),
        ("[kafka]\nsecurity_protocol = 'SSL'\nssl_ca_location = 'nowhere.pem'", "nowhere.pem"),
        ("[threshold]\nraise_levl = 2", "did you mean 'raise_level'?"),
        ("[routs]\n'pump-*' = 'x'", "did you mean 'routes'?"),
    ],
)
def test_check_says_what_is_wrong(tmp_path: Path, text: str, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "worker.toml"
    config.write_text(text)
    assert main(["config", "check", "--config", str(config)]) == 2
    assert found in capsys.readouterr().err


def test_the_defaults_differ_from_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show"]) == 0
    assert capsys.readouterr().out.startswith("# all of it is as by default")
    assert all(setting.origin == "default" for setting in settings_in_force(None))
    assert {setting.section for setting in settings_in_force(None)} == set(Settings.model_fields) - {"routes"}
