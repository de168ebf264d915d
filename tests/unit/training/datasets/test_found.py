from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.cli import main
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.found import found
from wheeltapper.training.datasets.registry import (
    DATASETS,
    EVERY_DATASET,
    WITHOUT_FOLDER,
    dataset_folder,
    dataset_info,
    entity_help,
    load_series,
)
from wheeltapper.training.datasets.sound import simulated

ROWS = 40


@pytest.fixture(scope="module", autouse=True)
def simulated_sound_is_made_once() -> Iterator[None]:
    """Making it takes seconds, and several tests count it."""
    loader = cache(simulated.load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "load", loader)
        yield
    loader.cache_clear()


def write_machine(folder: Path, name: str, width: int, rows: int = ROWS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(rows, dtype=np.uint8)
    labels[10:15] = 1
    values = np.random.default_rng(0).random((rows, width), dtype=np.float32)
    np.savez(folder / f"{name}.npz", train=values, test=values, test_label=labels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two good machines of SMD in a folder of its long name, an ASD of which one server is broken, an empty NAB."""
    write_machine(tmp_path / "ServerMachineDataset", "machine-1-1", 38)
    write_machine(tmp_path / "ServerMachineDataset", "machine-1-2", 38)
    write_machine(tmp_path / "asd", "omi-1", 19)
    write_machine(tmp_path / "asd", "omi-2", 18)
    (tmp_path / "nab").mkdir()
    return tmp_path


def test_every_data_set_is_found_broken_or_missing(root: Path) -> None:
    by_name = {dataset.name: dataset for dataset in found(root)}
    assert tuple(by_name) == EVERY_DATASET
    smd = by_name["smd"]
    assert (smd.state, smd.folder) == ("found", root / "ServerMachineDataset")
    assert smd.entities == ("machine-1-1", "machine-1-2")
    assert (smd.rows, smd.test_rows, smd.channels, smd.anomalous_rows) == (4 * ROWS, 2 * ROWS, 38, 10)
    # What can be read of a broken set is counted; the rest is named.
    asd = by_name["asd"]
    assert (asd.state, asd.entities, asd.rows) == ("broken", ("omi-1", "omi-2"), 2 * ROWS)
    assert len(asd.errors) == 1
    assert "omi-2.npz: 'train' has shape (40, 18)" in asd.errors[0]
    assert by_name["nab"].state == "broken"
    assert (by_name["psm"].state, by_name["psm"].folder, by_name["psm"].entities) == ("missing", None, ())
    # What ships needs no folder.
    assert (by_name["simulated"].state, by_name["simulated"].folder) == ("found", None)


def test_listing_alone_reads_no_data(root: Path) -> None:
    by_name = {dataset.name: dataset for dataset in found(root, counted=False)}
    assert by_name["asd"].entities == ("omi-1", "omi-2")
    assert (by_name["asd"].state, by_name["asd"].rows) == ("found", None)


def test_without_a_root_the_variable_decides(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEELTAPPER_DATA", str(root))
    assert {dataset.name for dataset in found(counted=False) if dataset.entities} == {
        "smd",
        "asd",
        "simulated",
        "simulated-sound",
    }
    monkeypatch.delenv("WHEELTAPPER_DATA")
    assert {dataset.name for dataset in found(counted=False) if dataset.entities} == {"simulated", "simulated-sound"}
    with pytest.raises(InputError, match="is no folder; expected one that holds folders such as smd/"):
        found(root / "nowhere")


def test_a_folder_by_any_of_its_names_is_found_below_the_variable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHEELTAPPER_DATA", str(root))
    assert load_series("smd", None, "machine-1-2").test.shape == (ROWS, 38)
    with pytest.raises(
        InputError, match=r"psm does not exist; WHEELTAPPER_DATA is .* expected a folder that holds 'psm', or 'PSM'"
    ):
        load_series("psm")
    assert dataset_folder("msl", root) is None
    (root / "smap_msl").mkdir()
    assert dataset_folder("msl", root) == dataset_folder("smap-telemetry", root) == root / "smap_msl"


def test_every_data_set_says_who_offers_it_and_under_what_terms() -> None:
    for name in EVERY_DATASET:
        info = dataset_info(name)
        assert all((info.title, info.publisher, info.page, info.licence, info.kind, info.entity, info.train)), name
        assert info.page.startswith("https://") or name in {"csv", "simulated", "wav", "simulated-sound"}
        assert bool(info.folders) != (name in WITHOUT_FOLDER)
        assert info.variant_of in {"", *DATASETS}
        assert f"{name}: {info.entity}" in entity_help()
    assert [name for name in DATASETS if dataset_info(name).scaled_over_test] == ["smd", "asd"]
    with pytest.raises(InputError, match=r"no data set 'yahoo-a3'; .* did you mean 'yahoo-a"):
        dataset_info("yahoo-a3")


def test_the_command_prints_what_is_there_broken_and_missing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "--data", str(root)]) == 0
    text = capsys.readouterr().out
    there, broken, missing = text.split("\n\n")
    smd = next(line for line in there.splitlines() if line.startswith("smd "))
    assert smd.split() == ["smd", "2", "38", "160", "80", "10", "servers", str(root / "ServerMachineDataset")]
    assert "  asd: " in broken
    assert "  nab: " in broken
    assert "psm " in missing
    assert "https://github.com/eBay/RANSynCoders" in missing
    assert "psm " not in there + broken


def test_the_command_prints_json_with_what_is_known_of_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "--data", str(root), "--json", "--quick"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert tuple(entries) == EVERY_DATASET
    assert entries["smd"]["state"] == "found"
    assert entries["smd"]["scaled_over_test"]
    assert entries["swat"]["page"] == "https://itrust.sutd.edu.sg/itrust-labs_datasets/"
    assert main(["datasets", "--data", str(root / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.data
def test_real_sets_are_listed_without_being_read(data_root: Path) -> None:
    started = time.process_time()
    by_name = {dataset.name: dataset for dataset in found(data_root, counted=False)}
    # Reading all of them takes seconds; listing, milliseconds.
    assert time.process_time() - started < 2
    assert len(by_name["smd"].entities) == 13
    assert len(by_name["asd"].entities) == 8
    assert by_name["smap"].folder == by_name["msl"].folder
