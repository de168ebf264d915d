"""Jobs that hang, die, raise or need too much are outcomes; the others go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.unit.training.adaptation.jobs import execute
from wheeltapper.training.adaptation.service.life import JobOutcome
from wheeltapper.training.adaptation.service.pool import NICE, JobPool


def run(pool: JobPool, jobs: list[str], timeout_s: float = 120.0) -> dict[str, JobOutcome]:
    """All of them at once, to their ends."""
    for job in jobs:
        pool.start(job, job)
    outcomes: dict[str, JobOutcome] = {}
    deadline = time.monotonic() + timeout_s
    while len(pool):
        assert time.monotonic() < deadline
        outcomes |= dict(pool.ended())
        time.sleep(0.02)
    return outcomes


def test_every_job_has_an_outcome_and_what_it_printed_is_in_the_log(tmp_path: Path) -> None:
    # given a pool with little time and memory
    log = tmp_path / "new" / "jobs.log"
    with JobPool(3, log, execute=execute, timeout_s=12.0, memory_mb=3_000) as pool:
        # when jobs hang, die, raise, need too much memory, or are well
        outcomes = run(pool, ["well", "die", "raise", "eat", "hang"])
    # then each is told of as it was
    assert {job: outcome.status for job, outcome in outcomes.items()} == {
        "well": "accepted", "die": "failed", "raise": "failed", "eat": "failed", "hang": "failed",
    }  # fmt: skip
    assert "signal SIGKILL" in outcomes["die"].reason
    assert "ValueError: no such thing" in outcomes["raise"].reason
    assert "adaptation.job_memory_mb" in outcomes["eat"].reason
    assert "adaptation.job_timeout_s" in outcomes["hang"].reason
    assert set(log.read_text().split("\n")) >= {"job well", "job raise"}
    # and a job stands back behind others
    assert int(outcomes["well"].reason) == min(os.nice(0) + NICE, 19)
