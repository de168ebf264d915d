"""`train --each`, `--pool`, `--rows`, `--force`: many machines by one command, and nothing overwritten by chance."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest

from tests.helpers.machines import normal_rows
from wheeltapper.cli import main
from wheeltapper.fleet import bundle_folder
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.routes import load_routes
from wheeltapper.stream.settings import load_settings

MINUTE = 60_000_000
START = 1_704_067_200_000_000  # 2024-01-01


def write_machine(folder: Path, name: str, rows: int = 1200, seed: int = 0) -> None:
    values = normal_rows(rows, 3, seed=seed) if seed else normal_rows(rows, 3)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "flow", "power", "speed"])
        for row, line in enumerate(values):
            table.writerow([iso_from_micros(START + row * MINUTE), *(f"{value:.5g}" for value in line)])


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pumps and a machine whose id looks like a pattern, and one with too few rows."""
    folder = tmp_path_factory.mktemp("plant")
    for name in ("pump-1", "pump-2", "line=1;press[3]"):
        write_machine(folder, name)
    write_machine(folder, "short", rows=30)
    return folder


def words(plant: Path, out: Path, *more: str) -> list[str]:
    return ["train", "l2-norm", "--dataset", "csv", "--data", str(plant), "--out", str(out), "--no-torchscript", *more]


def test_a_fleet_is_trained_by_one_command(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bundles"
    # when every machine is trained, of which one has too few rows
    assert main(words(plant, out, "--each", "--jobs", "2", "--rows", "0..600")) == 2
    said = capsys.readouterr().out
    # then each other has a bundle, the one that has none is named with the reason, and its log stays
    assert "3 bundles trained in" in said
    assert "by 2 processes, 1 failed: short" in said
    assert "short  failed: csv short: 30 train rows, l2-norm needs at least" in said
    assert [path.name for path in (out / ".logs").iterdir()] == ["short.log"]
    assert open_bundle(out / "pump-1").manifest.training_data.rows == 600
    # and a worker takes the routes as they are: the id that looks like a pattern is none
    settings = load_settings(out / "routes.toml")
    routes = load_routes((), settings)
    for name in ("pump-1", "line=1;press[3]"):
        route = routes.of(name)
        assert route is not None
        assert route.rules[0].manifest.training_data.entity == name
    assert routes.of("line=1;press3") is None
    # when it is called again for those that match a pattern, then what is there stays as it is
    before = (out / "pump-1" / "manifest.json").read_bytes()
    assert main(words(plant, out, "--each", "--entity", "pump-*")) == 0
    assert "2 of 2 bundles are there already and stay; --force trains them anew" in capsys.readouterr().out
    assert (out / "pump-1" / "manifest.json").read_bytes() == before
    assert set(tomllib.loads((out / "routes.toml").read_text())["routes"]) == {"pump-1", "pump-2", "line=1;press[3]"}


def test_machines_of_a_kind_share_one_bundle(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(plant, tmp_path / "pumps", "--pool", "--entity", "pump-*")) == 0
    assert "pool         2 machines, 1200 rows: pump-1, pump-2" in capsys.readouterr().out
    manifest = open_bundle(tmp_path / "pumps").manifest
    assert (manifest.training_data.entity, manifest.training_data.rows) == ("pump-*", 1200)


def test_a_bundle_is_not_overwritten_without_force(
    plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a bundle, as a folder and as a file
    for out in (tmp_path / "b", tmp_path / "b.zip"):
        assert main(words(plant, out, "--entity", "pump-1")) == 0
        capsys.readouterr()
        # when another is to be written there: then it is refused at once
        assert main(words(plant, out, "--entity", "pump-2")) == 2
        assert "a bundle is there already; --force replaces it" in capsys.readouterr().err
        assert open_bundle(out).manifest.training_data.entity == "pump-1"
        # and with --force it is replaced
        assert main(words(plant, out, "--entity", "pump-2", "--force")) == 0
        assert open_bundle(out).manifest.training_data.entity == "pump-2"


def test_pack_does_not_overwrite_either(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(plant, tmp_path / "b", "--entity", "pump-1")) == 0
    packed = [
        "pack",
        str(tmp_path / "b" / "model.onnx"),
        "--dataset",
        "csv",
        "--data",
        str(plant),
        "--entity",
        "pump-1",
    ]
    assert main([*packed, "--out", str(tmp_path / "b")]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--each", "--pool"], "give one of the two"),
        (["--jobs", "2"], "--jobs goes with --each"),
        (["--each", "--jobs", "0"], "1 or more"),
        (["--each", "--entity", "pmup-*"], "none of 4 machines fits"),
        (["--each", "--set", "windw=3"], "did you mean 'window'?"),
        (["--pool", "--entity", "pump-[12]", "--rows", "9..3"], "nothing lies between"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    plant: Path, tmp_path: Path, more: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(plant, tmp_path / "out", *more)) == 2
    assert found in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_fleet_is_not_written_into_a_bundle(plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(plant, tmp_path / "b.zip", "--each")) == 2
    assert "--each writes a folder of bundles" in capsys.readouterr().err


def test_a_file_of_routes_that_a_person_wrote_stays(
    plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routes.toml").write_text("[routes]\n")
    assert main(words(plant, tmp_path, "--each", "--entity", "pump-1")) == 0
    assert "stays as it is" in capsys.readouterr().out
    assert (tmp_path / "routes.toml").read_text() == "[routes]\n"


@pytest.mark.parametrize("name", ["pump-7", "a/b", "..", ".", "ns=2;s=Line[1].T*", "ü%2F", "C:\\x", "\x00\n"])
def test_every_id_has_a_folder_of_its_own_inside_of_out(name: str, tmp_path: Path) -> None:
    place = bundle_folder(tmp_path, name)
    assert place.parent == tmp_path
    assert place.name not in (".", "..")
    place.mkdir()
    assert place != bundle_folder(tmp_path, name + "x")


def test_sound_is_neither_pooled_nor_cut(tmp_path: Path) -> None:
    for option in (["--pool"], ["--rows", "0..9"]):
        assert main(["train", "auto", "--dataset", "simulated-sound", "--out", str(tmp_path / "b"), *option]) == 2


def test_a_pool_of_nothing_is_refused() -> None:
    from wheeltapper.training.datasets.pooled import pool

    with pytest.raises(InputError, match="no machine to pool"):
        pool([], "*")
