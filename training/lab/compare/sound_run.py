"""A comparison of detectors of sound from beginning to end; jobs, store, pool and reports are those of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.auto import AUTO
from wheeltapper.training.detectors.auto_sound import PREFERRED
from wheeltapper.training.detectors.registry import detector_entry, detectors_of
from wheeltapper.training.lab.compare import sound_judge
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.document import write_document
from wheeltapper.training.lab.compare.fingerprints import code_fingerprint, digest
from wheeltapper.training.lab.compare.jobs import RECORDS, Job, Kind, facts_jobs
from wheeltapper.training.lab.compare.results import FLOOR_PREFIX, Place, facts_of
from wheeltapper.training.lab.compare.run import (
    LOG,
    REPORT,
    CompareOptions,
    Comparison,
    comparison_notes,
    doing,
    kept_contenders,
    kept_records,
    write_results,
)
from wheeltapper.training.lab.compare.sound_report import SoundRun, build_sound_report
from wheeltapper.training.lab.compare.sources import Source
from wheeltapper.training.lab.compare.store import JobStore, Record
from wheeltapper.training.lab.compare.watch import Watch, silent_watch

METRICS = (
    "auc", "pauc", "auc_source", "auc_target", "official", "recall", "false_alarm_rate", "precision", "f1", "alarm_recall", "alarm_rate",
    "patch_share", "patch_area", "patch_peak", "train_seconds", "train_processor_seconds", "windows_per_second", "streams_per_core",
    "bundle_bytes",
)  # fmt: skip
_JUDGE = "wheeltapper.training.judging.sound_evaluation"
_FLOORS = "wheeltapper.training.judging.sound_floors"


def compare_sound(sources: Sequence[Source], options: CompareOptions, *, watch: Watch = silent_watch) -> Comparison:
    """Do what is not done yet, and write results and reports.

    Raises:
        InputError: a stride, or the output folder cannot be written.
    """
    if options.stride != 1:
        raise InputError(f"--stride {options.stride}: sound is scored every half window; leave it out")
    store = JobStore(options.out)
    log = options.out / LOG
    log.write_bytes(b"")
    with doing(store, options, log, sound_judge.execute, watch) as work:
        records = work.do(facts_jobs(sources), "reading clips")
        records += work.do(sound_jobs(sources, facts_of(records), options), "training and judging")
    rank = {(s.dataset, entity): i for i, (s, entity) in enumerate((s, e) for s in sources for e in s.entities)}
    records.sort(key=lambda record: rank[record["dataset"], record["entity"]])
    return write_sound(records, options, done=work.done, kept=work.kept)


def report_sound(options: CompareOptions) -> Comparison:
    """Results and reports from what the output folder holds.

    Raises:
        InputError: it holds nothing.
    """
    records = kept_records(options.out)
    return write_sound(
        records, replace(options, contenders=kept_contenders(records, options)), done=0, kept=len(records)
    )


def sound_jobs(
    sources: Sequence[Source], facts: Mapping[Place, Mapping[str, Any]], options: CompareOptions
) -> list[Job]:
    """Floors and detectors, entity by entity, of those whose clips could be read."""
    chosen = [chosen_by_auto()] if options.auto else []
    jobs = []
    for source in sources:
        for entity in source.entities:
            if (source.dataset, entity) not in facts:
                continue
            data = facts[source.dataset, entity]["sha256"]
            place = (source.dataset, source.folder, entity)
            jobs.append(Job("floors", *place, digest([RECORDS, data, code_fingerprint(_FLOORS)])))
            for contender in dict.fromkeys((*options.contenders, *chosen)):
                module = detector_entry(contender.detector).train.partition(":")[0]
                code = [code_fingerprint(module), code_fingerprint(_JUDGE)]
                kind: Kind = "detector"
                for seed in options.seeds if contender.seeded else options.seeds[:1]:
                    key = digest([RECORDS, data, code, contender.settings, seed])
                    jobs.append(
                        Job(
                            kind,
                            *place,
                            key,
                            contender.detector,
                            contender.settings,
                            seed,
                            options.budget_s,
                            device=options.device,
                        )
                    )
    return jobs


def chosen_by_auto() -> Contender:
    """What `train auto` takes for sound, whatever the clips."""
    known = detectors_of("audio")
    return Contender(PREFERRED if PREFERRED in known else next(iter(known)))


def write_sound(records: Sequence[Record], options: CompareOptions, *, done: int, kept: int) -> Comparison:
    """Results and reports from records.

    Raises:
        InputError: a file cannot be written.
    """
    rows = sound_rows(records, options)
    results = write_results(rows, options.out)
    run = SoundRun(options.command, facts_of(records), comparison_notes(records, options))
    document, overview = build_sound_report(rows, run)
    html, markdown = write_document(document, options.out, REPORT)
    return Comparison(rows, overview, html, markdown, results, done, kept)


def sound_rows(records: Sequence[Record], options: CompareOptions) -> list[dict[str, Any]]:
    """One row for each data set, entity, detector and seed, floors first; roles as `results.result_rows` has them."""
    wanted = [contender.label for contender in options.contenders]
    auto = chosen_by_auto().label if options.auto else None
    places = list(dict.fromkeys((record["dataset"], record["entity"]) for record in records))
    rows = []
    for place in places:
        mine = [record for record in records if (record["dataset"], record["entity"]) == place]
        for record in mine:
            if record["kind"] == "facts" and record["status"] != "done":
                rows += [_row(record, label, "detector") for label in wanted]
            elif record["kind"] == "floors" and record["status"] != "done":
                rows.append(_row(record, "floors", "floor"))
            elif record["kind"] == "floors":
                floors = (record.get("values") or {}).get("floors", {})
                rows += [_row(record, FLOOR_PREFIX + name, "floor") | values for name, values in floors.items()]
        trained = [record for record in mine if record["kind"] == "detector"]
        for label in wanted:
            rows += [_row(record, label, "detector") for record in trained if record["label"] == label]
        rows += [_row(record, AUTO, "auto") | {"chosen": auto} for record in trained if record["label"] == auto]
    return rows


def _row(record: Record, label: str, role: str) -> dict[str, Any]:
    values = record.get("values") or {}
    return {
        "dataset": record["dataset"],
        "entity": record["entity"],
        "detector": label,
        "role": role,
        "seed": record["seed"],
        "settings": record["settings"],
        **{name: values.get(name) for name in METRICS},
        "cut": bool(values.get("cut")) or record["status"] == "killed",
        "error": record["error"],
        "warnings": values.get("warnings", []),
    }
