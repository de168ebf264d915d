"""report/model_card.md: a description of the bundle for the person who decides whether to use it."""

from __future__ import annotations

from wheeltapper.schemas.bundle.manifest import Manifest
from wheeltapper.training.fitting.calibration import CalibrationScores

_METHODS = {
    "peaks": "enough alarms in the held-out windows to count them",
    "gpd": "a generalised Pareto tail through the peaks of the held-out windows' alarms",
    "maximum": "half again as far above the median as the largest held-out score",
    "moved-tail": "the tail of a level that was chosen from many windows, moved and stretched to where few recent windows lie",
    "no-spread": "a fixed step above the one score that all held-out windows have",
}


def model_card(manifest: Manifest, scores: CalibrationScores) -> str:
    """Markdown; says nothing that depends on the time of writing."""
    calibration, data = manifest.calibration, manifest.training_data
    span = manifest.window * manifest.sampling_interval_s
    lines = [
        f"# {manifest.bundle_id}",
        "",
        f"{manifest.detector}, version {manifest.detector_version}, fitted on {data.rows} rows of {data.dataset} "
        f"{data.entity} ({len(manifest.channels)} channels, one row every {manifest.sampling_interval_s:g} s).",
        "",
        f"- Looks at windows of {manifest.window} rows ({span:g} s), scored every {manifest.stride} rows"
        + (f"; the score belongs to the row {manifest.lag} before the window's last." if manifest.lag else "."),
        *([] if manifest.warm_up is None else [f"- Scores a machine from its row {manifest.warm_up} on."]),
        f"- Alarm level {calibration.alarm_level:.6g} (raw score), median {calibration.center:.6g}: calibrated score 1.0 "
        "and 0.",
        f"- Chosen for {calibration.false_alarms_per_day:g} false alarms per machine and day from {calibration.windows} "
        f"held-out windows ({scores.origin}; {scores.days:.3g} days), by {_METHODS.get(calibration.method, calibration.method)}.",
        "",
        "## What it cannot see",
        "",
        *([f"- {warning}" for warning in manifest.warnings] or ["Nothing known beyond its detector's general limits."]),
        "",
        "## Settings",
        "",
        *[f"- {name}: {value}" for name, value in sorted(manifest.parameters.items())],
        "",
        "## Channels",
        "",
        ", ".join(channel.name + (f" ({channel.unit})" if channel.unit else "") for channel in manifest.channels),
        "",
    ]
    if manifest.metrics:
        lines += [
            "## Evaluation",
            "",
            *[f"- {name}: {value:.4g}" for name, value in sorted(manifest.metrics.items())],
            "",
        ]
    return "\n".join(lines)
