"""The table: for the terminal and for docs/benchmark.md."""

from __future__ import annotations

from typing import Any

import default_detector
import live
import sound
from contenders import PROMISES


def add_ratios(outcome: dict[str, Any]) -> None:
    """Adds to every throughput entry its ratio to the quixstreams programs, where they took part, and what is promised."""
    throughput = outcome.get("throughput", {})
    for name, entry in throughput.items():
        for base in ("quix", "quix-bytes"):
            if {"rows_per_cpu_s"} <= entry.keys() & throughput.get(base, {}).keys():
                entry[f"ratio_to_{base}"] = round(entry["rows_per_cpu_s"] / throughput[base]["rows_per_cpu_s"], 2)
        if name in PROMISES:
            entry["promised"] = PROMISES[name]


def markdown(outcome: dict[str, Any]) -> str:
    """The outcome as markdown."""
    machine = outcome["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"Command: `{outcome['command']}`",
        "",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}; {versions}.",
        "",
    ]
    for job, table in tables(outcome).items():
        lines += [f"### {job}", "", *table]
    return "\n".join(lines)


def tables(outcome: dict[str, Any]) -> dict[str, list[str]]:
    """Job -> lines of its table; of the jobs that ran."""
    makers = {
        "throughput": ("throughput", _throughput),
        "default": ("default", default_detector.markdown),
        "sizing": ("default", default_detector.sizing),
        "live": ("live", live.markdown),
        "scoring": ("scoring", _scoring),
        "sound": ("sound", sound.markdown),
        "latency": ("latency", _latency),
    }
    return {job: make(outcome[part]) for job, (part, make) in makers.items() if part in outcome}


def placed(page: str, outcome: dict[str, Any]) -> str:
    """A page with the tables of the jobs that ran between its marks `<!-- bench: JOB -->` and `<!-- end -->`.

    Raises:
        ValueError: the page has no marks for one of the jobs.
    """
    machine = outcome["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    for job, table in tables(outcome).items():
        begin, end = f"<!-- bench: {job} -->", "<!-- end -->"
        before, found, rest = page.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"the page has no '{begin}' with a '{end}' behind it")
        taken = [
            f"Command: `{outcome['command']}`, load before: {machine['load_before']}. Machine: {machine['cpu']}, {machine['cores']} cores,",
            f"{machine['system']}, Python {machine['python']}; {versions}.",
        ]
        text = "\n".join([begin, "", *taken, "", *table]).rstrip()
        page = before + text + "\n\n" + end + rest.partition(end)[2]
    return page


def _throughput(entries: dict[str, Any]) -> list[str]:
    lines = [
        "| contender | rows | rows per CPU-s | each run | / quix | promised | / quix-bytes | rows/s | start, CPU-s | peak MB | alerts |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, entry in entries.items():
        if "rows_per_cpu_s" not in entry:
            lines.append(f"| {name} | {entry['rows']:,} | | | | | | | | | {entry['alerts']} |")
            continue
        runs = entry["rows_per_cpu_s_of_each_run"]
        promised = f">= {entry['promised']:g}" if "promised" in entry else ""
        lines.append(
            f"| {name} | {entry['rows']:,} | {entry['rows_per_cpu_s']:,} | {min(runs):,} - {max(runs):,} "
            f"| {entry.get('ratio_to_quix', '')} | {promised} | {entry.get('ratio_to_quix-bytes', '')} "
            f"| {entry['rows_per_s']:,} | {entry['start_cpu_s']} | {entry['peak_mb']} | {entry['alerts']} |"
        )
    return [*lines, ""]


def _scoring(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"| scoring | windows per CPU-s | of the bare loop (promised: >= {entry['promised']:.0%}) |",
        "|---|--:|--:|",
    ]
    for name, speed in entry["windows_per_cpu_s"].items():
        lines.append(f"| {name} | {speed:,} | {entry['of_bare'][name]:.1%} |")
    return [*lines, ""]


def _latency(entries: dict[str, Any]) -> list[str]:
    lines = [
        "| latency of | rows/s | steps of alerts | p50 ms | p90 ms | p99 ms | max ms | CPU-s | alerts |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, entry in entries.items():
        if "p50_ms" in entry:
            cells = [entry[key] for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "cpu_s", "alerts")]
            lines.append(
                f"| {name} | {entry['rows_per_s']:,} | {entry['alert_steps']} | " + " | ".join(map(str, cells)) + " |"
            )
        else:
            lines.append(f"| {name} | | 0 | | | | | | {entry.get('failed', entry.get('alerts'))} |")
    return [*lines, ""]
