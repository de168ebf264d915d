"""`wheeltapper train` and `pack` as a person calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import normal_rows
from wheeltapper.cli import main
from wheeltapper.schemas.bundle import open_bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in SMD's layout with one machine."""
    folder = tmp_path_factory.mktemp("smd")
    rows = normal_rows(3000, 38)
    np.savez(folder / "machine-1-1.npz", train=rows[:2000], test=rows[2000:], test_label=np.zeros(1000, np.uint8))
    return folder


def run_without(packages: tuple[str, ...], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter in which some packages are not installed."""
    script = (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {packages!r}:\n"
        "            raise ModuleNotFoundError(f\"No module named '{name}'\", name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from wheeltapper.cli import main\n"
        f"sys.exit(main({arguments!r}))\n"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)


def options(data: Path, out: Path) -> list[str]:
    return ["--dataset", "smd", "--data", str(data), "--entity", "machine-1-1", "--out", str(out)]


def test_train_writes_a_bundle_and_says_what_it_did(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", "pca", *options(data, tmp_path / "b"), "--window", "16", "--stride", "2"])
    assert code == 0
    manifest = open_bundle(tmp_path / "b").manifest
    assert (manifest.detector, manifest.window, manifest.stride) == ("pca", 16, 2)
    text = capsys.readouterr().out
    for expected in (
        "2000 rows",
        "alarm level",
        "0.25 false alarms per machine and day",
        manifest.bundle_id,
        "note   ",
    ):
        assert expected in text


def test_pack_takes_the_graph_that_train_wrote(data: Path, tmp_path: Path) -> None:
    assert main(["train", "range-bands", *options(data, tmp_path / "a"), "--window", "30"]) == 0
    code = main(["pack", str(tmp_path / "a" / "model.onnx"), *options(data, tmp_path / "b.zip"), "--name", "mine"])
    assert code == 0
    packed = open_bundle(tmp_path / "b.zip")
    assert (packed.manifest.detector, packed.manifest.window) == ("mine", 30)
    packed.open_graph(device="cpu")


def test_preset_sets_the_leak(data: Path, tmp_path: Path) -> None:
    arguments = ["train", "range-bands", *options(data, tmp_path / "b"), "--window", "30", "--set", "preset=sustained"]
    assert main(arguments) == 0
    assert open_bundle(tmp_path / "b").manifest.parameters["leak"] == 0.5


def test_help_of_a_detector_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    # when help is asked for after a detector's name
    with pytest.raises(SystemExit) as ended:
        main(["train", "alora", "--help"])
    # then its presets, its settings and those of its training are there, with default, range and meaning
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for expected in (
        "--set preset=NAME",
        "small: seconds of training",
        "penalty_gamma 1 a number above 0",
        "patience 3",
    ):
        assert expected in shown
    # when no detector is named: then it is that of the command
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--false-alarms-per-day" in capsys.readouterr().out


def test_what_auto_chooses_is_the_bundle_of_that_detector(data: Path, tmp_path: Path) -> None:
    # given the detector that auto chooses for this machine, with and without auto
    assert main(["train", "auto", *options(data, tmp_path / "a"), "--window", "30", "--no-torchscript"]) == 0
    assert main(["train", "range-bands", *options(data, tmp_path / "b"), "--window", "30", "--no-torchscript"]) == 0
    chosen, named = open_bundle(tmp_path / "a").manifest, open_bundle(tmp_path / "b").manifest
    # then the id is the same, and the manifest says why it was chosen
    assert chosen.bundle_id == named.bundle_id
    assert set(chosen.parameters) - set(named.parameters) == {"chosen_by_auto"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "leek=1"], "did you mean 'leak'"),
        (["--set", "preset=best"], "expected one of events, sustained"),
        (["--window", "5000"], "train rows, range-bands needs at least"),
        (["--stride", "0"], "stride is 0"),
        (["--false-alarms-per-day", "0"], "expected a number above 0"),
        (["--epochs", "0"], "epochs is 0"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    extra: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", "range-bands", *options(data, tmp_path / "b"), *extra])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "b").exists()


def test_unknown_detector_names_the_known_ones(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "range_band", *options(data, tmp_path / "b")]) == 2
    assert "did you mean 'range-bands'" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["missing.onnx", "text.onnx"])
def test_pack_refuses_what_is_no_graph(
    model: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.onnx").write_text("not a graph")
    assert main(["pack", str(tmp_path / model), *options(data, tmp_path / "b")]) == 2
    assert model in capsys.readouterr().err


def test_training_range_bands_needs_no_torch(data: Path, tmp_path: Path) -> None:
    # When range bands are trained where nothing of the training extra but numpy and onnx is installed
    absent = ("torch", "sklearn", "scipy", "pandas", "aeon", "matplotlib", "numba")
    done = run_without(absent, ["train", "range-bands", *options(data, tmp_path / "b"), "--window", "30"])
    # Then a bundle without a twin is written, with the id that a machine with torch would give it
    assert done.returncode == 0, done.stderr
    without = open_bundle(tmp_path / "b")
    assert "model.ts" not in without.files
    assert main(["train", "range-bands", *options(data, tmp_path / "c"), "--window", "30"]) == 0
    assert open_bundle(tmp_path / "c").manifest.bundle_id == without.manifest.bundle_id


def test_alora_without_torch_says_what_to_install(data: Path, tmp_path: Path) -> None:
    done = run_without(("torch",), ["train", "alora", *options(data, tmp_path / "b")])
    assert done.returncode == 2
    assert "needs torch, which is not installed: pip install 'wheeltapper[training]'" in done.stderr


@pytest.mark.export
@pytest.mark.nightly
def test_another_machine_of_the_data_set_can_be_the_source(data: Path, tmp_path: Path) -> None:
    # given a second machine with labelled faults in its test part
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "machine-1-1.npz").write_bytes((data / "machine-1-1.npz").read_bytes())
    rows = normal_rows(3000, 38, seed=3)
    labels = np.zeros(1000, np.uint8)
    for start in range(100, 1000, 200):
        labels[start : start + 40] = 1
        rows[2000 + start : 2040 + start, :5] *= 3
    np.savez(folder / "machine-1-2.npz", train=rows[:2000], test=rows[2000:], test_label=labels)
    small = ["iterations=20", "channels=8", "hidden=8", "latent=16", "batch_size=32"]
    sets = [word for text in ("sources=machine-1-2", *small) for word in ("--set", text)]
    # when a detector is adapted from it
    arguments = [*options(folder, tmp_path / "b"), "--window", "16", "--no-torchscript", *sets]
    code = main(["train", "domain-adaptation", *arguments])
    # then the bundle says where it learned
    assert code == 0
    warnings = open_bundle(tmp_path / "b").manifest.warnings
    assert any("faults are those of machine-1-2" in warning for warning in warnings)
    # and a machine that is not there is one line
    sets[1] = "sources=machine-9-9"
    assert main(["train", "domain-adaptation", *options(folder, tmp_path / "c"), "--window", "16", *sets]) == 2
