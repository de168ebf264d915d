"""The gate on a recorded series: what `wheeltapper evaluate --gate` asks."""

from __future__ import annotations

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.imputation import carry_forward
from wheeltapper.stream.core.row_memory import usual_values
from wheeltapper.stream.core.windows import windows_of
from wheeltapper.training.adaptation.evidence import Evidence, KnownWindows
from wheeltapper.training.adaptation.gate import GatePolicy, Verdict, gate
from wheeltapper.training.adaptation.recent import recent_part
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.fitting.calibration import bounded_sample

MOST_KNOWN = 2_000
"""Labelled windows of either kind that are asked about, evenly spaced."""


def judge_on_series(
    old: Bundle, new: Bundle, series: SensorSeries, false_alarms_per_day: float, *, seed: int = 0
) -> Verdict:
    """Whether `new` may replace `old`, by a series' test part.

    Rows without a label of a fault are the held-out recent rows: neither bundle may have been fitted on them. Windows that end in a
    labelled row are known faults, evenly spaced ones that end in another row known normal ones.

    Raises:
        InputError: bundles of different form, or a series that holds no whole window.
    """
    for field in ("channel_names", "window", "stride", "lag", "sampling_interval_s"):
        wanted, found = getattr(old.manifest, field), getattr(new.manifest, field)
        if wanted != found:
            raise InputError(
                f"{new.location}: {field} is {found}, the bundle {old.location} that it may replace has {wanted}; give a bundle that was "
                "adapted from it"
            )
    evidence = Evidence(old, recent_part(series), _known(old, series), seed)
    return gate(
        evidence.old_scores(),
        evidence.scores(new),
        GatePolicy(false_alarms_per_day=false_alarms_per_day),
    )


def _known(bundle: Bundle, series: SensorSeries) -> KnownWindows | None:
    if series.test_labels is None or not series.test_labels.any():
        return None
    manifest = bundle.manifest
    if len(series.test) < manifest.window:
        raise InputError(
            f"{series.dataset} {series.entity}: {len(series.test)} test rows, the bundle's window is {manifest.window} rows"
        )
    values = carry_forward(series.test, usual_values(bundle.reference_rows())).astype(np.float32)
    windows = windows_of(values, manifest.window)
    labels = series.test_labels[manifest.window - 1 - manifest.lag : len(series.test) - manifest.lag].astype(bool)
    parts = [np.flatnonzero(labels == wanted) for wanted in (False, True)]
    normal, faults = (part[bounded_sample(len(part), MOST_KNOWN)] for part in parts)
    return KnownWindows(windows[normal], windows[faults], faults // manifest.window)
