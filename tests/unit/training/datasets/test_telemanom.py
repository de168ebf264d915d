from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

HEADER = "chan_id,spacecraft,anomaly_sequences,class,num_values\n"
LABELS = (
    HEADER
    + 'P-2,SMAP,"[[5, 8]]",[point],40\n'
    + 'P-2,SMAP,"[[20, 29]]",[contextual],40\n'
    + 'A-10,SMAP,"[[30, 34], [10, 12]]","[contextual, point]",40\n'
    + 'T-9,MSL,"[[1, 2]]",[point],30\n'
)


def write_original(folder: Path, channels: dict[str, tuple[int, int]] | None = None) -> dict[str, np.ndarray]:
    """telemanom's own layout: float64 .npy files, and one label file for both spacecraft."""
    rng = np.random.default_rng(0)
    tests = {}
    for name, (rows, width) in (channels or {"P-2": (40, 25), "A-10": (40, 25), "T-9": (30, 55)}).items():
        for part, length in (("train", rows + 7), ("test", rows)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            values = np.hstack([rng.normal(size=(length, 1)), rng.integers(0, 2, (length, width - 1))])
            np.save(folder / part / f"{name}.npy", values)
            tests[name] = values.astype(np.float32)
    (folder / "labeled_anomalies.csv").write_text(LABELS)
    return tests


def test_original_layout_gives_telemetry_commands_and_inclusive_ranges(tmp_path: Path) -> None:
    tests = write_original(tmp_path)
    assert list_entities("smap", tmp_path) == ("A-10", "P-2")
    assert list_entities("msl", tmp_path) == ("T-9",)
    series = load_series("smap", tmp_path, "A-10")
    np.testing.assert_array_equal(series.test, tests["A-10"])
    assert series.train.shape == (47, 25)
    assert series.channels[:2] == ("telemetry", "command_01")
    # Rows 10 to 12 and 30 to 34, both ends included, in time order; the label is about the telemetry.
    assert series.segments == (LabelledSegment(10, 13, (0,), "point"), LabelledSegment(30, 35, (0,), "contextual"))
    assert series.test_labels is not None
    assert np.flatnonzero(series.test_labels).tolist() == [10, 11, 12, 30, 31, 32, 33, 34]


def test_a_channel_with_two_label_rows_has_the_ranges_of_both(tmp_path: Path) -> None:
    write_original(tmp_path)
    series = load_series("smap", tmp_path, "P-2")
    assert [(part.start, part.stop, part.kind) for part in series.segments] == [(5, 9, "point"), (20, 30, "contextual")]


def test_ranges_that_overlap_are_one_segment(tmp_path: Path) -> None:
    write_original(tmp_path)
    rows = 'P-2,SMAP,"[[5, 20]]",[point],40\nP-2,SMAP,"[[8, 25], [30, 31]]","[contextual, point]",40\n'
    (tmp_path / "labeled_anomalies.csv").write_text(HEADER + rows)
    series = load_series("smap", tmp_path, "P-2")
    assert series.segments == (LabelledSegment(5, 26, (0,), "contextual+point"), LabelledSegment(30, 32, (0,), "point"))


def test_telemetry_alone_is_column_0_with_the_same_labels(tmp_path: Path) -> None:
    write_original(tmp_path)
    whole, alone = load_series("msl", tmp_path, "T-9"), load_series("msl-telemetry", tmp_path, "T-9")
    np.testing.assert_array_equal(alone.test, whole.test[:, :1])
    np.testing.assert_array_equal(alone.test_labels, whole.test_labels)
    assert alone.channels == ("telemetry",)
    assert alone.dataset == "msl-telemetry"
    assert alone.segments == (LabelledSegment(1, 3, (), "point"),)


def test_compact_layout_equals_the_original_and_data_may_lie_one_folder_below(tmp_path: Path) -> None:
    write_original(tmp_path / "original" / "data")
    # telemanom keeps its label file one folder above the arrays.
    (tmp_path / "original" / "data" / "labeled_anomalies.csv").rename(tmp_path / "original" / "labeled_anomalies.csv")
    one = load_series("smap", tmp_path / "original", "P-2")
    compact = tmp_path / "compact"
    compact.mkdir()
    np.savez(compact / "SMAP_P-2.npz", train=one.train, test=one.test, test_label=one.test_labels)
    (compact / "labeled_anomalies.csv").write_text(LABELS)
    other = load_series("smap", compact, "P-2")
    np.testing.assert_array_equal(one.train, other.train)
    assert one.segments == other.segments
    assert list_entities("smap", compact) == ("P-2",)


def test_data_without_a_label_row_is_no_entity(tmp_path: Path) -> None:
    write_original(tmp_path)
    np.save(tmp_path / "train" / "T-10.npy", np.zeros((5, 25)))
    np.save(tmp_path / "test" / "T-10.npy", np.zeros((5, 25)))
    assert "T-10" not in list_entities("smap", tmp_path)


def test_arrays_of_pickled_objects_are_refused(tmp_path: Path) -> None:
    write_original(tmp_path)
    np.save(tmp_path / "test" / "P-2.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"test/P-2\.npy: cannot be read as \.npy"):
        load_series("smap", tmp_path, "P-2")


def test_broken_arrays_are_named(tmp_path: Path) -> None:
    write_original(tmp_path)
    whole = (tmp_path / "test" / "P-2.npy").read_bytes()
    (tmp_path / "test" / "P-2.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"test/P-2\.npy: cannot be read as \.npy"):
        load_series("smap", tmp_path, "P-2")
    np.save(tmp_path / "test" / "P-2.npy", np.zeros((40, 24)))
    with pytest.raises(InputError, match=r"test/P-2\.npy: 'test' has shape \(40, 24\), expected \(rows, 25\)"):
        load_series("smap", tmp_path, "P-2")
    np.save(tmp_path / "test" / "P-2.npy", np.zeros((39, 25)))
    with pytest.raises(InputError, match=r"has 39 rows, labeled_anomalies\.csv speaks of 40 of P-2"):
        load_series("smap", tmp_path, "P-2")
    (tmp_path / "test" / "P-2.npy").unlink()
    with pytest.raises(InputError, match=r"test/P-2\.npy is missing"):
        load_series("smap", tmp_path, "P-2")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('P-2,SMAP,"[[5, 8]",[point],40', r"labeled_anomalies\.csv, line 2: found anomaly_sequences '\[\[5, 8\]'"),
        ('P-2,SMAP,"[[8, 5]]",[point],40', r"line 2: .*ends before it starts"),
        ('P-2,SMAP,"[[5, 8]]",[point],many', r"line 2: .*num_values 'many'"),
        ('P-2,SMAP,"[[5, 8]]","[point, point]",40', r"line 2: found 2 classes for 1 ranges"),
        ('P-2,SMAP,"[[5, 80]]",[point],40', r"has 40 rows, .* anomalies up to row 81"),
    ],
)
def test_a_wrong_label_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    write_original(tmp_path)
    (tmp_path / "labeled_anomalies.csv").write_text(HEADER + row + "\n")
    with pytest.raises(InputError, match=said):
        load_series("smap", tmp_path, "P-2")


def test_missing_labels_and_missing_columns_are_named(tmp_path: Path) -> None:
    write_original(tmp_path)
    (tmp_path / "labeled_anomalies.csv").write_text("chan_id,spacecraft\nP-2,SMAP\n")
    with pytest.raises(InputError, match=r"line 1: column 'anomaly_sequences' is missing"):
        list_entities("smap", tmp_path)
    (tmp_path / "labeled_anomalies.csv").unlink()
    with pytest.raises(InputError, match=r"labeled_anomalies\.csv is missing"):
        list_entities("smap", tmp_path)
    with pytest.raises(InputError, match="holds no channel of SMAP"):
        list_entities("smap", tmp_path / "train")


@pytest.mark.data
def test_real_ranges_are_the_real_labels(data_root: Path) -> None:
    folder = data_root / "smap_msl"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    assert len(list_entities("smap", folder)) + len(list_entities("msl", folder)) == 54
    series = load_series("smap", folder, "P-2")
    assert series.test_labels is not None
    assert sum(part.stop - part.start for part in series.segments) == int(series.test_labels.sum())
    assert load_series("msl", folder, "C-1").train.shape == (2158, 55)
