"""Finished jobs on disk: one small JSON file each, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.compare.fingerprints import digest
from wheeltapper.training.lab.compare.jobs import Job

Record = dict[str, Any]
"""identity: kind, dataset, entity, label, seed, detector, settings. key: see `Job`. budget_s. status: 'done', 'refused' (the
detector or the data said no), 'failed' (a fault of ours, or a process that died) or 'killed' (did not obey its budget).
error: why it is not done. values: what was measured. seconds: wall time of the whole job."""


class JobStore:
    """Records of one output folder, by what they are of: a newer one replaces an older one."""

    def __init__(self, out: Path) -> None:
        """
        Raises:
            InputError: the folder cannot be made.
        """
        self.folder = out / "jobs"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error

    def fresh(self, job: Job, *, retry_errors: bool = False) -> Record | None:
        """The record of a job, where it still holds."""
        record = self._read(self._path(job))
        if record is None or record.get("key") != job.key:
            return None
        if retry_errors and record["status"] != "done":
            return None
        return record if _budget_holds(record, job.budget_s) else None

    def save(self, job: Job, outcome: Record) -> Record:
        """Keep a job's outcome (status, error, values, seconds); returns the whole record."""
        names = ("kind", "dataset", "entity", "label", "seed")
        record = {
            **{name: getattr(job, name) for name in names},
            "detector": job.detector,
            "settings": dict(job.settings),
            "key": job.key,
            "budget_s": job.budget_s,
            **outcome,
        }
        path = self._path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); make room or choose another --out"
            ) from error
        return record

    def records(self) -> Iterator[Record]:
        """Everything in the folder, whatever it was made for, in order of path."""
        for path in sorted(self.folder.rglob("*.json")):
            record = self._read(path)
            if record is not None:
                yield record

    def _path(self, job: Job) -> Path:
        # Readable, and apart even where two labels become one by leaving characters out.
        name = f"{job.label}.{job.kind}.{job.seed}"
        return (
            self.folder / _plain(job.dataset) / _plain(job.entity) / f"{_plain(name)}.{digest(job.identity)[:8]}.json"
        )

    def _read(self, path: Path) -> Record | None:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # never written, or damaged: done again
        complete = isinstance(record, dict) and {"key", "kind", "status", "dataset", "entity"} <= record.keys()
        return record if complete else None


def _budget_holds(record: Record, budget_s: float | None) -> bool:
    """Whether a result would be the same under another budget: cut ones only under their own, others if they fit."""
    if record.get("budget_s") == budget_s:
        return True
    values = record.get("values") or {}
    if record["status"] == "killed" or values.get("cut"):
        return False
    return budget_s is None or float(values.get("train_seconds") or 0.0) <= budget_s


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text)[:80].strip(".") or "_"
