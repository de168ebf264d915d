"""Jobs of the tests: they run in processes of their own, which import this module."""

from __future__ import annotations

import os
import signal
import time

from wheeltapper.training.adaptation.service.life import JobOutcome


def execute(job: str) -> JobOutcome:
    """Do what the job says."""
    print(f"job {job}", flush=True)
    if job == "hang":
        time.sleep(600)
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "raise":
        raise ValueError("no such thing")
    if job == "eat":
        return JobOutcome("accepted", str(len(bytearray(4 * 2**30))))
    return JobOutcome("accepted", str(os.nice(0)))
