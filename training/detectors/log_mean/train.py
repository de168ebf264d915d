"""Fits the members of the mean of log scores to one entity, and makes their scores comparable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wheeltapper.models.fitted import FittedDetector
from wheeltapper.models.log_mean.fit import join_members
from wheeltapper.models.log_mean.fitted import Member, combine
from wheeltapper.models.settings import DetectorSettings
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.kmeans_ad.spec import SPEC as KMEANS_AD
from wheeltapper.training.detectors.log_mean.spec import SPEC
from wheeltapper.training.detectors.pca.spec import SPEC as PCA
from wheeltapper.training.detectors.range_bands.spec import SPEC as RANGE_BANDS
from wheeltapper.training.fitting.calibration import BLOCKS, CalibrationScores, alarm_level, every_nth
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec

MEMBERS: tuple[DetectorSpec[DetectorSettings], ...] = (RANGE_BANDS, PCA, KMEANS_AD)  # type: ignore[assignment]


def train_log_mean(series: SensorSeries, options: TrainOptions) -> tuple[FittedDetector, CalibrationScores]:
    """The mean of log scores of those members that the history suffices for.

    Held-out scores come from the members' own cross-fits, at the windows that all of them scored.

    Raises:
        InputError: too few rows for any member, values that are not numbers, or no such setting.
    """
    settings = SPEC.settings_for(options)
    # Members with other windows would score other rows at a stride above 1: they are thinned together, at the end.
    member_options = replace(options, stride=1, settings={"scale": settings.scale}, window=settings.window)
    members: list[Member] = []
    held_out: list[CalibrationScores] = []
    left_out: list[str] = []
    for spec in MEMBERS:
        least = spec.settings_for(member_options).least_rows  # type: ignore[attr-defined]
        if len(series.train) * (BLOCKS - 1) < least * BLOCKS and spec is not MEMBERS[-1]:
            left_out.append(f"{spec.name} is left out: {len(series.train)} train rows are too few for its window")
            continue
        fitted, scores = spec.load_train()(series, member_options)
        calibration = alarm_level(scores, settings.rate)
        members.append(Member(fitted, calibration.center, calibration.alarm_level))
        held_out.append(scores)
    joined = join_members(members, settings, len(series.channels), left_out)
    return joined, every_nth(_joined(held_out, members, settings.offset, series), options.stride)


def _joined(
    held_out: list[CalibrationScores], members: list[Member], offset: float, series: SensorSeries
) -> CalibrationScores:
    """The mean of log scores of the windows that every member scored."""
    common = held_out[0].time
    for scores in held_out[1:]:
        common = common[np.isin(common, scores.time)]
    if not len(common):
        raise InputError(
            f"{series.dataset} {series.entity}: no window was scored by every member of log-mean; give more history"
        )
    comparable = []
    for scores, member in zip(held_out, members, strict=True):
        first = np.unique(scores.time, return_index=True)
        comparable.append(member.calibrate(scores.score[first[1][np.searchsorted(first[0], common)]]))
    shortest = min(held_out, key=lambda scores: len(scores.score))
    return replace(shortest, score=combine(comparable, offset), time=common, embedding=None)
