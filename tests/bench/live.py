"""Job `live`: rows that come at a steady rate, as from machines that run: CPU a row, and the time until an alert can be read.

It is the measurement of `latency` at several rates, for both runners. CPU is that of the steady time alone: the runner's own
counters at its begin and at its end, as the producer marks them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Job
from latency import measure_latency
from workload import INTERVAL_US, Detector

RATES = (500.0, 5_000.0, 20_000.0)
RUNNERS = ("direct", "faust")


def measure_live(
    detector: Detector,
    *,
    brokers: str,
    job: Job,
    folder: Path,
    seconds: float,
    rates: tuple[float, ...] = RATES,
) -> dict[str, Any]:
    """'rate runner' -> what `measure_latency` gives."""
    return {
        f"{rate:g} {runner}": measure_latency(
            CONTENDERS[runner],
            detector,
            brokers=brokers,
            job=job,
            folder=folder,
            machines=max(1, round(rate * INTERVAL_US / 1e6)),  # each at the rate that its bundle was trained for
            rate=rate,
            seconds=seconds,
            label=f"live-{rate:g}-{runner}",
        )
        for rate in rates
        for runner in RUNNERS
    }


def markdown(outcome: dict[str, Any]) -> list[str]:
    """One line for each rate and runner."""
    lines = [
        "| rows/s | runner | rows/s, measured | CPU us a row | steps of alerts | p50 ms | p90 ms | p99 ms | max ms | alerts |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, entry in outcome.items():
        rate, _, runner = name.partition(" ")
        if "p50_ms" not in entry:
            lines.append(
                f"| {float(rate):,.0f} | {runner} | | | 0 | | | | | {entry.get('failed', entry.get('alerts'))} |"
            )
            continue
        cells = [entry[key] for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "alerts")]
        lines.append(
            f"| {float(rate):,.0f} | {runner} | {entry['rows_per_s']:,} | {entry.get('cpu_us_a_row', '')} | {entry['alert_steps']} | "
            + " | ".join(map(str, cells))
            + " |"
        )
    return [*lines, ""]
