"""The table: for the terminal and for docs/benchmark.md."""

from __future__ import annotations

from typing import Any

from contenders import PROMISES


def add_ratios(outcome: dict[str, Any]) -> None:
    """Adds `ratio_to_quix` and `promised` to every throughput entry, where quix took part."""
    throughput = outcome.get("throughput", {})
    base = throughput.get("quix", {}).get("rows_per_cpu_s")
    for name, entry in throughput.items():
        if base:
            entry["ratio_to_quix"] = round(entry["rows_per_cpu_s"] / base, 2)
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
    if "throughput" in outcome:
        lines += _throughput(outcome["throughput"])
    if "scoring" in outcome:
        lines += _scoring(outcome["scoring"])
    if "latency" in outcome:
        lines += _latency(outcome["latency"])
    return "\n".join(lines)


def _throughput(entries: dict[str, Any]) -> list[str]:
    lines = [
        "| contender | rows | rows per CPU-s | each run | of quix | promised | rows/s | start, CPU-s | peak MB | alerts |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, entry in entries.items():
        runs = entry["rows_per_cpu_s_of_each_run"]
        ratio = f"{entry['ratio_to_quix']:.2f}" if "ratio_to_quix" in entry else ""
        promised = f">= {entry['promised']:g}" if "promised" in entry else ""
        lines.append(
            f"| {name} | {entry['rows']:,} | {entry['rows_per_cpu_s']:,} | {min(runs):,} - {max(runs):,} | {ratio} | {promised} "
            f"| {entry['rows_per_s']:,} | {entry['start_cpu_s']} | {entry['peak_mb']} | {entry['alerts'].splitlines()[0]} |"
        )
    return [*lines, ""]


def _scoring(entry: dict[str, Any]) -> list[str]:
    speed = entry["windows_per_cpu_s"]
    lines = ["| scoring, windows in one call | windows per CPU-s | of the bare loop |", "|---|--:|--:|"]
    lines.append(f"| bare `session.run`, 512 | {speed['bare']:,} | |")
    lines += [f"| {name} | {speed[name]:,} | {kept:.1%} |" for name, kept in entry["kept"].items()]
    return [*lines, ""]


def _latency(entries: dict[str, Any]) -> list[str]:
    lines = [
        "| latency of | rows/s | steps of alerts | p50 ms | p90 ms | p99 ms | max ms | CPU-s | alerts |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, entry in entries.items():
        if "p50_ms" in entry:
            cells = [entry[key] for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "cpu_s", "alerts")]
            lines.append(f"| {name} | {entry['rows_per_s']:,} | {entry['alert_steps']} | " + " | ".join(map(str, cells)) + " |")
        else:
            lines.append(f"| {name} | | 0 | | | | | | {entry.get('failed', entry.get('alerts', 'none')).splitlines()[0]} |")
    return [*lines, ""]
