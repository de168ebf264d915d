from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

WIDTH = 19


def write_compact(folder: Path, server: str = "omi-1", rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros(rows, dtype=np.uint8)
    labels[10:21] = labels[30:33] = 1
    arrays = {
        "train": rng.random((rows + 5, WIDTH), dtype=np.float32),
        "test": rng.random((rows, WIDTH), dtype=np.float32),
        "test_label": labels,
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{server}.npz", **arrays)
    (folder / f"{server}.interpretation.txt").write_text("10-20:4,19\n30-32:1\n")
    (folder / "anomaly_type.csv").write_text(
        "dataset,anomaly_segment,anomaly_type\nomi-1,10-20,metric\nomi-1,30-32,temporal\nomi-3,10-20,metric-temporal\n"
    )
    return arrays


def test_compact_layout_gives_channels_and_kinds_and_the_last_row_belongs_to_the_anomaly(tmp_path: Path) -> None:
    arrays = write_compact(tmp_path)
    series = load_series("asd", tmp_path, "omi-1")
    np.testing.assert_array_equal(series.train, arrays["train"])
    np.testing.assert_array_equal(series.test_labels, arrays["test_label"])
    assert series.segments == (LabelledSegment(10, 21, (3, 18), "metric"), LabelledSegment(30, 33, (0,), "temporal"))
    assert series.sampling_interval_s == 300
    np.testing.assert_array_equal(np.diff(series.test_ts), 300_000_000)


def test_text_layout_equals_the_compact_one(tmp_path: Path) -> None:
    arrays = write_compact(tmp_path / "compact")
    text = tmp_path / "text"
    for part in ("train", "test", "test_label"):
        (text / part).mkdir(parents=True)
        np.savetxt(text / part / "omi-1.txt", arrays[part], fmt="%.9g", delimiter=",")
    one, other = load_series("asd", tmp_path / "compact", "omi-1"), load_series("asd", text, "omi-1")
    np.testing.assert_array_equal(one.test, other.test)
    np.testing.assert_array_equal(one.test_labels, other.test_labels)


def test_servers_are_in_natural_order(tmp_path: Path) -> None:
    for server in ("omi-10", "omi-2", "omi-1"):
        write_compact(tmp_path, server)
    assert list_entities("asd", tmp_path) == ("omi-1", "omi-2", "omi-10")


def test_the_publishers_pickles_are_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "data" / "processed"
    folder.mkdir(parents=True)
    (folder / "omi-1_train.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"omi-1_train\.pkl is a pickle.*never opened.*omi-1\.npz.*train/omi-1\.txt"):
        load_series("asd", tmp_path, "omi-1")
    assert not (tmp_path / "ran").exists()


def test_an_npz_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "omi-1.npz", train=np.array([{}], dtype=object), test=np.zeros(1), test_label=np.zeros(1))
    with pytest.raises(InputError, match=r"omi-1\.npz: cannot be read as \.npz"):
        load_series("asd", tmp_path, "omi-1")


@pytest.mark.parametrize(
    ("array", "values", "said"),
    [
        ("train", np.zeros((40, 18), np.float32), r"'train' has shape \(40, 18\), expected \(rows, 19\)"),
        ("test", np.full((40, WIDTH), "x"), r"'test' is of type <U1, expected numbers"),
        ("test", np.full((40, WIDTH), np.inf, np.float32), r"'test' is infinite in row 0, column 1"),
        ("test_label", np.zeros(39, np.uint8), "has 39 labels for 40 test rows"),
        ("test_label", np.full(40, 2, np.uint8), "label of row 0 .* is 2, expected 0 or 1"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, array: str, values: np.ndarray, said: str) -> None:
    arrays = write_compact(tmp_path)
    np.savez(tmp_path / "omi-1.npz", **(arrays | {array: values}))
    with pytest.raises(InputError, match=said):
        load_series("asd", tmp_path, "omi-1")


def test_wrong_lines_beside_the_arrays_are_named(tmp_path: Path) -> None:
    write_compact(tmp_path)
    (tmp_path / "omi-1.interpretation.txt").write_text("10-20:4\n30-32:20\n")
    with pytest.raises(
        InputError, match=r"interpretation\.txt, line 2: found '30-32:20', expected .* channels 1 to 19"
    ):
        load_series("asd", tmp_path, "omi-1")
    write_compact(tmp_path)
    (tmp_path / "anomaly_type.csv").write_text("dataset,anomaly_segment,anomaly_type\nomi-1,10 to 20,metric\n")
    with pytest.raises(InputError, match=r"anomaly_type\.csv, line 2, column 2: found '10 to 20'"):
        load_series("asd", tmp_path, "omi-1")
    (tmp_path / "anomaly_type.csv").write_text("server,rows\nomi-1,10-20\n")
    with pytest.raises(InputError, match=r"anomaly_type\.csv, line 1: columns are server, rows"):
        load_series("asd", tmp_path, "omi-1")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_compact(tmp_path)
    whole = (tmp_path / "omi-1.npz").read_bytes()
    (tmp_path / "omi-1.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"omi-1\.npz: cannot be read as \.npz"):
        load_series("asd", tmp_path, "omi-1")


@pytest.mark.data
def test_every_real_anomaly_has_channels_a_kind_and_exactly_its_rows(data_root: Path) -> None:
    folder = data_root / "asd"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    for server in list_entities("asd", folder):
        series = load_series("asd", folder, server)
        assert series.test.shape == (4320, WIDTH)
        assert series.test_labels is not None
        described = sum(segment.stop - segment.start for segment in series.segments)
        assert described == int(series.test_labels.sum())
        assert all(segment.channels and segment.kind for segment in series.segments)
        # The file's inclusive ends are the labels' own: no segment had to be stretched or cut.
        for line in (folder / f"{server}.interpretation.txt").read_text().split():
            start, _, end = line.partition(":")[0].partition("-")
            assert any((s.start, s.stop) == (int(start), int(end) + 1) for s in series.segments)
