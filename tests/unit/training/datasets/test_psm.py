from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

FEATURES = 25


def write_psm(folder: Path, rows: int = 20) -> np.ndarray:
    """As published: minutes as 0.0, 1.0, ..; empty cells in train; the test part counts on. Returns the test values."""
    folder.mkdir(parents=True, exist_ok=True)
    header = ",".join(["timestamp_(min)", *(f"feature_{number}" for number in range(FEATURES))])
    values = np.random.default_rng(0).random((2, rows, FEATURES))
    for part, first, name in ((0, 0, "train"), (1, rows, "test")):
        lines = [
            ",".join([f"{first + row}.0", *(f"{value:.6f}" for value in values[part, row])]) for row in range(rows)
        ]
        if name == "train":
            cells = lines[3].split(",")
            cells[1:] = [""] * FEATURES
            lines[3] = ",".join(cells)
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n")
    labels = [f"{rows + row}.0,{int(5 <= row < 9)}" for row in range(rows)]
    (folder / "test_label.csv").write_text("\n".join(["timestamp_(min),label", *labels]) + "\n")
    return np.round(values[1], 6).astype(np.float32)


def test_published_files_give_values_missing_cells_labels_and_minutes(tmp_path: Path) -> None:
    test = write_psm(tmp_path)
    assert list_entities("psm", tmp_path) == ("psm",)
    series = load_series("psm", tmp_path)
    np.testing.assert_array_equal(series.test, test)
    assert np.isnan(series.train[3]).all()
    assert np.isnan(series.train).sum() == FEATURES
    assert series.segments == (LabelledSegment(5, 9, ()),)
    assert series.test_ts[0] == MADE_UP_TEST_START
    np.testing.assert_array_equal(np.diff(np.concatenate([series.train_ts, series.test_ts])), 60_000_000)


def test_a_gap_in_the_minutes_stays_a_gap(tmp_path: Path) -> None:
    write_psm(tmp_path)
    for name in ("test", "test_label"):
        path = tmp_path / f"{name}.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:4] + lines[6:]))
    series = load_series("psm", tmp_path)
    assert (np.diff(series.test_ts)[:4] // 60_000_000).tolist() == [1, 1, 3, 1]
    assert series.segments == (LabelledSegment(3, 7, ()),)


@pytest.mark.parametrize(
    ("file", "line", "text", "said"),
    [
        ("train", 4, "2.0,1.0", r"train\.csv, line 4: found 2 columns, expected 26"),
        (
            "test",
            4,
            ",".join(["22.0"] + ["1"] * 24 + ["bad"]),
            r"test\.csv, line 4, column 26 \(feature_24\): found 'bad'",
        ),
        ("test", 4, ",".join(["20.0"] + ["1"] * 25), r"test\.csv, line 4, column 'timestamp_\(min\)': found 20"),
        ("test", 1, ",".join(["timestamp_(min)"] + [f"f{n}" for n in range(25)]), r"other features than train\.csv"),
        ("test", 1, ",".join(f"feature_{n}" for n in range(26)), r"test\.csv, line 1: columns are feature_0"),
        ("test_label", 4, "22.0,2", r"label of row 2 \(from 0\) is 2, expected 0 or 1"),
        ("test_label", 1, "timestamp_(min),flag", r"test_label\.csv, line 1: column 'label' is missing"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, file: str, line: int, text: str, said: str) -> None:
    write_psm(tmp_path)
    path = tmp_path / f"{file}.csv"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("psm", tmp_path)


def test_labels_must_be_there_as_many_and_of_the_same_minutes(tmp_path: Path) -> None:
    write_psm(tmp_path)
    path = tmp_path / "test_label.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="has 19 labels for 20 test rows"):
        load_series("psm", tmp_path)
    path.write_text("\n".join([lines[0], *(f"{minute}.0,0" for minute in range(20))]))
    with pytest.raises(InputError, match=r"test_label\.csv, line 2: minute 0, expected 20 as in test\.csv"):
        load_series("psm", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"test_label\.csv is missing"):
        load_series("psm", tmp_path)
    (tmp_path / "train.csv").unlink()
    with pytest.raises(InputError, match="holds no PSM"):
        list_entities("psm", tmp_path)
