"""Which files of a folder are tables, and what is said of the others."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import pytest

from tests.unit.training.datasets.test_table_files import plain
from wheeltapper.fleet import chosen_entities
from wheeltapper.loaded import load_for_training, load_told
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series

ROWS = [("2024-05-01 00:00:00", "1.5", "2"), ("2024-05-01 00:01:00", "2.5", "4"), ("2024-05-01 00:02:00", "3.5", "5")]
PROSE = "Readings of pump 7.\nTaken by hand, in March, of 2024; see also\nthe manual, page 12.\n"


def table(separator: str, names: tuple[str, ...] = ("time", "flow", "level")) -> str:
    return "".join(separator.join(row) + "\n" for row in [names, *ROWS])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pump.tsv", table("\t").encode()),
        ("pump.TSV", table("\t").encode()),
        ("pump.CSV", table(",").encode()),
        ("pump.txt", table("\t").encode()),
        ("pump.txt", table(";").replace(".5", ",5").encode()),
        ("pump.txt", table("\t").encode("utf-16")),  # "Unicode text" of Excel
        ("pump.tsv.gz", gzip.compress(table("\t").encode())),
        ("pump.txt.gz", gzip.compress(table("|").encode())),
    ],
)
def test_a_table_of_text_is_read_whatever_its_ending(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for data in (tmp_path, tmp_path / name):
        with warnings.catch_warnings(action="error"):
            series = load_series("csv", data)
        assert series.entity == "pump"
        assert series.channels == ("flow", "level")
        assert [*series.train[:, 0], *series.test[:, 0]] == [1.5, 2.5, 3.5]


def test_names_of_a_tsv_may_hold_commas(tmp_path: Path) -> None:
    (tmp_path / "pump.tsv").write_text(table("\t", ("time", "flow, m3/h, gross", "level, m, of tank")))
    assert load_series("csv", tmp_path).channels == ("flow, m3/h, gross", "level, m, of tank")


def test_a_description_says_that_a_txt_is_a_table(tmp_path: Path) -> None:
    rows = "".join(f"{day}.5.24;{day} bar;ok\n" for day in range(1, 9))
    (tmp_path / "pump.txt").write_text(f"{PROSE * 20}when;pressure;state\n{rows}")
    with pytest.raises(InputError, match=r"holds no table \(found pump\.txt\)"):
        list_entities("csv", tmp_path)
    (tmp_path / "pump.toml").write_text('skip_lines = 60\ntime = "when"\ntime_format = "%d.%m.%y"\n')
    assert list_entities("csv", tmp_path) == ("pump",)


def test_what_is_no_table_is_named_once_with_a_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # given a table, files that are none, a description, a hidden file and a folder
    plain(tmp_path / "pump.csv")
    (tmp_path / "readme.txt").write_text(PROSE)
    (tmp_path / "old.xlsx").write_bytes(b"PK\3\4")
    (tmp_path / "dataset.toml").write_text("train_rows = 5\n")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "raw").mkdir()
    # when a series is loaded
    load_told("csv", tmp_path, None)
    # then one line says so
    lines = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert len(lines) == 1
    assert "2 files are no tables and are passed over: old.xlsx, readme.txt;" in lines[0]


def test_of_many_machines_it_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two", "three"):
        plain(tmp_path / f"{name}.csv")
    (tmp_path / "readme.txt").write_text(PROSE)
    told: set[str] = set()
    for name in chosen_entities("csv", tmp_path, None, told):
        load_for_training("csv", tmp_path, name, told)
    assert capsys.readouterr().out.count("1 file is no table and is passed over: readme.txt") == 1


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    plain(tmp_path / "pump.csv")
    (tmp_path / "pump.txt").write_text(table("\t"))
    with pytest.raises(InputError, match=r"holds pump\.csv and pump\.txt, expected one 'pump'; move one away"):
        list_entities("csv", tmp_path)
