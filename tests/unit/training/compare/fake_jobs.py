"""Jobs that do what a test needs, run in real worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from wheeltapper.training.lab.compare.jobs import Job


def make_job(entity: str, **changes: Any) -> Job:
    return Job(
        **{"kind": "detector", "dataset": "made", "folder": None, "entity": entity, "key": "k", "detector": "pca"}
        | changes
    )


def act_by_name(job: Job) -> dict[str, Any]:
    """The entity's name says what happens to its worker."""
    if job.entity == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.entity == "exit":
        sys.exit(3)
    if job.entity == "raise":
        raise ValueError("no such channel")
    if job.entity == "hang":
        time.sleep(60)
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {"status": "done", "error": None, "values": {"pid": os.getpid(), **threads}, "seconds": 0.0}


def read_but_do_not_train(job: Job) -> dict[str, Any]:
    """Facts as they are, everything else made up."""
    if job.kind == "facts":
        from wheeltapper.training.lab.compare.judge import execute

        return execute(job)
    trace = {"low": [0.1], "high": [0.2]}
    values = {"floors": {}} if job.kind == "floors" else {"vus_pr": 0.5, "train_seconds": 1.0, "trace": trace}
    return {"status": "done", "error": None, "values": values, "seconds": 0.0}
