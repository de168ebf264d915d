"""Records: kept whole, replaced by newer ones, and used again only while they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.compare.fake_jobs import make_job
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.compare.store import JobStore


def done(**values: Any) -> dict[str, Any]:
    return {"status": "done", "error": None, "values": values, "seconds": 1.0}


def test_a_record_holds_for_the_same_key_only(tmp_path: Path) -> None:
    store, job = JobStore(tmp_path), make_job("machine-1")
    assert store.fresh(job) is None
    store.save(job, done(vus_pr=0.5))
    # The same work, seen by another process
    record = JobStore(tmp_path).fresh(job)
    assert record is not None
    assert record["values"] == {"vus_pr": 0.5}
    assert (record["entity"], record["detector"], record["seed"]) == ("machine-1", "pca", 0)
    # Other data, code or settings under the same name
    assert store.fresh(replace(job, key="other")) is None
    # Another row altogether
    for other in (make_job("machine-2"), replace(job, seed=1), replace(job, settings=(("window", "9"),))):
        assert store.fresh(other) is None


def test_a_newer_result_replaces_the_older_one(tmp_path: Path) -> None:
    store, job = JobStore(tmp_path), make_job("machine-1")
    store.save(job, done(vus_pr=0.5))
    store.save(replace(job, key="new"), done(vus_pr=0.6))
    assert [record["values"]["vus_pr"] for record in store.records()] == [0.6]


def test_a_half_written_file_is_done_again(tmp_path: Path) -> None:
    store, job = JobStore(tmp_path), make_job("machine-1")
    store.save(job, done(vus_pr=0.5))
    path = next((tmp_path / "jobs").rglob("*.json"))
    path.write_text(path.read_text()[:40])
    assert store.fresh(job) is None
    assert list(store.records()) == []


def test_errors_are_kept_unless_asked_to_try_again(tmp_path: Path) -> None:
    store, job = JobStore(tmp_path), make_job("machine-1")
    store.save(job, {"status": "refused", "error": "too short", "values": {}, "seconds": 0.1})
    assert store.fresh(job) is not None
    assert store.fresh(job, retry_errors=True) is None


@pytest.mark.parametrize(
    ("made_with", "values", "asked", "holds"),
    [
        (60.0, {"cut": True, "train_seconds": 60.0}, 60.0, True),
        (60.0, {"cut": True, "train_seconds": 60.0}, 600.0, False),  # it could have gone on
        (60.0, {"cut": True, "train_seconds": 60.0}, None, False),
        (60.0, {"cut": False, "train_seconds": 20.0}, None, True),  # no budget would have changed it
        (60.0, {"cut": False, "train_seconds": 20.0}, 30.0, True),
        (None, {"cut": False, "train_seconds": 20.0}, 10.0, False),  # that one would have been cut
    ],
)
def test_a_result_holds_under_another_budget_where_it_would_be_the_same(
    tmp_path: Path, made_with: float | None, values: dict[str, Any], asked: float | None, holds: bool
) -> None:
    store, job = JobStore(tmp_path), make_job("machine-1", budget_s=made_with)
    store.save(job, done(**values))
    assert (store.fresh(replace(job, budget_s=asked)) is not None) == holds


def test_names_that_no_file_system_likes(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    jobs = [make_job("../x/y: 1"), make_job("../x/y; 1"), make_job("..")]
    for index, job in enumerate(jobs):
        store.save(job, done(vus_pr=float(index)))
    assert [store.fresh(job)["values"]["vus_pr"] for job in jobs] == [0.0, 1.0, 2.0]  # type: ignore[index]
    assert all(path.resolve().is_relative_to(tmp_path / "jobs") for path in tmp_path.rglob("*.json"))


def test_an_output_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        JobStore(tmp_path / "out")
