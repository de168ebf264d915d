from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets import smd
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

WIDTH = 38


def write_original(folder: Path, machine: str = "machine-1-1", rows: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """A machine in the layout of the original release: six decimals, no header, one label a line."""
    rng = np.random.default_rng(seed)
    parts = {"train": rng.random((rows + 3, WIDTH)), "test": rng.random((rows, WIDTH))}
    labels = np.zeros(rows, dtype=np.uint8)
    labels[10:20] = labels[30:32] = 1
    for name, values in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / name / f"{machine}.txt", values, fmt="%.6f", delimiter=",")
    for name in ("test_label", "interpretation_label"):
        (folder / name).mkdir(exist_ok=True)
    np.savetxt(folder / "test_label" / f"{machine}.txt", labels, fmt="%d")
    (folder / "interpretation_label" / f"{machine}.txt").write_text("10-20:1,9,38\n30-32:2\n")
    return {name: np.round(values, 6).astype(np.float32) for name, values in parts.items()} | {"labels": labels}


def test_original_layout_gives_values_labels_and_blamed_channels(tmp_path: Path) -> None:
    written = write_original(tmp_path)
    series = load_series("smd", tmp_path, "machine-1-1")
    np.testing.assert_array_equal(series.train, written["train"])
    np.testing.assert_array_equal(series.test, written["test"])
    assert series.test.dtype == np.float32
    np.testing.assert_array_equal(series.test_labels, written["labels"])
    # Channels are counted from 1 in the file and from 0 here; the end is exclusive.
    assert series.segments == (LabelledSegment(10, 20, (0, 8, 37)), LabelledSegment(30, 32, (1,)))
    assert series.channels[0] == "cpu_r"
    assert len(set(series.channels)) == WIDTH


def test_folder_that_contains_the_original_folder_is_accepted(tmp_path: Path) -> None:
    write_original(tmp_path / smd.ORIGINAL_FOLDER)
    assert list_entities("smd", tmp_path) == ("machine-1-1",)


def test_compact_layout_equals_the_original(tmp_path: Path) -> None:
    written = write_original(tmp_path / "original")
    compact = tmp_path / "compact"
    compact.mkdir()
    np.savez_compressed(
        compact / "machine-1-1.npz", train=written["train"], test=written["test"], test_label=written["labels"]
    )
    (compact / "machine-1-1.interpretation.txt").write_text("10-20:1,9,38\n30-32:2\n")
    one = load_series("smd", tmp_path / "original", "machine-1-1")
    other = load_series("smd", compact, "machine-1-1")
    np.testing.assert_array_equal(one.train, other.train)
    np.testing.assert_array_equal(one.test_ts, other.test_ts)
    assert one.segments == other.segments


def test_entities_are_in_natural_order(tmp_path: Path) -> None:
    for machine in ("machine-1-10", "machine-1-2", "machine-3-1"):
        write_original(tmp_path, machine, rows=33)
    assert list_entities("smd", tmp_path) == ("machine-1-2", "machine-1-10", "machine-3-1")


def test_made_up_clock_is_a_row_a_minute_and_does_not_depend_on_the_train_part(tmp_path: Path) -> None:
    write_original(tmp_path, rows=35)
    series = load_series("smd", tmp_path, "machine-1-1")
    assert series.made_up_clock
    assert series.test_ts[0] == MADE_UP_TEST_START == 1_704_067_200_000_000
    np.testing.assert_array_equal(np.diff(np.concatenate([series.train_ts, series.test_ts])), 60_000_000)


def test_start_moves_both_parts(tmp_path: Path) -> None:
    write_original(tmp_path, rows=35)
    still = load_series("smd", tmp_path, "machine-1-1")
    moved = load_series("smd", tmp_path, "machine-1-1", start="2025-01-01T00:00:00Z")
    np.testing.assert_array_equal(moved.test_ts - still.test_ts, 366 * 86_400 * 1_000_000)
    np.testing.assert_array_equal(moved.train_ts - still.train_ts, 366 * 86_400 * 1_000_000)
    with pytest.raises(InputError, match="expected 'now' or an ISO 8601 time"):
        load_series("smd", tmp_path, "machine-1-1", start="yesterday")


@pytest.mark.parametrize(
    ("file", "line", "text", "said"),
    [
        ("train", 3, ",".join(["0.5"] * 37), r"train/machine-1-1\.txt, line 3: found 37 columns, expected 38"),
        (
            "test",
            2,
            ",".join(["0.5"] * 4 + ["oops"] + ["0.5"] * 33),
            r"line 2, column 5: found 'oops', expected a number",
        ),
        ("test", 1, ",".join(["inf"] + ["0.5"] * 37), r"row 1 of the data, column '1': the value is infinite"),
        ("test_label", 4, "2", r"label of row 3 \(from 0\) is 2, expected 0 or 1"),
        ("interpretation_label", 1, "10-20:1,39", r"line 1: found '10-20:1,39', expected start-end:channel"),
    ],
)
def test_a_wrong_cell_is_named_by_file_line_and_column(
    tmp_path: Path, file: str, line: int, text: str, said: str
) -> None:
    write_original(tmp_path)
    path = tmp_path / file / "machine-1-1.txt"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("smd", tmp_path, "machine-1-1")


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    write_original(tmp_path)
    (tmp_path / "test_label" / "machine-1-1.txt").write_text("0\n1\n")
    with pytest.raises(InputError, match="2 labels for 40 test rows"):
        load_series("smd", tmp_path, "machine-1-1")


def test_wrong_folder_and_wrong_entity_say_what_is_there(tmp_path: Path) -> None:
    write_original(tmp_path / "smd")
    with pytest.raises(InputError, match=r"holds no SMD machine.*did you mean --data .*smd\?"):
        list_entities("smd", tmp_path)
    with pytest.raises(InputError, match="nearest: machine-1-1; there are 1"):
        load_series("smd", tmp_path / "smd", "machine-1-2")
    with pytest.raises(InputError, match="does not exist"):
        load_series("smd", tmp_path / "nowhere", "machine-1-1")
    (tmp_path / "smd" / "test_label" / "machine-1-1.txt").unlink()
    with pytest.raises(InputError, match=r"test_label/machine-1-1\.txt is missing"):
        load_series("smd", tmp_path / "smd", "machine-1-1")


def test_without_a_folder_the_variable_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHEELTAPPER_DATA", raising=False)
    with pytest.raises(InputError, match="give --data DIR"):
        load_series("smd")
    write_original(tmp_path / "smd")
    monkeypatch.setenv("WHEELTAPPER_DATA", str(tmp_path))
    assert load_series("smd").entity == "machine-1-1"


def test_a_broken_npz_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "machine-1-1.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        load_series("smd", tmp_path, "machine-1-1")
    np.savez(tmp_path / "machine-1-1.npz", train=np.zeros((3, 38)), test=np.zeros((3, 37)), test_label=np.zeros(3))
    with pytest.raises(InputError, match=r"'test' has shape \(3, 37\), expected \(rows, 38\)"):
        load_series("smd", tmp_path, "machine-1-1")


@pytest.mark.data
def test_the_real_machines_agree_with_what_is_known_of_them(smd_folder: Path) -> None:
    series = load_series("smd", smd_folder, "machine-1-6")
    assert series.train.shape == (23688, WIDTH)
    assert series.test.shape == (23689, WIDTH)
    assert series.test_labels is not None
    assert int(series.test_labels.sum()) == 3708
    assert len(series.segments) == 30
    assert all(segment.channels for segment in series.segments)
    assert not np.isnan(series.test).any()
    assert replace(series.segments[0], channels=()) == LabelledSegment(
        series.segments[0].start, series.segments[0].stop, ()
    )
