"""A bundle of sound judged on clips with a known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from tests.helpers.sounds import RATE, fit_loudness, hum, make_sounds
from wheeltapper.models.fitted import FittedDetector
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound
from wheeltapper.training.judging.sound_evaluation import evaluate_sound, score_clips

LOUD = 3.0


def loud_in_the_third_quarter(seed: int) -> np.ndarray:
    samples = hum(1.0, seed=seed)
    samples[RATE // 2 : 3 * RATE // 4] *= LOUD
    return samples


@pytest.fixture(scope="module")
def series() -> SoundSeries:
    """Half of the test clips are loud in their third quarter; each second pair is of the target domain."""
    test = [
        Clip(
            name=f"test_{index}.wav",
            samples=loud_in_the_third_quarter(100 + index) if index % 2 else hum(1.0, seed=100 + index),
            machine="fan-1",
            order=index,
            domain="target" if index % 4 > 1 else "source",
            anomalous=bool(index % 2),
            disturbed=((0.5, 0.75, 100.0, 150.0),) if index % 2 else (),
        )
        for index in range(16)
    ]
    return make_sounds(24, test=test)


@pytest.fixture(scope="module")
def bundle(series: SoundSeries, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    fitted, scores = fit_and_cross_fit_sound("loudness", series, TrainOptions(), fit_loudness)
    return write_bundle(fitted, series, tmp_path_factory.mktemp("bundle") / "b", scores=scores)


def test_a_report_says_what_is_known(bundle: Bundle, series: SoundSeries) -> None:
    report = evaluate_sound(bundle, series)
    assert (report.clips, report.anomalous, report.windows) == (16, 8, 16)
    assert (report.window_s, report.hop_s, report.train_seconds) == (1.0, 0.5, 24.0)
    assert (report.auc, report.pauc, report.auc_source, report.auc_target, report.official) == (1.0,) * 5
    # the threshold is that of the held-out normal windows: about a tenth of normal clips lie above it
    assert report.recall == 1.0
    assert report.false_alarm_rate is not None
    assert report.false_alarm_rate <= 0.5
    assert (report.alarm_recall, report.alarm_rate) == (1.0, 0.0)
    # nine of twelve parts of the energy lie in the quarter that is three times as loud
    assert report.patches == 8
    assert report.patch_area == 0.25
    assert report.patch_share == pytest.approx(0.75, abs=0.02)
    assert report.patch_peak == 1.0
    # and the floors: loudness finds them as well, chance does not
    assert set(report.floors) == {"random", "loudness", "knn_mel"}
    assert report.floors["loudness"]["auc"] == 1.0
    assert 0.2 < (report.floors["random"]["auc"] or 0) < 0.8
    assert report.to_json()["floors"]["knn_mel"]["auc"] == 1.0


def test_clips_without_a_label_or_of_one_kind_give_no_metric(bundle: Bundle, series: SoundSeries) -> None:
    unknown = [replace(clip, anomalous=None) for clip in series.test[:4]]
    report = evaluate_sound(bundle, replace(series, test=[*unknown, *series.test[4:]]), floors=False)
    assert (report.clips, report.anomalous) == (16, 6)
    assert "4 of 16 test clips have no label" in report.warnings[0]
    normal = [clip for clip in series.test if not clip.anomalous]
    alone = evaluate_sound(bundle, replace(series, test=normal), floors=False)
    assert (alone.auc, alone.pauc, alone.official, alone.recall) == (None,) * 4
    assert alone.false_alarm_rate is not None
    assert "all of one kind" in alone.warnings[0]


def test_a_longer_clip_is_scored_by_the_mean_of_its_windows(bundle: Bundle, series: SoundSeries) -> None:
    long = Clip("long", np.concatenate([hum(1.5, seed=1), hum(0.5, seed=2, gain=LOUD)]), "fan-1", anomalous=True)
    scored = score_clips(bundle, replace(series, test=[long]))
    assert scored.windows == 3
    assert scored.score[0] < scored.top[0]
    assert scored.starts_s[0] == 1.0


def test_what_does_not_belong_together_is_told(bundle: Bundle, series: SoundSeries, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clips of 16000 Hz, .* takes 2000 Hz; resample them"):
        evaluate_sound(bundle, replace(series, sample_rate=16_000))
    with pytest.raises(InputError, match=r"clips of 2 channel\(s\), .* takes 1 \(sound\)"):
        evaluate_sound(bundle, replace(series, channels=("a", "b")))
    with pytest.raises(InputError, match="no test clips; put some into test/normal"):
        evaluate_sound(bundle, replace(series, test=[]))
    rows = make_series(normal_rows(300, 3))
    fitted, scores = train_detector("pca", rows, TrainOptions(window=8))
    assert isinstance(fitted, FittedDetector)
    of_rows = write_bundle(fitted, rows, tmp_path / "rows", scores=scores, torchscript=False)
    with pytest.raises(InputError, match=r"is a bundle of rows of sensors \(pca\), expected one of sound"):
        evaluate_sound(of_rows, series)
