from __future__ import annotations

from pathlib import Path

import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

COLUMNS = ("DATETIME", "L_T1", "F_PU1", "S_PU1", "P_J280", "ATT_FLAG")


def write_recording(path: Path, flags: list[int], blank: str = "", columns: tuple[str, ...] = COLUMNS) -> None:
    """As published: dd/mm/yy hh, one row an hour from 4 July 2016; some releases put blanks before the names."""
    lines = [",".join(blank + name if index else name for index, name in enumerate(columns))]
    for row, flag in enumerate(flags):
        cells = [f"{4 + row // 24:02d}/07/16 {row % 24:02d}", f"{row}.25", "98.5", "1", "30.5", str(flag)]
        lines.append(",".join(cells[: len(columns)]))
    path.write_text("\n".join(lines) + "\n")


def test_dataset03_trains_and_dataset04_tests_with_units(tmp_path: Path) -> None:
    write_recording(tmp_path / "BATADAL_dataset03.csv", [0] * 30)
    write_recording(tmp_path / "BATADAL_dataset04.csv", [0] * 10 + [1] * 5 + [0] * 15, blank=" ")
    assert list_entities("batadal", tmp_path) == ("dataset04",)
    series = load_series("batadal", tmp_path)
    assert series.train.shape == (30, 4)
    assert series.segments == (LabelledSegment(10, 15, ()),)
    assert series.channels == ("L_T1", "F_PU1", "S_PU1", "P_J280")
    assert series.units == ("m", "L/s", "", "m")
    # 04/07 is the 4th of July.
    assert series.test_ts[0] == micros_from_iso("2016-07-04T00:00:00Z")
    assert series.sampling_interval_s == 3600


def test_rows_of_which_nothing_is_said_count_as_normal_with_a_warning(tmp_path: Path) -> None:
    write_recording(tmp_path / "dataset03.csv", [0] * 30)
    write_recording(tmp_path / "dataset04.csv", [-999] * 20 + [1] * 10)
    with pytest.warns(UserWarning, match=r"20 of 30 rows are not labelled \(-999\) and count as normal"):
        series = load_series("batadal", tmp_path)
    assert series.segments == (LabelledSegment(20, 30, ()),)


def test_the_set_without_labels_is_an_entity_without_labels(tmp_path: Path) -> None:
    write_recording(tmp_path / "dataset03.csv", [0] * 30)
    write_recording(tmp_path / "BATADAL_test_dataset.csv", [0] * 30, columns=COLUMNS[:-1])
    assert list_entities("batadal", tmp_path) == ("test_dataset",)
    series = load_series("batadal", tmp_path, "test_dataset")
    assert series.test_labels is None
    assert series.segments == ()


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (4, "04/07/16 02,1,2,3", r"dataset04\.csv, line 4: found 4 columns, expected 6"),
        (4, "04/07/16 02,1,open,1,30,0", r"dataset04\.csv, line 4, column 3 \(F_PU1\): found 'open'"),
        (4, "04/07/16 02,1,2,1,30,7", r"dataset04\.csv, line 4, column 'ATT_FLAG': found 7, expected 0, 1 or -999"),
        (4, "2016-07-04 02,1,2,1,30,0", r"row 3 of the data, column 'DATETIME': found '2016-07-04 02'"),
        (1, "DATETIME,L_T1,F_PU1,S_PU1,Pressure,ATT_FLAG", r"line 1: found column 'Pressure'"),
        (1, "DATETIME,L_T1,F_PU1,S_PU1,P_J14,ATT_FLAG", r"other channels than dataset03\.csv.*P_J14, P_J280"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    write_recording(tmp_path / "dataset03.csv", [0] * 30)
    path = tmp_path / "dataset04.csv"
    write_recording(path, [0] * 30)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("batadal", tmp_path)


def test_missing_and_empty_recordings_are_named(tmp_path: Path) -> None:
    write_recording(tmp_path / "dataset04.csv", [0] * 30)
    with pytest.raises(InputError, match=r"dataset03\.csv is missing"):
        load_series("batadal", tmp_path)
    (tmp_path / "dataset03.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"dataset03\.csv: has no rows"):
        load_series("batadal", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no BATADAL recording"):
        list_entities("batadal", tmp_path / "empty")


@pytest.mark.data
def test_the_real_recordings(data_root: Path) -> None:
    folder = data_root / "batadal"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    series = load_series("batadal", folder)
    assert series.train.shape == (8761, 43)
    assert series.test.shape == (4177, 43)
    assert series.test_labels is not None
    assert int(series.test_labels.sum()) == 492
    assert len(series.segments) == 7
