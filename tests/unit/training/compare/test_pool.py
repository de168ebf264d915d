"""Worker processes: what dies, hangs or works is one outcome each, and nothing is left running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.unit.training.compare.fake_jobs import act_by_name, make_job
from wheeltapper.training.lab.compare.jobs import Job
from wheeltapper.training.lab.compare.pool import GRACE_S, Pool, hard_limit_s


def limit_of_hanging_jobs(job: Job) -> float | None:
    return 0.5 if job.entity == "hang" else None


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_crash_and_a_hang_cost_only_their_own_jobs(tmp_path: Path) -> None:
    # Given jobs of which one kills its process and one never ends
    names = ["a", "crash", "b", "hang", "c"]
    started: list[str] = []
    # When two workers run them
    with Pool(2, tmp_path / "log", execute=act_by_name, limit_s=limit_of_hanging_jobs) as pool:
        outcomes = pool.run([make_job(name) for name in names], on_start=lambda job: started.append(job.entity))
        found = {job.entity: outcome for job, outcome in outcomes}
        pids = [outcome["values"]["pid"] for outcome in found.values() if outcome["status"] == "done"]
        # Then each has an outcome, with the reason where there is no result
        assert {name: outcome["status"] for name, outcome in found.items()} == {
            "a": "done",
            "b": "done",
            "c": "done",
            "crash": "failed",
            "hang": "killed",
        }
        assert "SIGKILL" in found["crash"]["error"]
        assert "did not end in time for its budget" in found["hang"]["error"]
        assert started == names
    # And no process outlives the pool, and every worker had one thread
    time.sleep(0.05)
    assert [pid for pid in pids if is_running(pid)] == []
    assert found["a"]["values"]["OMP_NUM_THREADS"] == found["c"]["values"]["MKL_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("name", "text"), [("exit", "SystemExit: 3"), ("raise", "ValueError: no such channel")])
def test_what_leaves_a_job_costs_only_that_job(tmp_path: Path, name: str, text: str) -> None:
    # Given a job that asks its process to exit, or raises, and one behind it
    with Pool(1, tmp_path / "log", execute=act_by_name) as pool:
        # When they are run
        found = {job.entity: outcome for job, outcome in pool.run([make_job(name), make_job("a")])}
    # Then the first has failed with the reason, and the second is done
    assert {entity: outcome["status"] for entity, outcome in found.items()} == {name: "failed", "a": "done"}
    assert text in found[name]["error"]


def test_only_a_budget_sets_a_hard_limit() -> None:
    assert hard_limit_s(make_job("a")) is None
    assert hard_limit_s(make_job("a", budget_s=60.0)) == 180.0 + GRACE_S


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS"])
def test_the_parent_keeps_its_own_environment(tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "7")
    with Pool(1, tmp_path / "log", execute=act_by_name) as pool:
        list(pool.run([make_job("a")]))
    assert os.environ[variable] == "7"
