from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

HEADER = (
    "datetime;Accelerometer1RMS;Accelerometer2RMS;Current;Pressure;Temperature;Thermocouple;Voltage;"
    "Volume Flow RateRMS;anomaly;changepoint"
)


def write_experiment(folder: Path, name: str = "valve1/0", rows: int = 420) -> Path:
    """An experiment as published: `;`, labels as 0.0 and 1.0. Rows 405 to 409 are anomalous."""
    path = folder / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for row in range(rows):
        time = f"2020-03-09 10:{row // 60:02d}:{row % 60:02d}"
        values = ";".join(f"{row + sensor / 10}" for sensor in range(8))
        lines.append(f"{time};{values};{1.0 if 405 <= row < 410 else 0.0};0.0")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_first_400_rows_train_and_the_rest_test_with_units(tmp_path: Path) -> None:
    write_experiment(tmp_path)
    series = load_series("skab", tmp_path, "valve1/0")
    assert series.train.shape == (400, 8)
    assert series.test.shape == (20, 8)
    assert series.test[0].tolist() == pytest.approx([400 + sensor / 10 for sensor in range(8)])
    assert series.segments == (LabelledSegment(5, 10, ()),)
    assert dict(zip(series.channels, series.units, strict=True))["Volume Flow RateRMS"] == "L/min"
    assert series.sampling_interval_s == 1


def test_experiments_are_listed_plain_or_gzipped_without_the_unlabelled_recording(tmp_path: Path) -> None:
    for name in ("valve1/10", "valve1/2", "other/1"):
        write_experiment(tmp_path / "data", name)
    plain = write_experiment(tmp_path / "data", "valve2/0")
    plain.with_name("0.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    write_experiment(tmp_path / "data", "anomaly-free/anomaly-free")
    assert list_entities("skab", tmp_path) == ("other/1", "valve1/2", "valve1/10", "valve2/0")
    assert len(load_series("skab", tmp_path, "valve2/0").test) == 20


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (7, "2020-03-09 10:00:05;1;2;3", r"0\.csv, line 7: found 4 columns, expected 11"),
        (7, "2020-03-09 10:00:05;1;2;n/k;4;5;6;7;8;0.0;0.0", r"line 7, column 4 \(Current\): found 'n/k'"),
        (7, "2020-03-09 10:00:05;1;2;3;4;5;6;7;8;0.5;0.0", r"line 7, column 'anomaly': found 0\.5, expected 0 or 1"),
        (1, HEADER.replace("anomaly;", "label;"), r"line 1: columns are .*; expected datetime, sensors, anomaly"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    path = write_experiment(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("skab", tmp_path, "valve1/0")


def test_too_few_rows_and_a_clock_that_goes_back_are_refused(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, rows=400)
    with pytest.raises(InputError, match="has 400 rows, expected more than the 400 of the train part"):
        load_series("skab", tmp_path, "valve1/0")
    lines = write_experiment(tmp_path).read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[200:], *lines[1:200]]))
    with pytest.raises(InputError, match=r"0\.csv, line 223: 199 of 420 rows are not later than the row before"):
        load_series("skab", tmp_path, "valve1/0")
    with pytest.raises(InputError, match="holds no SKAB experiment"):
        list_entities("skab", tmp_path / "valve1")


def test_a_repeated_second_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:50], lines[49], *lines[50:]]))
    with pytest.warns(UserWarning, match="1 rows with a repeated or earlier time were left out"):
        series = load_series("skab", tmp_path, "valve1/0")
    assert len(series.train) + len(series.test) == 420


@pytest.mark.data
def test_the_real_experiments(data_root: Path) -> None:
    folder = data_root / "skab"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    assert len(list_entities("skab", folder)) == 20
    series = load_series("skab", folder, "other/1")
    assert len(series.train) + len(series.test) == 745
    assert series.test_labels is not None
    assert int(series.test_labels.sum()) == 188
    assert not np.isnan(series.test).any()
