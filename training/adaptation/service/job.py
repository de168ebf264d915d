"""One job: climb the ladder for a machine, and put the child where workers find it. Runs in a process of its own.

A job lives in a folder of its own: the rows that it learns from, so that a restart repeats it with the same; its outcome, so that
it is not repeated once it has ended. The child is written whole beside, and moved to its place at the end.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.bundle.remote import upload
from wheeltapper.schemas.bundle.signature import read_private_key, sign_bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.adaptation.service.life import JobOutcome

ROWS = "rows.npz"
OUTCOME = "outcome.json"
CHILD = "child"
REPORT = "report.html"


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        parent_uri, parent_sha256: the bundle to adapt.
        accepted: an operator said that what the machine does now is the new normal.
        tries: jobs of the same adaptation that the gate rejected before.
        alignment: of reference and recent windows, where a network is fine-tuned.
        folder: the job's own. out: where children and reports go.
        signing_key, signing_key_password: PEM file of the key that signs the child, and what opens it; empty: it is not signed.
    """

    adaptation_id: str
    machine: str
    rule: str
    parent_uri: str
    parent_sha256: str
    false_alarms_per_day: float
    budget_s: float
    accepted: bool = False
    tries: int = 0
    alignment: str = "none"
    folder: str = ""
    out: str = ""
    signing_key: str = ""
    signing_key_password: str = field(default="", repr=False)


class Store:
    """Where jobs work and where their children go.

    Attributes:
        log: what jobs print.
    """

    def __init__(self, out: str, work: Path | None = None) -> None:
        """
        Args:
            out: folder, or s3://bucket/path, for children and reports.
            work: folder for jobs; None: `.jobs` in `out`, or `.adapt-jobs` where that is remote.

        Raises:
            InputError: a folder that cannot be made.
        """
        self._out = out if is_remote(out) else str(Path(out).resolve())
        self._work = (work or (Path(".adapt-jobs") if is_remote(out) else Path(out) / ".jobs")).resolve()
        self.log = self._work / "jobs.log"
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self._work}: cannot be made ({error.strerror}); choose another --out or --work"
            ) from error

    def prepare(self, job: Job, times: np.ndarray, values: np.ndarray, labelled: Any = None) -> Job:
        """Make the job's folder with its rows; those of an earlier, unfinished run are kept.

        Args:
            times: [n] int64, us. values: [n, C] float32, raw units.
            labelled: `LabelledWindows` of the machine, or None.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = self._work / f"{job.adaptation_id}{f'-{job.tries}' if job.tries else ''}"
        rows = folder / ROWS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not rows.is_file():
                known = (
                    {} if labelled is None else {f"labelled_{name}": array for name, array in vars(labelled).items()}
                )
                beside = folder / f".{ROWS}"
                with beside.open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, times=times, values=values, **known)
                os.replace(beside, rows)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error}); is the disk full?") from error
        return replace(job, folder=str(folder), out=self._out)


def is_remote(uri: str) -> bool:
    """True for what is not a folder of this machine."""
    return "://" in uri and not uri.startswith("file://")


def run_job(job: Job) -> JobOutcome:
    """Do it, unless it has been done.

    Raises:
        InputError: a parent that is not there or not the one that was meant, rows of another width, no room for the child.
    """
    folder = Path(job.folder)
    done = folder / OUTCOME
    if done.is_file():
        return JobOutcome(**json.loads(done.read_text(encoding="utf-8")))
    outcome = _climb(job, folder)
    beside = folder / f".{OUTCOME}"
    beside.write_text(json.dumps(asdict(outcome), default=float), encoding="utf-8")
    os.replace(beside, done)
    return outcome


def _climb(job: Job, folder: Path) -> JobOutcome:
    from wheeltapper.training.adaptation.gate import GatePolicy
    from wheeltapper.training.adaptation.ladder import LadderOptions, climb
    from wheeltapper.training.adaptation.recent import RecentRows
    from wheeltapper.training.fitting.labels import LabelledWindows
    from wheeltapper.training.fitting.warm_start import alignment_named

    parent = open_bundle(job.parent_uri)
    if job.parent_sha256 and parent.manifest_sha256 != job.parent_sha256:
        raise InputError(
            f"{job.parent_uri}: its manifest has sha256 {parent.manifest_sha256[:12]}.., the one in service has "
            f"{job.parent_sha256[:12]}..; put the bundle back that is in service"
        )
    with np.load(folder / ROWS, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    labelled = None
    if "labelled_windows" in found:
        labelled = LabelledWindows(found["labelled_windows"], found["labelled_labels"], found["labelled_times"])
    recent = RecentRows(found["values"], found["times"], accepted=job.accepted)
    shutil.rmtree(folder / CHILD, ignore_errors=True)  # of a run that was killed
    options = LadderOptions(
        out=folder / CHILD,
        budget_s=job.budget_s,
        policy=GatePolicy(false_alarms_per_day=job.false_alarms_per_day),
        labelled=labelled,
        report=folder / REPORT,
        progress=True,
        alignment=alignment_named(job.alignment),
        told=lambda text: print(f"{job.machine} {job.rule} [{job.adaptation_id[:8]}]: {text}", flush=True),
    )
    result = climb(parent, recent, options)
    evidence = {
        "rows": len(recent),
        "attempts": [
            {"step": one.step, "change": one.change, "seconds": round(one.seconds, 2), **one.verdict.to_json()}
            for one in result.attempts
        ],
    }
    report = _place(folder / REPORT, f"{job.adaptation_id}.html", job.out) if (folder / REPORT).is_file() else ""
    if result.child is None:
        return JobOutcome("rejected", result.reason, report=report, evidence=evidence)
    child: Bundle = result.child
    if job.signing_key:
        key = read_private_key(Path(job.signing_key), job.signing_key_password or None)
        sign_bundle(folder / CHILD, key)
    uri = _place(folder / CHILD, child.manifest.bundle_id, job.out)
    return JobOutcome(
        status="accepted",
        reason=result.reason,
        step=result.step,
        bundle=child.manifest.bundle_id,
        uri=uri,
        sha256=child.manifest_sha256,
        report=report,
        evidence=evidence,
    )


def _place(source: Path, name: str, out: str) -> str:
    """Put a bundle or a file below `out`, whole or not at all; where it is then.

    Raises:
        InputError: it cannot be written.
    """
    if is_remote(out):
        uri = f"{out.rstrip('/')}/{name}"
        upload(source, uri)
        return uri
    target = Path(out) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, staging)
        if target.is_dir():
            shutil.rmtree(target)
    else:
        shutil.copyfile(source, staging)
    os.replace(staging, target)
    return str(target)
