"""What a result depends on: data, and the code that it runs; nothing else."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.training.datasets.series import LabelledSegment
from wheeltapper.training.lab.compare import fingerprints
from wheeltapper.training.lab.compare.fingerprints import (
    code_fingerprint,
    files_signature,
    loader_fingerprint,
    series_sha256,
)


def test_every_part_of_a_series_counts() -> None:
    series = replace(make_series(normal_rows(50, 3), normal_rows(20, 3)), test_labels=np.zeros(20, np.uint8))
    changed = [
        replace(series, train=series.train + 1),
        replace(series, test=series.test + 1),
        replace(series, test_labels=np.ones(20, np.uint8)),
        replace(series, test_labels=None),
        replace(series, train_ts=series.train_ts + 1),
        replace(series, channels=("a", "b", "c")),
        replace(series, segments=(LabelledSegment(1, 2, (0,)),)),
    ]
    found = {series_sha256(other) for other in (series, *changed)}
    assert len(found) == 1 + len(changed)
    assert series_sha256(replace(series, train=series.train.copy())) == series_sha256(series)


def test_files_count_by_name_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    before = files_signature(tmp_path)
    assert files_signature(tmp_path) == before
    os.utime(tmp_path / "a.csv", ns=(0, 0))
    touched = files_signature(tmp_path)
    (tmp_path / "b.csv").write_text("")
    assert len({before, touched, files_signature(tmp_path)}) == 3


def test_a_detector_depends_on_its_own_room_and_on_no_other() -> None:
    reached = fingerprints._reached(("wheeltapper.training.detectors.pca.train",))
    assert {
        "wheeltapper.training.detectors.pca.train",
        "wheeltapper.models.pca.fit",
        "wheeltapper.training.fitting.cross_fit",
    } <= reached
    assert not any(
        name.startswith(
            ("wheeltapper.models.alora", "wheeltapper.training.lab.compare", "wheeltapper.training.datasets")
        )
        for name in reached
    )
    assert code_fingerprint("wheeltapper.training.detectors.pca.train") != code_fingerprint(
        "wheeltapper.training.detectors.range_bands.train"
    )


def test_a_data_set_depends_on_what_reads_it_and_on_no_other_loader() -> None:
    reached = fingerprints._reached(("wheeltapper.training.datasets.smd",), without=fingerprints._ABOUT_OTHER_DATA)
    assert {"wheeltapper.training.datasets.smd", "wheeltapper.training.datasets.tables"} <= reached
    assert not reached & {"wheeltapper.training.datasets.nab", "wheeltapper.training.datasets.catalogue"}
    assert loader_fingerprint("wheeltapper.training.datasets.smd") != loader_fingerprint(
        "wheeltapper.training.datasets.skab"
    )


def test_comments_and_docstrings_do_not_count_but_code_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def meaning(source: str) -> str:
        monkeypatch.setattr(fingerprints, "_tree", lambda name: ast.parse(source))
        return fingerprints._meaning.__wrapped__("any")

    plain = meaning('"""Text."""\ndef f(x):\n    return x + 1\n')
    assert meaning('"""Other."""\n\n\ndef f(x):\n    """More."""\n    return x + 1  # why\n') == plain
    assert meaning("def f(x):\n    return x + 2\n") != plain
