from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.clock import MADE_UP_TEST_START
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

HOUR = 3_600_000_000


def write_series(path: Path, first: int, step: int, header: str = "timestamp,value,is_anomaly", rows: int = 21) -> None:
    """21 rows, of which rows 12 and 13 are anomalous."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{first + step * row},{row * 0.5},{int(row in (12, 13))}" for row in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")


def test_real_traffic_counts_hours_and_trains_on_its_first_half(tmp_path: Path) -> None:
    write_series(tmp_path / "A1Benchmark" / "real_1.csv", 1, 1)
    series = load_series("yahoo-a1", tmp_path, "real_1")
    assert series.train[:, 0].tolist() == [row * 0.5 for row in range(10)]
    assert len(series.test) == 11
    assert series.segments == (LabelledSegment(2, 4, ()),)
    assert series.made_up_clock
    assert series.test_ts[0] == MADE_UP_TEST_START
    np.testing.assert_array_equal(np.diff(series.test_ts), HOUR)


def test_synthetic_series_keep_their_own_times(tmp_path: Path) -> None:
    write_series(tmp_path / "synthetic_1.csv", 1416726000, 3600)
    series = load_series("yahoo-a2", tmp_path, "synthetic_1")
    assert series.train_ts[0] == micros_from_iso("2014-11-23T07:00:00Z")
    assert series.sampling_interval_s == 3600
    assert not series.made_up_clock


def test_the_releases_folder_is_accepted_and_series_are_in_natural_order(tmp_path: Path) -> None:
    release = tmp_path / "ydata-labeled-time-series-anomalies-v1_0"
    for number in (10, 2, 1):
        write_series(release / "A1Benchmark" / f"real_{number}.csv", 1, 1)
        write_series(release / "A2Benchmark" / f"synthetic_{number}.csv", 1416726000, 3600)
    assert list_entities("yahoo-a1", tmp_path) == ("real_1", "real_2", "real_10")
    assert list_entities("yahoo-a2", release) == ("synthetic_1", "synthetic_2", "synthetic_10")


def test_the_other_benchmarks_column_names_are_known(tmp_path: Path) -> None:
    write_series(tmp_path / "real_1.csv", 1, 1, header="timestamps,value,anomaly")
    assert load_series("yahoo-a1", tmp_path).segments == (LabelledSegment(2, 4, ()),)


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (3, "2,0.5", r"real_1\.csv, line 3: found 2 columns, expected 3"),
        (3, "2,n/k,0", r"real_1\.csv, line 3, column 2 \(value\): found 'n/k', expected a number"),
        (3, "2,0.5,3", r"real_1\.csv: label of row 1 \(from 0\) is 3, expected 0 or 1"),
        (
            1,
            "timestamp,value",
            r"real_1\.csv, line 1: columns are timestamp, value, expected timestamp, value, is_anomaly",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    path = tmp_path / "real_1.csv"
    write_series(path, 1, 1)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("yahoo-a1", tmp_path)


def test_empty_short_and_absent_series_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "real_1.csv"
    path.write_text("timestamp,value,is_anomaly\n")
    with pytest.raises(InputError, match=r"real_1\.csv: has no rows"):
        load_series("yahoo-a1", tmp_path)
    write_series(path, 1, 1, rows=1)
    with pytest.raises(InputError, match="has 1 row, expected a train and a test part"):
        load_series("yahoo-a1", tmp_path)
    with pytest.raises(InputError, match="holds no series of A2Benchmark"):
        list_entities("yahoo-a2", tmp_path)
