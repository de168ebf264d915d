"""The files in deploy/ say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wheeltapper.stream.settings import Settings, load_settings

CHECKOUT = Path(__file__).resolve().parents[2]
WORKER_TOML = CHECKOUT / "deploy" / "worker.toml"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """The example with every setting uncommented."""
    text = re.sub(r"^# ([a-z_]+ = )", r"\1", WORKER_TOML.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_the_example_as_it_stands_is_all_defaults() -> None:
    # when the example is loaded, then it changes nothing
    assert load_settings(WORKER_TOML) == load_settings(None)


def test_the_example_shows_every_setting_and_no_other(shown: dict[str, dict[str, object]]) -> None:
    # given the settings that the code knows
    known = {
        section: set(field.annotation.model_fields)  # type: ignore[union-attr]
        for section, field in Settings.model_fields.items()
    }
    # then the example has each of them
    assert {section: set(values) for section, values in shown.items()} == known


def test_the_values_shown_are_the_defaults(shown: dict[str, dict[str, object]]) -> None:
    # given every value shown, when it is taken as a setting
    settings = Settings.model_validate(shown)
    # then it is the default, or there is none
    for section, values in Settings():
        for key, default in values:
            if default is not None:
                assert getattr(getattr(settings, section), key) == default, f"{section}.{key}"
    assert settings.topics.full_names() == Settings().topics.full_names()


@pytest.mark.parametrize(("target", "runtime"), [("cpu", "onnxruntime"), ("cuda", "onnxruntime-gpu[cuda,cudnn]")])
def test_an_image_gets_the_core_and_one_onnxruntime(target: str, runtime: str) -> None:
    # given the core dependencies
    core = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    # when an image's requirements are made
    script = CHECKOUT / "deploy" / "worker_requirements.py"
    done = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=True)
    # then they are the same but for the runtime
    lines = done.stdout.split("\n")[:-1]
    assert [line for line in lines if line.startswith("onnxruntime")] == [runtime]
    assert [line for line in lines if line != runtime] == [line for line in core if not line.startswith("onnxruntime")]


def test_every_pin_is_exact_and_without_a_local_version() -> None:
    # given the constraints that `make setup` and the images use
    for name in ("constraints.txt", "deploy/constraints-cuda.txt"):
        lines = [line for line in (CHECKOUT / name).read_text().splitlines() if line and not line.startswith("#")]
        # then each line pins one version that any index has
        assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []
        assert lines == sorted(lines, key=str.lower)
