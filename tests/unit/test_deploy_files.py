"""The files in deploy/ say what the code says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from wheeltapper.cli import build_parser
from wheeltapper.stream.settings import Settings, load_settings

CHECKOUT = Path(__file__).resolve().parents[2]
WORKER_TOML = CHECKOUT / "deploy" / "worker.toml"
UNITS = ("wheeltapper-worker.service", "wheeltapper-adapt-worker.service")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """The example with every setting uncommented."""
    text = re.sub(r"^# ([a-z_0-9]+ = )", r"\1", WORKER_TOML.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_the_example_as_it_stands_is_all_defaults() -> None:
    # when the example is loaded, then it changes nothing
    assert load_settings(WORKER_TOML) == load_settings(None)


def test_the_example_shows_every_setting_and_no_other(shown: dict[str, dict[str, object]]) -> None:
    # given the settings that the code knows
    known = {
        section: set(field.annotation.model_fields)  # type: ignore[union-attr]
        for section, field in Settings.model_fields.items()
        if section != "routes"  # whose keys are machines
    }
    # then the example has each of them
    assert {section: set(values) for section, values in shown.items()} == {**known, "routes": set()}


def test_the_values_shown_are_the_defaults(shown: dict[str, dict[str, object]]) -> None:
    # given every value shown, when it is taken as a setting
    settings = Settings.model_validate(shown)
    # then it is the default, or there is none
    for section, values in Settings():
        if section == "routes":
            continue
        for key, default in values:
            if default is not None:
                assert getattr(getattr(settings, section), key) == default, f"{section}.{key}"
    assert settings.topics.full_names() == Settings().topics.full_names()


@pytest.mark.parametrize(("target", "runtime"), [("cpu", "onnxruntime"), ("cuda", "onnxruntime-gpu[cuda,cudnn]")])
def test_an_image_gets_the_core_the_registrys_client_and_one_onnxruntime(target: str, runtime: str) -> None:
    # given the core dependencies, and the extra of schema registries
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core, registry = project["dependencies"], project["optional-dependencies"]["registry"]
    # when an image's requirements are made
    script = CHECKOUT / "deploy" / "worker_requirements.py"
    done = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=True)
    # then they are these but for the runtime
    lines = done.stdout.split("\n")[:-1]
    assert [line for line in lines if line.startswith("onnxruntime")] == [runtime]
    expected = [line for line in core if not line.startswith("onnxruntime")] + registry
    assert sorted(line for line in lines if line != runtime) == sorted(expected)


LOCKED = sorted((CHECKOUT / "deploy").glob("requirements-*.txt"))


@pytest.mark.parametrize("file", LOCKED, ids=[file.stem for file in LOCKED])
def test_locked_packages_have_hashes_and_are_those_that_the_tests_ran_with(file: Path) -> None:
    # given the packages of an image and the pins
    entries = re.findall(
        r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$",
        file.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    pins: dict[str, str] = {}
    for name in ("constraints.txt", "deploy/constraints-cuda.txt"):
        lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
        pins |= dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line and line[0] != "#")
    # then nothing in the file is without a hash, and each version is a pin
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] not in "# "]
    assert len(entries) == len(lines) > 20
    assert {name: version for name, version, _ in entries} == {name: pins.get(name) for name, _, _ in entries}
    # and everything that the image needs is in it
    script = CHECKOUT / "deploy" / "worker_requirements.py"
    target = file.stem.removeprefix("requirements-")
    done = subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=True)
    wanted = {re.split(r"[<>=;\[ ]", line)[0].lower() for line in done.stdout.splitlines()}
    assert wanted <= {name for name, _, _ in entries}


def test_the_image_that_adapts_gets_what_training_needs_too() -> None:
    # given the extras that an adaptation needs
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line for name in ("registry", "fit", "training", "calendar") for line in project["optional-dependencies"][name]
    ]
    # when its requirements are made
    script = CHECKOUT / "deploy" / "worker_requirements.py"
    done = subprocess.run([sys.executable, script, "adapt"], capture_output=True, text=True, check=True)
    # then it has them beside the core, and none by way of the project's own name
    lines = done.stdout.splitlines()
    assert {line for line in extras if not line.startswith("wheeltapper[")} <= set(lines)
    assert "onnxruntime" in lines
    assert [line for line in lines if line.startswith("wheeltapper")] == []


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    with (CHECKOUT / "deploy" / "compose.yaml").open(encoding="utf-8") as file:
        services: dict[str, Any] = yaml.safe_load(file)["services"]
    return services


def arguments_of(words: Sequence[str]) -> Any:
    """A command line as the program reads it, Compose's variables being what they are by default; a refusal fails the test."""
    return build_parser(words[0]).parse_args([re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words])


def test_every_container_runs_a_command_that_there_is_in_an_image_that_there_is(services: dict[str, Any]) -> None:
    # given the build targets of the Dockerfile
    dockerfile = (CHECKOUT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, flags=re.MULTILINE))
    ours = {name: service for name, service in services.items() if "build" in service}
    assert {"topics", "worker", "worker-cuda", "adapt-worker", "replay"} == set(ours)
    for service in ours.values():
        # then each service is built from one, and its command is taken
        assert service["build"]["target"] in targets
        assert service["image"] == f"wheeltapper:{service['build']['target']}"
        arguments_of(service["command"])


def test_workers_find_children_where_the_adapt_worker_puts_them(services: dict[str, Any]) -> None:
    # given what the adaptation worker is told
    adapt, worker = services["adapt-worker"], services["worker"]
    command = arguments_of(adapt["command"])
    # then its folder is a volume that it may write and every worker may read, under the same path
    assert f"adapted:{command.out}" in adapt["volumes"]
    for name in ("worker", "worker-cuda"):
        assert f"adapted:{command.out}:ro" in services[name]["volumes"]
    # and it knows the bundles, the broker and the settings of the workers
    assert command.bundle == arguments_of(worker["command"]).bundle
    assert command.config == arguments_of(worker["command"]).config
    assert set(adapt["volumes"]) >= {volume for volume in worker["volumes"] if not volume.startswith("adapted:")}
    key = "WHEELTAPPER_KAFKA__BROKERS"
    assert adapt["environment"][key] == worker["environment"][key]
    # and it is not started unless it is asked for
    assert adapt["profiles"] == ["adapt"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_a_command_that_there_is(unit: str, tmp_path: Path) -> None:
    # given a unit
    text = (CHECKOUT / "deploy" / "systemd" / unit).read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=(.+)$", text, flags=re.MULTILINE)
    program, *words = shlex.split(command)
    # then the program takes its words, and a mistake in them is not tried again and again
    assert arguments_of(words).command == unit.removeprefix("wheeltapper-").removesuffix(".service")
    assert "RestartPreventExitStatus=2" in text
    # and systemd has nothing to say against it, the program being there
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze to check the unit itself")
    there = tmp_path / unit
    there.write_text(text.replace(program, sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(there)], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit in line]) == (0, []), done.stderr


def test_both_units_have_the_same_settings_and_bundles() -> None:
    worker, adapt = (
        arguments_of(shlex.split(re.search(r"^ExecStart=\S+ (.+)$", text, flags=re.MULTILINE)[1]))  # type: ignore[index]
        for text in ((CHECKOUT / "deploy" / "systemd" / unit).read_text(encoding="utf-8") for unit in UNITS)
    )
    assert (worker.config, worker.bundle) == (adapt.config, adapt.bundle)


def test_every_pin_is_exact_and_without_a_local_version() -> None:
    # given the constraints that `make setup` and the images use
    for name in ("constraints.txt", "deploy/constraints-cuda.txt"):
        lines = [line for line in (CHECKOUT / name).read_text().splitlines() if line and not line.startswith("#")]
        # then each line pins one version that any index has
        assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)] == []
        assert lines == sorted(lines, key=str.lower)
