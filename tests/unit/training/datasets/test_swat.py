from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

CHANNELS = ("FIT101", "LIT101", "MV101", "DPIT301", "AIT201")
STAGES = ",P1,,,P3,P2,"


def write_sheet(path: Path, labels: list[str], stages: bool = True, noon: bool = True) -> None:
    """As exported: a line of stages, blanks before names and times, the last second before noon first."""
    names = " Timestamp," + ",".join([CHANNELS[0], *(f" {name}" for name in CHANNELS[1:])]) + ",Normal/Attack"
    lines = [STAGES, names] if stages else [names]
    for row, label in enumerate(labels):
        second = 59 + row
        hour, minute, left = (11, 59, second) if second < 60 else (12, 0, second - 60)
        clock = f"{hour}:{minute:02d}:{left:02d}" + (f" {'AM' if hour < 12 else 'PM'}" if noon else "")
        lines.append(f" 2/1/2016 {clock},{row}.5,520.{row},2,20.1,262,{label}")
    path.write_text("\n".join(lines) + "\n")


def write_swat(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(folder / "SWaT_Dataset_Normal_v1.csv", ["Normal"] * 12)
    write_sheet(folder / "SWaT_Dataset_Attack_v0.csv", ["Normal"] * 4 + ["Attack"] * 2 + ["A ttack"] + ["Normal"] * 3)


def test_two_header_lines_leading_blanks_and_the_misspelt_attack_are_read(tmp_path: Path) -> None:
    write_swat(tmp_path)
    assert list_entities("swat", tmp_path) == ("swat",)
    series = load_series("swat", tmp_path)
    assert series.channels == CHANNELS
    assert series.units == ("m3/h", "mm", "", "kPa", "")
    assert series.train.shape == (12, 5)
    assert series.test[:3, 0].tolist() == [0.5, 1.5, 2.5]
    assert series.segments == (LabelledSegment(4, 7, ()),)
    # 2/1/2016 is the 2nd of January, and a second after 11:59:59 AM it is 12:00:00 PM.
    assert series.test_ts[0] == micros_from_iso("2016-01-02T11:59:59Z")
    np.testing.assert_array_equal(np.diff(series.test_ts), 1_000_000)


def test_one_header_line_and_a_24_hour_clock_are_read_too(tmp_path: Path) -> None:
    write_sheet(tmp_path / "SWaT_Dataset_Normal_v0.csv", ["Normal"] * 6, stages=False, noon=False)
    write_sheet(tmp_path / "SWaT_Dataset_Attack_v0.csv", ["Normal"] * 5 + ["Attack"], stages=False, noon=False)
    series = load_series("swat", tmp_path)
    assert series.segments == (LabelledSegment(5, 6, ()),)
    assert series.test_ts[1] == micros_from_iso("2016-01-02T12:00:00Z")


def test_the_later_version_of_the_normal_sheet_is_taken(tmp_path: Path) -> None:
    write_swat(tmp_path)
    write_sheet(tmp_path / "SWaT_Dataset_Normal_v0.csv", ["Normal"] * 30)
    assert len(load_series("swat", tmp_path).train) == 12


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (5, " 2/1/2016 12:00:01 PM,1,2,3", r"Attack_v0\.csv, line 5: found 4 columns, expected 7"),
        (5, " 2/1/2016 12:00:01 PM,1,2,open,4,5,Normal", r"Attack_v0\.csv, line 5, column 4 \(MV101\): found 'open'"),
        (5, " 2/1/2016 12:00:01 PM,1,2,3,4,5,Maybe", r"Attack_v0\.csv, line 5, column 'Normal/Attack': found 'Maybe'"),
        (5, " 13 o'clock,1,2,3,4,5,Normal", r"row 3 of the data, column 'Timestamp': found '13 o'clock'"),
        (2, " Timestamp,FIT101,LIT101,MV101,DPIT301,AIT202,Normal/Attack", r"other channels than .*AIT201, AIT202"),
        (2, " Timestamp,FIT101,FIT101,MV101,DPIT301,AIT201,Normal/Attack", r"line 2: column 'FIT101' occurs twice"),
        (
            2,
            " When,FIT101,LIT101,MV101,DPIT301,AIT201,Normal/Attack",
            r"none of the first 12 lines has a column 'Timestamp'",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    write_swat(tmp_path)
    path = tmp_path / "SWaT_Dataset_Attack_v0.csv"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("swat", tmp_path)


def test_missing_labels_sheets_and_spreadsheets_are_named(tmp_path: Path) -> None:
    write_swat(tmp_path)
    path = tmp_path / "SWaT_Dataset_Attack_v0.csv"
    whole = path.read_text()
    path.write_text("\n".join(line.rpartition(",")[0] for line in whole.splitlines()))
    with pytest.raises(InputError, match=r"Attack_v0\.csv: column 'Normal/Attack' is missing"):
        load_series("swat", tmp_path)
    path.write_text("\n".join(whole.splitlines()[:2]))
    with pytest.raises(InputError, match=r"Attack_v0\.csv: has no rows"):
        load_series("swat", tmp_path)
    (tmp_path / "SWaT_Dataset_Normal_v1.csv").unlink()
    with pytest.raises(InputError, match=r"SWaT_Dataset_Normal_v1\.csv is missing"):
        load_series("swat", tmp_path)
    path.rename(path.with_suffix(".xlsx"))
    with pytest.raises(InputError, match=r"SWaT_Dataset_Attack_v0\.xlsx is a spreadsheet, expected CSV"):
        list_entities("swat", tmp_path)
    path.with_suffix(".xlsx").unlink()
    with pytest.raises(InputError, match="holds no SWaT sheet"):
        list_entities("swat", tmp_path)
