from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

SERVER = "\\\\WIN-25J4RO10SBF\\LOG_DATA\\SUTD_WADI\\LOG_DATA\\"
# One channel of the attacked points, one other, and one that holds nothing, as four do in the source.
CHANNELS = ("1_MV_001_STATUS", "1_AIT_001_PV", "2_LS_001_AL")
# In quotes, as the name holds a comma.
LABEL = '"Attack LABLE (1:No Attack, -1:Attack)"'


def noon_clock(second: int) -> str:
    """Seconds of a day as 7:24:50.000 PM."""
    hour, minute, left = second // 3600, second // 60 % 60, second % 60
    return f"{(hour - 1) % 12 + 1}:{minute:02d}:{left:02d}.000 {'AM' if hour < 12 else 'PM'}"


def row(number: int, day: str, clock: str, label: str = "") -> str:
    return f"{number},{day},{clock},1,{number / 10},{label}"


def write_a1(folder: Path) -> None:
    """The release of 2017: names with a path, 4 lines above them in the normal file, no labels. The first attack begins at
    19:25:00; the recording here runs from 10 seconds before it to 9 after."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ",".join(["Row", "Date", "Time", *(SERVER + name for name in CHANNELS)])
    above = ["Log of WADI", "", "Exported", ""]
    normal = [row(n + 1, "9/25/2017", noon_clock(18 * 3600 + n)) for n in range(15)]
    (folder / "WADI_14days.csv").write_text("\n".join([*above, names, *normal]) + "\n")
    start = 19 * 3600 + 25 * 60 - 10
    attack = [row(n + 1, "10/9/2017", noon_clock(start + n)) for n in range(20)]
    (folder / "WADI_attackdata.csv").write_text("\n".join([names, *attack]) + "\n")


def write_a2(folder: Path, cut_times: bool = False) -> None:
    """The release of 2019: plain names, a line of numbers above them in the attack file, labels, and a row of nothing last."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ",".join(["Row", "Date", "Time", *CHANNELS])

    def clock(second: int) -> str:
        return f"{second // 60 % 60:02d}:{second % 60:02d}.0" if cut_times else noon_clock(second)

    normal = [f"{n + 1},9/25/2017,{clock(n)},1,{n / 10}," for n in range(15)]
    (folder / "WADI_14days_new.csv").write_text("\n".join([names, *normal]) + "\n")
    start = 19 * 3600 + 25 * 60 - 10
    attack = [row(n + 1, "10/9/2017", clock(start + n), f",{-1 if n >= 10 else 1}") for n in range(20)]
    spaced = f"Row ,Date ,Time,{','.join(CHANNELS)},{LABEL}"
    (folder / "WADI_attackdataLABLE.csv").write_text("\n".join(["0,1,2,3,4,5,6", spaced, *attack, ",,,,,,"]) + "\n")


def test_the_first_release_is_labelled_by_the_publishers_table(tmp_path: Path) -> None:
    write_a1(tmp_path)
    assert list_entities("wadi", tmp_path) == ("a1",)
    series = load_series("wadi", tmp_path)
    # The empty channel is left out, the log server's path is gone.
    assert series.channels == CHANNELS[:2]
    assert series.train.shape == (15, 2)
    assert series.segments == (LabelledSegment(10, 20, (0,)),)
    assert series.test_ts[10] == micros_from_iso("2017-10-09T19:25:00Z")
    np.testing.assert_array_equal(np.diff(series.test_ts), 1_000_000)


def test_the_second_release_is_labelled_by_its_column_and_its_empty_last_row_is_dropped(tmp_path: Path) -> None:
    write_a2(tmp_path)
    series = load_series("wadi", tmp_path)
    assert series.entity == "a2"
    assert len(series.test) == 20
    assert series.test_labels is not None
    assert series.test_labels.tolist() == [0] * 10 + [1] * 10
    assert series.segments == (LabelledSegment(10, 20, (0,)),)


def test_times_cut_to_minutes_get_a_made_up_clock(tmp_path: Path) -> None:
    write_a2(tmp_path, cut_times=True)
    series = load_series("wadi", tmp_path)
    assert series.made_up_clock
    assert series.sampling_interval_s == 1
    assert series.segments == (LabelledSegment(10, 20, ()),)


def test_both_releases_in_their_own_folders_are_two_entities(tmp_path: Path) -> None:
    write_a1(tmp_path / "WADI.A1_9 Oct 2017")
    write_a2(tmp_path / "WADI.A2_19 Nov 2019")
    assert list_entities("wadi", tmp_path) == ("a1", "a2")
    assert load_series("wadi", tmp_path, "a1").segments == load_series("wadi", tmp_path, "a2").segments


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (6, "4,10/9/2017,7:24:53.000 PM,1", r"LABLE\.csv, line 6: found 4 columns, expected 7"),
        (6, "4,10/9/2017,7:24:53.000 PM,on,0.4,,1", r"LABLE\.csv, line 6, column 4 \(1_MV_001_STATUS\): found 'on'"),
        (
            6,
            "4,10/9/2017,7:24:53.000 PM,1,0.4,,0",
            r"LABLE\.csv, line 6, column 'Attack LABLE .*': found 0, expected 1 or -1",
        ),
        (6, "4,10/9/2017,7:24:53.000 PM,1,0.4,,", r"LABLE\.csv, line 6, column 'Attack LABLE .*': found nan"),
        (
            6,
            "4,2017.10.9,7:24:53.000 PM,1,0.4,,1",
            r"row 4 of the data, column 'Date Time': found '2017\.10\.9 7:24:53 PM'",
        ),
        (2, f"Row,Day,Time,{','.join(CHANNELS)},{LABEL}", r"LABLE\.csv, line 2: columns start with Row, Day"),
        (2, f"Row,Date,Time,a,b,c,{LABEL}", r"other channels than WADI_14days_new\.csv"),
        (2, f"Number,Date,Time,{','.join(CHANNELS)},{LABEL}", r"none of the first 12 lines has a column 'Row'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    write_a2(tmp_path)
    path = tmp_path / "WADI_attackdataLABLE.csv"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("wadi", tmp_path)


def test_missing_and_truncated_files_are_named(tmp_path: Path) -> None:
    write_a2(tmp_path)
    path = tmp_path / "WADI_attackdataLABLE.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], ",,,,,,"]))
    with pytest.raises(InputError, match=r"LABLE\.csv: column 'Date' is empty"):
        load_series("wadi", tmp_path)
    path.write_text("\n".join(lines[:22])[:-8])
    with pytest.raises(InputError, match=r"LABLE\.csv, line 22: found 4 columns, expected 7"):
        load_series("wadi", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="holds no WADI release"):
        list_entities("wadi", tmp_path)
    with pytest.raises(InputError, match="is a file, expected the folder of a WADI release"):
        list_entities("wadi", tmp_path / "WADI_14days_new.csv")
