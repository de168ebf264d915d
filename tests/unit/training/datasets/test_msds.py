from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.clock import micros_from_iso
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

HEADER = "now,cpu.user,mem.used,load.cpucore,load.min1,load.min5,load.min15"
START = 12


def write_node(folder: Path, node: str, seconds: range = range(20)) -> Path:
    """As glances writes it: two rows a second, local times with a zone's name. cpu.user is second and second + 1."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for second in seconds:
        lines += [
            f"2019-11-25 15:{START}:{second:02d} CEST,{second + part},5948149760,4,1.04,0.99,1.04" for part in (0, 1)
        ]
    path = folder / f"{node}_metrics_concurrent.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_labels(folder: Path) -> Path:
    """Injected faults: start and end, with fractions of a second."""
    path = folder / "anomaly_label_concurrent.csv"
    path.write_text(
        "anomaly_type,start_time,end_time,start_timestamp,end_timestamp\n"
        "boot,2019-11-25 15:12:13.875142 CEST,2019-11-25 15:12:15.523205 CEST,1574691133.875142,1574691135.523205\n"
        "network,2019-11-25 14:00:00.000000 CEST,2019-11-25 14:00:10.000000 CEST,1574686800.0,1574686810.0\n"
    )
    return path


def test_a_node_is_the_mean_of_each_second_cut_in_half(tmp_path: Path) -> None:
    write_node(tmp_path / "concurrent_data" / "metrics", "wally113")
    write_labels(tmp_path)
    assert list_entities("msds", tmp_path) == ("concurrent/wally113",)
    series = load_series("msds", tmp_path)
    assert series.channels == tuple(HEADER.split(",")[1:])
    assert series.units[:3] == ("%", "B", "")
    assert series.train[:, 0].tolist() == [second + 0.5 for second in range(10)]
    assert len(series.test) == 10
    assert series.test_ts[0] == micros_from_iso(f"2019-11-25T15:{START}:10Z")
    # Seconds 13 to 15 hold the fault; the other one lies before the recording.
    assert series.segments == (LabelledSegment(3, 6, (), "boot"),)


def test_all_nodes_stand_side_by_side_in_the_seconds_they_share(tmp_path: Path) -> None:
    write_node(tmp_path, "wally113")
    write_node(tmp_path, "wally122", range(4, 24))
    assert list_entities("msds", tmp_path) == ("concurrent/all", "concurrent/wally113", "concurrent/wally122")
    series = load_series("msds", tmp_path, "concurrent/all")
    assert series.channels[::6] == ("wally113.cpu.user", "wally122.cpu.user")
    assert series.units[6] == "%"
    assert len(series.train) + len(series.test) == 16
    assert series.train[0, [0, 6]].tolist() == [4.5, 4.5]
    assert series.test_labels is None


def test_an_empty_cell_is_left_out_of_its_seconds_mean(tmp_path: Path) -> None:
    path = write_node(tmp_path, "wally113")
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("CEST,0,", "CEST,,")
    lines[3], lines[4] = (line.replace("5948149760", "") for line in lines[3:5])
    path.write_text("\n".join(lines))
    series = load_series("msds", tmp_path)
    assert series.train[0, 0] == 1
    assert np.isnan(series.train[1, 1])
    assert np.isnan(series.train).sum() == 1


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (4, "2019-11-25 15:12:01 CEST,1.0", r"wally113_metrics_concurrent\.csv, line 4: found 2 columns, expected 7"),
        (4, "2019-11-25 15:12:01 CEST,high,2,3,4,5,6", r"line 4, column 2 \(cpu\.user\): found 'high'"),
        (4, "later,1,2,3,4,5,6", r"row 3 of the data, column 'now': found 'later'"),
        (1, HEADER.replace("now", "when"), r"line 1: columns are when, .*; expected now, cpu\.user"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    path = write_node(tmp_path, "wally113")
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("msds", tmp_path)


def test_wrong_labels_are_named(tmp_path: Path) -> None:
    write_node(tmp_path, "wally113")
    path = write_labels(tmp_path)
    path.write_text("anomaly_type,start_time\nboot,2019-11-25 15:12:13 CEST\n")
    with pytest.raises(InputError, match=r"anomaly_label_concurrent\.csv, line 1: column 'end_time' is missing"):
        load_series("msds", tmp_path)
    path.write_text("anomaly_type,start_time,end_time\nboot,2019-11-25 15:12:13 CEST,2019-11-25 15:12:03 CEST\n")
    with pytest.raises(InputError, match=r"line 2: the fault ends before it starts"):
        load_series("msds", tmp_path)


def test_nodes_that_share_no_second_truncated_files_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no metrics of MSDS"):
        list_entities("msds", tmp_path / "empty")
    path = write_node(tmp_path, "wally113", range(5))
    write_node(tmp_path, "wally122", range(10, 15))
    with pytest.raises(InputError, match="have no second in common"):
        load_series("msds", tmp_path, "concurrent/all")
    path.write_text(HEADER + "\n")
    with pytest.raises(InputError, match=r"wally113_metrics_concurrent\.csv: has no rows"):
        load_series("msds", tmp_path, "concurrent/wally113")
