from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets import tep
from wheeltapper.training.datasets.registry import list_entities, load_series
from wheeltapper.training.datasets.series import LabelledSegment

WIDTH = 52


def write_runs(folder: Path, rows: int = 200) -> dict[str, np.ndarray]:
    """As published: numbers in blanks and exponents; d00.dat alone has a channel a line."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    runs = {
        "d00": rng.normal(size=(60, WIDTH)),
        "d00_te": rng.normal(size=(rows, WIDTH)),
        "d01": rng.normal(size=(50, WIDTH)),
        "d01_te": rng.normal(size=(rows, WIDTH)),
        "d21_te": rng.normal(size=(rows, WIDTH)),
    }
    for name, values in runs.items():
        np.savetxt(folder / f"{name}.dat", values.T if name == "d00" else values, fmt="%16.7e", delimiter="  ")
    return runs


def test_published_layout_trains_on_the_fault_free_run_and_labels_from_row_160(tmp_path: Path) -> None:
    runs = write_runs(tmp_path)
    assert list_entities("tep", tmp_path) == ("d00", "d01", "d21")
    series = load_series("tep", tmp_path, "d01")
    np.testing.assert_allclose(series.train, runs["d00"], rtol=1e-6)
    np.testing.assert_allclose(series.test, runs["d01_te"], rtol=1e-6)
    assert series.segments == (LabelledSegment(160, 200, (), "A/C feed ratio, step"),)
    assert series.sampling_interval_s == 180
    assert series.made_up_clock


def test_normal_run_has_labels_and_none_is_set(tmp_path: Path) -> None:
    write_runs(tmp_path)
    series = load_series("tep", tmp_path, "d00")
    assert series.test_labels is not None
    assert not series.test_labels.any()
    assert series.segments == ()


def test_compact_layout_equals_the_published_one(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "published")
    (tmp_path / "compact").mkdir()
    np.savez(tmp_path / "compact" / "tep.npz", **{name: run.astype(np.float32) for name, run in runs.items()})
    assert list_entities("tep", tmp_path / "compact") == ("d00", "d01", "d21")
    one, other = load_series("tep", tmp_path / "published", "d21"), load_series("tep", tmp_path / "compact", "d21")
    np.testing.assert_allclose(one.train, other.train, rtol=1e-6)
    assert one.segments == other.segments


def test_every_channel_has_the_papers_unit() -> None:
    units = dict(zip(tep.CHANNELS, tep.UNITS, strict=True))
    assert len(units) == WIDTH
    assert (units["XMEAS(7)"], units["XMEAS(9)"], units["XMEAS(14)"], units["XMEAS(20)"]) == (
        "kPa gauge",
        "degC",
        "m3/h",
        "kW",
    )
    assert (units["XMEAS(22)"], units["XMEAS(23)"], units["XMEAS(41)"], units["XMV(1)"]) == (
        "degC",
        "mol%",
        "mol%",
        "%",
    )


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (3, "1.0 2.0 3.0", r"d01_te\.dat, line 3: found 3 columns, expected 52"),
        (3, " ".join(["1.0"] * 4 + ["oops"] + ["1.0"] * 47), r"d01_te\.dat, line 3, column 5: found 'oops'"),
        (3, " ".join(["1.0"] * 51 + ["inf"]), r"d01_te\.dat, line 3, column 52: found inf, expected a finite number"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, line: int, text: str, said: str) -> None:
    write_runs(tmp_path)
    path = tmp_path / "d01_te.dat"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=said):
        load_series("tep", tmp_path, "d01")


def test_wrong_shapes_and_missing_runs_are_named(tmp_path: Path) -> None:
    write_runs(tmp_path)
    np.savetxt(tmp_path / "d01_te.dat", np.zeros((200, 51)))
    with pytest.raises(InputError, match=r"d01_te\.dat, line 1: found 51 columns, expected 52"):
        load_series("tep", tmp_path, "d01")
    np.savetxt(tmp_path / "d01_te.dat", np.zeros((160, WIDTH)))
    with pytest.raises(InputError, match="d01_te has 160 rows, expected more than the 160 before its fault"):
        load_series("tep", tmp_path, "d01")
    (tmp_path / "d01_te.dat").write_text("")
    with pytest.raises(InputError, match=r"d01_te\.dat: has no rows"):
        load_series("tep", tmp_path, "d01")
    (tmp_path / "d00.dat").unlink()
    with pytest.raises(InputError, match=r"d00\.dat is missing"):
        load_series("tep", tmp_path, "d21")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        list_entities("tep", tmp_path / "d21_te.dat")


def test_a_compact_file_that_is_cut_or_lacks_a_run_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "tep.npz", d01_te=np.zeros((200, WIDTH)))
    with pytest.raises(InputError, match=r"tep\.npz: arrays are \['d01_te'\], \['d00'\] missing"):
        load_series("tep", tmp_path, "d01")
    whole = (tmp_path / "tep.npz").read_bytes()
    (tmp_path / "tep.npz").write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"tep\.npz: cannot be read as \.npz"):
        list_entities("tep", tmp_path)


@pytest.mark.data
def test_the_real_runs(data_root: Path) -> None:
    folder = data_root / "tep"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    assert len(list_entities("tep", folder)) == 13
    series = load_series("tep", folder, "d04")
    assert series.train.shape == (500, WIDTH)
    assert series.test.shape == (960, WIDTH)
    # The reactor's temperature in degC, about 120.4 in normal operation: the columns are where the names say.
    assert float(np.median(series.train[:, 8])) == pytest.approx(120.4, abs=0.1)
    assert series.segments[0].start == 160
