"""report/model_card.md: a description of the bundle for the person who decides whether to use it."""

from __future__ import annotations

from wheeltapper.schemas.bundle.manifest import AudioManifest, BundleManifest, Channel, SensorManifest
from wheeltapper.training.fitting.calibration import CalibrationScores

_METHODS = {
    "peaks": "enough alarms in the held-out windows to count them",
    "gpd": "a generalised Pareto tail through the peaks of the held-out windows' alarms",
    "maximum": "half again as far above the median as the largest held-out score",
    "moved-tail": "the tail of a level that was chosen from many windows, moved and stretched to where few recent windows lie",
    "no-spread": "a fixed step above the one score that all held-out windows have",
}


def model_card(manifest: BundleManifest, scores: CalibrationScores) -> str:
    """Markdown; says nothing that depends on the time of writing."""
    calibration = manifest.calibration
    span = manifest.window * manifest.sampling_interval_s
    lines = [
        f"# {manifest.bundle_id}",
        "",
        f"{manifest.detector}, version {manifest.detector_version}, fitted on {_fitted_on(manifest)}.",
        "",
        *_looks_at(manifest, span),
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
        ", ".join(channel.name + (f" ({channel.unit})" if channel.unit else "") for channel in _channels(manifest)),
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


def _channels(manifest: BundleManifest) -> tuple[Channel, ...]:
    return manifest.channels if isinstance(manifest, (SensorManifest, AudioManifest)) else ()


def _fitted_on(manifest: BundleManifest) -> str:
    data, channels = manifest.training_data, len(_channels(manifest))
    if isinstance(manifest, AudioManifest):
        return (
            f"{data.rows / manifest.sample_rate:.4g} s of {data.dataset} {data.entity} ({channels} channel(s) at "
            f"{manifest.sample_rate} Hz)"
        )
    return (
        f"{data.rows} rows of {data.dataset} {data.entity} ({channels} channels, one row every "
        f"{manifest.sampling_interval_s:g} s)"
    )


def _looks_at(manifest: BundleManifest, span: float) -> list[str]:
    if isinstance(manifest, AudioManifest):
        known = ", ".join(spec.name for spec in manifest.attributes)
        return [
            f"- Looks at windows of {span:g} s, scored every {manifest.stride * manifest.sampling_interval_s:g} s.",
            f"- Blames {len(manifest.bands)} bands of frequency in {manifest.time_columns} parts of a window.",
            *([f"- Takes the operating point into account: {known}."] if known else []),
        ]
    lag = manifest.lag if isinstance(manifest, SensorManifest) else 0
    warm_up = manifest.warm_up if isinstance(manifest, SensorManifest) else None
    return [
        f"- Looks at windows of {manifest.window} rows ({span:g} s), scored every {manifest.stride} rows"
        + (f"; the score belongs to the row {lag} before the window's last." if lag else "."),
        *([] if warm_up is None else [f"- Scores a machine from its row {warm_up} on."]),
    ]
