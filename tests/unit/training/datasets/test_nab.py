from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.nab import probation_rows
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

SERIES = "realKnownCause/made.csv"


def write_original(root: Path, hours: list[int] | None = None, rows: int = 20) -> Path:
    """NAB's repository: data/<group>/<name>.csv, labels/combined_windows.json. A row an hour."""
    folder = root / "data" / "realKnownCause"
    folder.mkdir(parents=True)
    (root / "labels").mkdir()
    hours = hours or list(range(rows))
    lines = [f"2014-03-{1 + hour // 24:02d} {hour % 24:02d}:00:00,{row}.5" for row, hour in enumerate(hours)]
    (folder / "made.csv").write_text("\n".join(["timestamp,value", *lines]) + "\n")
    windows = [["2014-03-01 10:00:00.000000", "2014-03-01 12:00:00.000000"]]
    (root / "labels" / "combined_windows.json").write_text(json.dumps({SERIES: windows}))
    return folder / "made.csv"


def test_train_part_is_the_probation_period_and_windows_include_both_ends(tmp_path: Path) -> None:
    write_original(tmp_path)
    assert list_entities("nab", tmp_path) == ("realKnownCause/made",)
    series = load_series("nab", tmp_path)
    # 15 % of 20 rows are 3; rows 10, 11, 12 of the file are rows 7, 8, 9 of the test part.
    assert series.train[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert series.segments == (LabelledSegment(7, 10, ()),)
    assert series.test_ts[0] == micros_from_iso("2014-03-01T03:00:00Z")
    assert series.sampling_interval_s == 3600
    assert not series.made_up_clock


def test_probation_is_15_percent_but_at_most_750_rows() -> None:
    assert [probation_rows(rows) for rows in (100, 4032, 5000, 22695)] == [15, 604, 750, 750]


def test_gzipped_files_beside_their_windows_equal_the_original(tmp_path: Path) -> None:
    source = write_original(tmp_path / "original")
    folder = tmp_path / "compact" / "realKnownCause"
    folder.mkdir(parents=True)
    (folder / "made.csv.gz").write_bytes(gzip.compress(source.read_bytes()))
    windows = (tmp_path / "original" / "labels" / "combined_windows.json").read_text()
    (tmp_path / "compact" / "combined_windows.json").write_text(windows)
    one, other = load_series("nab", tmp_path / "original"), load_series("nab", tmp_path / "compact")
    np.testing.assert_array_equal(one.test, other.test)
    np.testing.assert_array_equal(one.test_labels, other.test_labels)


def test_an_hour_told_twice_keeps_every_row_and_is_labelled_by_its_told_times(tmp_path: Path) -> None:
    # given hours 9, 10, 11 told a second time, as when clocks go back
    write_original(tmp_path, hours=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 9, 10, 11, 12, 13, 14, 15, 16])
    series = load_series("nab", tmp_path)
    # when read, then no row is lost, times increase, and 10 to 12 o'clock is anomalous both times
    assert len(series.train) + len(series.test) == 20
    assert (np.diff(series.test_ts) > 0).all()
    assert series.test_labels is not None
    assert (np.flatnonzero(series.test_labels) + 3).tolist() == [10, 11, 13, 14, 15]


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (1, "time,value", r"made\.csv, line 1: columns are time, value, expected timestamp, value"),
        (5, "2014-03-01 03:00:00", r"made\.csv, line 5: found 1 columns, expected 2"),
        (5, "2014-03-01 03:00:00,high", r"made\.csv, line 5, column 2 \(value\): found 'high', expected a number"),
        (5, "noon,1.0", r"made\.csv, row 4 of the data, column 'timestamp': found 'noon'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    path = write_original(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("nab", tmp_path)


def test_missing_or_wrong_windows_are_named(tmp_path: Path) -> None:
    write_original(tmp_path)
    windows = tmp_path / "labels" / "combined_windows.json"
    windows.write_text(json.dumps({SERIES: [["2014-03-01 10:00:00"]]}))
    with pytest.raises(InputError, match=r"entry 'realKnownCause/made\.csv': found .* expected pairs of times"):
        load_series("nab", tmp_path)
    windows.write_text(json.dumps({"realKnownCause/other.csv": []}))
    with pytest.raises(InputError, match=r"has no entry 'realKnownCause/made\.csv'"):
        load_series("nab", tmp_path)
    windows.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_series("nab", tmp_path)
    windows.unlink()
    with pytest.raises(InputError, match=r"combined_windows\.json is missing"):
        load_series("nab", tmp_path)


def test_too_short_truncated_and_absent_series_are_refused(tmp_path: Path) -> None:
    path = write_original(tmp_path, rows=6)
    with pytest.raises(InputError, match="has 6 rows, expected at least 7"):
        load_series("nab", tmp_path)
    whole = gzip.compress(b"timestamp,value\n" + b"2014-03-01 03:00:00,1.0\n" * 50)
    path.with_name("made.csv.gz").write_bytes(whole[: len(whole) // 2])
    path.unlink()
    with pytest.raises(InputError, match=r"made\.csv\.gz: cannot be read"):
        load_series("nab", tmp_path)
    with pytest.raises(InputError, match="holds no NAB series"):
        list_entities("nab", tmp_path / "labels")


@pytest.mark.data
def test_the_real_series_have_the_windows_that_are_known_of_them(data_root: Path) -> None:
    folder = data_root / "nab"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    known = {
        "nyc_taxi": (5, 10320),
        "machine_temperature_system_failure": (4, 22695),
        "rogue_agent_key_hold": (2, 1882),
    }
    for name, (windows, rows) in known.items():
        series = load_series("nab", folder, f"realKnownCause/{name}")
        assert len(series.segments) == windows
        assert len(series.train) + len(series.test) == rows
        assert (np.diff(np.concatenate([series.train_ts, series.test_ts])) > 0).all()
