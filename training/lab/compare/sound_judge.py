"""One job of a comparison of sound, done in a worker process: read the clips, train, bundle, judge, measure."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.training.datasets.registry import load_sound
from wheeltapper.training.datasets.sound.series import SoundSeries, windows_of_clips
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.fingerprint import clips_sha256
from wheeltapper.training.fitting.options import ExtraData, TrainOptions
from wheeltapper.training.fitting.sound_windows import attribute_rows, window_and_hop
from wheeltapper.training.judging.sound_evaluation import audio_manifest, evaluate_sound, sound_floor_metrics
from wheeltapper.training.lab.compare.jobs import Job
from wheeltapper.training.lab.compare.judge import graph_speed, outcome_of

_LEFT_OUT = ("bundle", "detector", "dataset", "entity", "floors", "warnings")


def execute(job: Job) -> dict[str, Any]:
    """A job's outcome; see `store.Record`. No exception leaves it, except for the end of the process."""
    return outcome_of(job, _KINDS[job.kind])


def _facts(job: Job) -> dict[str, Any]:
    series = _series(job.dataset, job.folder, job.entity)
    said = json.dumps([series.channels, series.units, series.sample_rate])
    labels = [[clip.anomalous, clip.domain, list(map(list, clip.disturbed))] for clip in series.test]
    parts = [said, clips_sha256(series.train), clips_sha256(series.test), json.dumps(labels)]
    return {
        "sha256": hashlib.sha256("".join(parts).encode()).hexdigest()[:32],
        "train_clips": len(series.train),
        "test_clips": len(series.test),
        "anomalous": sum(bool(clip.anomalous) for clip in series.test),
        "train_seconds": round(series.seconds, 3),
        "channels": len(series.channels),
        "sample_rate": series.sample_rate,
        "domains": sorted({clip.domain for clip in series.test if clip.domain}),
    }


def _floors(job: Job) -> dict[str, Any]:
    series = _series(job.dataset, job.folder, job.entity)
    return {"floors": sound_floor_metrics(series, *window_and_hop(series, TrainOptions()))}


def _detector(job: Job) -> dict[str, Any]:
    series = _series(job.dataset, job.folder, job.entity)
    options = TrainOptions(
        seed=job.seed,
        settings=dict(job.settings),
        device=job.device,
        budget_s=job.budget_s,
        extra_data=ExtraData(related_sounds=partial(_series, job.dataset, job.folder)),
    )
    wall, processor = time.perf_counter(), time.process_time()
    fitted, held_out = train_detector(job.detector, series, options)
    seconds, processor_seconds = time.perf_counter() - wall, time.process_time() - processor
    with tempfile.TemporaryDirectory(prefix="wheeltapper-compare-") as folder:
        bundle = write_bundle(
            fitted, series, Path(folder) / "bundle", scores=held_out, seed=job.seed, torchscript=False
        )
        report = evaluate_sound(bundle, series, floors=False).to_json()
        manifest = audio_manifest(bundle)
        graph = bundle.open_graph(device="cpu", threads=1)
        windows, owner = windows_of_clips(series.test[:4] or series.train[:4], manifest.window, manifest.stride)
        clips = series.test or series.train
        rows = (
            attribute_rows([clips[index] for index in owner[:1]], manifest.attributes) if manifest.attributes else None
        )
        # As a stream scores it: one window of one microphone at a time.
        speed = graph_speed(graph, np.ascontiguousarray(windows[:1]), rows)
        return {
            **{name: value for name, value in report.items() if name not in _LEFT_OUT},
            "train_seconds": round(seconds, 3),
            "train_processor_seconds": round(processor_seconds, 3),
            "windows_per_second": round(speed, 1),
            "streams_per_core": round(speed * manifest.stride / manifest.sample_rate, 1),
            "bundle_bytes": sum(map(len, bundle.files.values())),
            "cut": bool(fitted.parameters.get("cut_by_budget", False)),
            "warnings": [*manifest.warnings, *report["warnings"]],
        }


_KINDS = {"facts": _facts, "floors": _floors, "detector": _detector}


@lru_cache(maxsize=1)
def _series(dataset: str, folder: Path | None, entity: str) -> SoundSeries:
    return load_sound(dataset, folder, entity)
