"""Small files in the exact layout of each release: separators, time columns, label columns, file names."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series

COLUMNS = ("P1_B2004", "P1_B2016", "P2_24Vdc", "P4_HT_LD")


def rows_of(start: str, rows: int, attacked: tuple[int, int] | None, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    first = datetime.fromisoformat(start)
    body = []
    for row in range(rows):
        flag = "1" if attacked and attacked[0] <= row < attacked[1] else "0"
        cells = [f"{value:.5f}" for value in rng.normal(100, 3, len(COLUMNS))]
        body.append([(first + timedelta(seconds=row)).strftime("%Y-%m-%d %H:%M:%S"), *cells, flag])
    return body


def write(path: Path, header: list[str], rows: list[list[str]], separator: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(separator.join(line) for line in [header, *rows]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def write_2007(folder: Path, separator: str = ";", ending: str = ".csv.gz") -> None:
    header = ["time", *COLUMNS, "attack", "attack_P1", "attack_P2", "attack_P3"]

    def labelled(rows: list[list[str]]) -> list[list[str]]:
        return [[*row, row[-1], "0", row[-1]] for row in rows]

    write(folder / f"train1{ending}", header, labelled(rows_of("2019-09-11 20:00:00", 50, None, 1)), separator)
    write(folder / f"train2{ending}", header, labelled(rows_of("2019-11-01 20:00:00", 30, None, 2)), separator)
    write(folder / f"test1{ending}", header, labelled(rows_of("2019-10-29 13:00:00", 40, (5, 9), 3)), separator)
    write(folder / f"test2{ending}", header, labelled(rows_of("2019-11-04 00:00:00", 20, (0, 4), 4)), separator)


def write_2204(folder: Path) -> None:
    header = ["timestamp", *COLUMNS, "Attack"]
    write(folder / "train1.csv", header, rows_of("2021-07-07 00:00:01", 50, None, 1), ",")
    write(folder / "test1.csv", header, rows_of("2021-07-10 00:00:01", 40, (5, 9), 3), ",")


def write_2305(folder: Path, prefix: str, time_name: str) -> None:
    for part, rows, attacked in (("train", 50, None), ("test", 40, (5, 9))):
        body = rows_of("2022-08-04 18:00:00" if part == "train" else "2022-08-12 16:00:00", rows, attacked, rows)
        write(folder / f"{prefix}-{part}1.csv", [time_name, *COLUMNS], [row[:-1] for row in body], ",")
        if part == "test":
            write(folder / "label-test1.csv", ["timestamp", "label"], [[row[0], row[-1]] for row in body], ",")


@pytest.mark.parametrize(("separator", "ending"), [(";", ".csv.gz"), (",", ".csv")])
def test_2007_and_2103_one_test_file(tmp_path: Path, separator: str, ending: str) -> None:
    write_2007(tmp_path, separator, ending)
    assert list_entities("hai", tmp_path) == ("test1", "test2", "all")
    series = load_series("hai", tmp_path, "test1")
    assert series.channels == COLUMNS
    assert series.train.shape == (80, 4)
    assert series.train.dtype == np.float32
    assert series.sampling_interval_s == 1.0
    assert [(s.start, s.stop, s.kind) for s in series.segments] == [(5, 9, "P1+P3")]
    assert series.test_ts[0] == micros_from_iso("2019-10-29T13:00:00Z")
    np.testing.assert_allclose(series.test[:, 0], np.random.default_rng(3).normal(100, 3, (40, 4))[:, 0], atol=1e-5)


def test_all_joins_the_test_files_and_keeps_the_gap(tmp_path: Path) -> None:
    write_2007(tmp_path)
    series = load_series("hai", tmp_path, "all")
    assert len(series.test) == 60
    steps = np.diff(series.test_ts) // 1_000_000
    assert sorted(set(steps.tolist())) == [1, 471_561]
    assert [(s.start, s.stop) for s in series.segments] == [(5, 9), (40, 44)]
    # The train files are weeks apart too.
    assert int(np.diff(series.train_ts).max()) > 86_400_000_000


def test_2204_has_one_capitalised_label_column(tmp_path: Path) -> None:
    write_2204(tmp_path)
    series = load_series("hai", tmp_path, "test1")
    assert series.test_labels is not None
    assert series.test_labels.tolist() == [1 if 5 <= row < 9 else 0 for row in range(40)]
    assert [(s.start, s.stop, s.kind) for s in series.segments] == [(5, 9, "")]


@pytest.mark.parametrize(("prefix", "time_name"), [("hai", "timestamp"), ("end", "Timestamp")])
def test_2305_and_haiend_take_labels_from_their_own_files(tmp_path: Path, prefix: str, time_name: str) -> None:
    write_2305(tmp_path, prefix, time_name)
    series = load_series("hai", tmp_path, "test1")
    assert series.channels == COLUMNS
    assert series.test_labels is not None
    assert int(series.test_labels.sum()) == 4


def test_separate_labels_are_matched_by_time_not_by_row(tmp_path: Path) -> None:
    write_2305(tmp_path, "hai", "timestamp")
    labels = tmp_path / "label-test1.csv"
    header, *lines = labels.read_text().splitlines()
    labels.write_text("\n".join([header, "2022-08-12 15:59:59,1", *lines]) + "\n")
    series = load_series("hai", tmp_path, "test1")
    assert [(s.start, s.stop) for s in series.segments] == [(5, 9)]
    labels.write_text("\n".join([header, *lines[:-1]]) + "\n")
    with pytest.raises(InputError, match="no label for row 40"):
        load_series("hai", tmp_path, "test1")


def test_a_folder_of_releases_names_them(tmp_path: Path) -> None:
    write_2007(tmp_path / "hai-20.07")
    write_2204(tmp_path / "hai-22.04")
    assert list_entities("hai", tmp_path) == (
        "hai-20.07/test1", "hai-20.07/test2", "hai-20.07/all", "hai-22.04/test1", "hai-22.04/all",
    )  # fmt: skip
    assert load_series("hai", tmp_path, "hai-22.04/test1").entity == "hai-22.04/test1"


def test_both_kinds_of_points_in_one_folder_stay_apart(tmp_path: Path) -> None:
    write_2305(tmp_path, "hai", "timestamp")
    write_2305(tmp_path, "end", "Timestamp")
    assert list_entities("hai", tmp_path) == ("end-test1", "hai-test1")
    assert len(load_series("hai", tmp_path, "end-test1").train) == 50


def test_columns_in_another_order_are_put_in_the_train_files_order(tmp_path: Path) -> None:
    write_2204(tmp_path)
    path = tmp_path / "test1.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([row[0], *row[1:5][::-1], row[5]]) for row in lines) + "\n")
    series = load_series("hai", tmp_path, "test1")
    np.testing.assert_allclose(series.test[:, 0], np.random.default_rng(3).normal(100, 3, (40, 4))[:, 0], atol=1e-5)


def test_a_few_repeated_rows_are_left_out_and_said(tmp_path: Path) -> None:
    header = ["timestamp", *COLUMNS, "Attack"]
    write(tmp_path / "train1.csv", header, rows_of("2021-07-07 00:00:01", 50, None, 1), ",")
    body = rows_of("2021-07-10 00:00:01", 200, (5, 9), 3)
    write(tmp_path / "test1.csv", header, [*body[:100], body[99], *body[100:]], ",")
    with pytest.warns(UserWarning, match="1 rows with a repeated or earlier time"):
        series = load_series("hai", tmp_path, "test1")
    assert len(series.test) == 200


def test_errors_name_file_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no HAI test file"):
        list_entities("hai", tmp_path)
    write_2204(tmp_path)
    path = tmp_path / "test1.csv"
    good = path.read_text()
    path.write_text(good.replace("2021-07-10 00:00:07,", "2021-07-10 00:00:07,#,", 1))
    with pytest.raises(InputError, match=r"test1\.csv, line 8: found 7 columns, expected 6"):
        load_series("hai", tmp_path, "test1")
    path.write_text(good.replace("2021-07-10 00:00:07", "the 10th"))
    with pytest.raises(InputError, match=r"row 7 of the data, column 'timestamp': found 'the 10th'"):
        load_series("hai", tmp_path, "test1")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 5\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        load_series("hai", tmp_path, "test1")
    path.write_text(good.replace("P2_24Vdc", "P2_25Vdc"))
    with pytest.raises(InputError, match=r"test1\.csv has 4 channels.*P2_24Vdc, P2_25Vdc"):
        load_series("hai", tmp_path, "test1")
    (tmp_path / "train1.csv").unlink()
    with pytest.raises(InputError, match="holds no train file"):
        load_series("hai", tmp_path, "test1")
