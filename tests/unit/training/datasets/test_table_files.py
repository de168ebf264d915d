from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series

FIRST = micros_from_iso("2024-05-01T00:00:00Z")


def write_rows(path: Path, header: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def plain(path: Path, rows: int = 20) -> Path:
    body = [f"2024-05-01 00:{row:02d}:00,{row}.5,{row * 2},ok,{int(12 <= row < 15)}" for row in range(rows)]
    return write_rows(path, "timestamp,flow,pressure,state,anomaly", body)


def test_time_values_and_labels_are_found_without_a_description(tmp_path: Path) -> None:
    plain(tmp_path / "pump.csv")
    series = load_series("csv", tmp_path)
    assert series.entity == "pump"
    assert series.channels == ("flow", "pressure")  # a textual column is no channel
    assert series.sampling_interval_s == 60.0
    assert series.train.shape == series.test.shape == (10, 2)
    assert series.train_ts[0] == FIRST
    assert series.test.tolist()[0] == [10.5, 20.0]
    assert [(s.start, s.stop) for s in series.segments] == [(2, 5)]


def test_a_file_can_be_named_instead_of_its_folder(tmp_path: Path) -> None:
    plain(tmp_path / "pump.csv")
    plain(tmp_path / "other.csv")
    assert list_entities("csv", tmp_path) == ("other", "pump")
    assert load_series("csv", tmp_path / "pump.csv").entity == "pump"
    with pytest.raises(InputError, match="2 entities"):
        load_series("csv", tmp_path)


def test_description_says_what_the_file_does_not(tmp_path: Path) -> None:
    rows = [f"{FIRST // 1000 + row * 500};{row};{row};{row % 2};{3 if row > 6 else 0}" for row in range(10)]
    write_rows(tmp_path / "pump.csv", "when;a;b;mode;state", rows)
    (tmp_path / "pump.toml").write_text(
        'time = "when"\ntime_unit = "ms"\nignore = ["mode"]\nlabel = "state"\ntrain_rows = 6\nunits = { a = "bar" }\n'
    )
    series = load_series("csv", tmp_path, "pump")
    assert series.channels == ("a", "b")
    assert series.units == ("bar", "")
    assert series.train_ts[0] == FIRST
    assert series.sampling_interval_s == 0.5
    assert series.test_labels is not None
    assert series.test_labels.tolist() == [0, 1, 1, 1]


def test_a_shared_description_holds_for_every_file_and_the_own_one_wins(tmp_path: Path) -> None:
    plain(tmp_path / "one.csv")
    plain(tmp_path / "two.csv")
    (tmp_path / "dataset.toml").write_text('train_rows = 5\nvalues = ["flow"]\n')
    (tmp_path / "two.toml").write_text("train_rows = 7\n")
    assert len(load_series("csv", tmp_path, "one").train) == 5
    assert load_series("csv", tmp_path, "two").train.shape == (7, 1)


def test_train_part_from_another_file(tmp_path: Path) -> None:
    plain(tmp_path / "pump.csv", 8)
    write_rows(
        tmp_path / "normal" / "n.csv", "timestamp,pressure,flow", [f"2024-04-01 00:0{row}:00,1,2" for row in range(4)]
    )
    (tmp_path / "pump.toml").write_text('train_file = "normal/n.csv"\n')
    series = load_series("csv", tmp_path, "pump")
    assert series.train.tolist() == [[2.0, 1.0]] * 4
    assert len(series.test) == 8


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([FIRST, FIRST + 1_000_000], pa.timestamp("us")), FIRST),
        (pa.array([FIRST // 1000, FIRST // 1000 + 1000], pa.timestamp("ms", tz="Europe/Berlin")), FIRST),
        (pa.array([FIRST * 1000, FIRST * 1000 + 10**9], pa.int64()), FIRST),
        (pa.array([FIRST / 1e6, FIRST / 1e6 + 1], pa.float64()), FIRST),
        (pa.array(["2024-05-01T02:00:00+02:00", "2024-05-01T02:00:01+02:00"]), FIRST),
        (pa.array(["2024-05-01T00:00:00Z", "2024-05-01T00:00:01Z"]), FIRST),
    ],
)
def test_parquet_times_of_every_type(tmp_path: Path, column: pa.Array, expected: int) -> None:
    values = pa.array([1.5, None], pa.float64())
    pq.write_table(pa.table({"ts": column, "x": values}), tmp_path / "a.parquet")
    series = load_series("csv", tmp_path, "a")
    assert series.train_ts[0] == expected
    assert series.test_ts[0] == expected + 1_000_000
    assert np.isnan(series.test[0, 0])


def test_without_times_a_clock_is_made_up_only_when_told_so(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", "x,y", ["1,2", "3,4"])
    with pytest.raises(InputError, match="found no time column among x, y"):
        load_series("csv", tmp_path, "a")
    (tmp_path / "a.toml").write_text("time = false\nsampling_interval_s = 10\n")
    series = load_series("csv", tmp_path, "a")
    assert series.made_up_clock
    assert int(series.test_ts[0] - series.train_ts[-1]) == 10_000_000


def test_missing_cells_are_nan(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", "ts,x,y", ["2024-05-01,,1", "2024-05-02, ,NaN", "2024-05-03,5,null"])
    (tmp_path / "a.toml").write_text("train_rows = 1\n")
    series = load_series("csv", tmp_path, "a")
    np.testing.assert_array_equal(series.train, [[np.nan, 1]])
    np.testing.assert_array_equal(series.test, [[np.nan, np.nan], [5, np.nan]])


def test_times_out_of_order_are_sorted_where_nothing_is_lost_by_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", "ts,x", ["2024-05-02,2", "2024-05-01,1", "2024-05-03,3"])
    with pytest.raises(InputError, match=r"line 3, column 'ts'.*sort = true in .*a\.toml"):
        load_series("csv", tmp_path, "a")
    (tmp_path / "a.toml").write_text("sort = true\ntrain_rows = 1\n")
    series = load_series("csv", tmp_path, "a")
    assert series.train.tolist() == [[1.0]]
    assert series.test.tolist() == [[2.0], [3.0]]
    assert series.notes == ()


def test_sorting_is_not_offered_where_it_drops_rows_and_counts_what_it_drops(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", "ts,x", ["2024-05-02,2", "2024-05-01,1", "2024-05-02,3", "2024-05-03,4"])
    with pytest.raises(InputError, match=r"line 3, column 'ts'.*1 of 4 rows repeat a time") as refused:
        load_series("csv", tmp_path, "a")
    assert "sort = true" not in str(refused.value)
    (tmp_path / "a.toml").write_text("sort = true\ntrain_rows = 1\n")
    series = load_series("csv", tmp_path, "a")
    assert series.train.tolist() == [[1.0]]
    assert series.test.tolist() == [[2.0], [4.0]]
    assert any("1 of 4 rows repeat a time and are left out" in note for note in series.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('tiem = "ts"', r"unknown key 'tiem'; did you mean 'time'\?"),
        ('time = "timestam"', r"time names column 'timestam', which is not there; did you mean 'timestamp'\?"),
        ("train_rows = 20", "20 of 20 rows would be the train part"),
        ("train_fraction = 2", "train_fraction: Input should be less than or equal to 1"),
        ('values = ["flow", "state"]', r"line 2, column 4 \(state\): found 'ok', expected a number"),
        ('units = { speed = "rpm" }', "units name 'speed', which is no channel"),
        ('time_format = "%d.%m.%Y"', r"found '2024-05-01 00:00:00', expected a time as in '%d\.%m\.%Y'"),
        ("time = ", "is not TOML"),
    ],
)
def test_a_wrong_description_says_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    plain(tmp_path / "pump.csv")
    (tmp_path / "pump.toml").write_text(text + "\n")
    with pytest.raises(InputError, match=said):
        load_series("csv", tmp_path, "pump")


def test_one_wrong_number_among_many_is_an_error_not_a_lost_channel(tmp_path: Path) -> None:
    path = plain(tmp_path / "pump.csv")
    path.write_text(path.read_text().replace("17.5", "17,5x", 1))
    with pytest.raises(InputError, match=r"line 19: found 6 columns, expected 5"):
        load_series("csv", tmp_path, "pump")
    path = plain(tmp_path / "pump.csv")
    path.write_text(path.read_text().replace("17.5", "17.5 bar", 1))
    with pytest.raises(InputError, match=r"line 19, column 2 \(flow\): found '17\.5 bar', expected a number"):
        load_series("csv", tmp_path, "pump")


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no table"):
        list_entities("csv", tmp_path)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(InputError, match="first line is empty"):
        load_series("csv", tmp_path, "a")
    (tmp_path / "a.csv").write_text("ts,x\n")
    with pytest.raises(InputError, match="has no rows"):
        load_series("csv", tmp_path, "a")
    (tmp_path / "a.csv").write_text("ts,x,x\n2024-05-01,1,2\n")
    with pytest.raises(InputError, match="column 'x' occurs twice"):
        load_series("csv", tmp_path, "a")
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        load_series("csv", tmp_path, "a")


@pytest.mark.data
def test_real_files_of_other_sources(data_root: Path) -> None:
    series = load_series("csv", data_root / "skab" / "valve1", "0")
    assert series.sampling_interval_s == 1.0
    assert len(series.segments) == 1
    assert "Volume Flow RateRMS" in series.channels
