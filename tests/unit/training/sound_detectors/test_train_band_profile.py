"""Training of band profile: presets, attributes, held-out scores, and real fans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sounds import RATE, make_sounds
from wheeltapper.models.fitted import FittedSound
from wheeltapper.schemas.bundle.graph import Graph
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound import mimii
from wheeltapper.training.datasets.sound.series import windows_of_clips
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_features import WindowFeatures, named_attributes, recordings
from wheeltapper.training.judging.metrics.ranking import auc_roc

SMALL = {"preset": "mel", "n_fft": "256", "frame_hop": "128", "bands": "12"}


def test_held_out_scores_are_calibrated() -> None:
    # given normal clips of six recordings
    series = make_sounds(24)
    # when band profile is trained
    fitted, scores = train_detector("band-profile", series, TrainOptions(settings=SMALL))
    # then every window has a held-out score, and their middle is near 0 and their spread near 1
    assert isinstance(fitted, FittedSound)
    assert len(scores.score) == 24
    assert abs(np.median(scores.score)) < 1.5
    assert 0.2 < scores.score.std() < 5
    assert fitted.window == RATE


def test_same_clips_give_the_same_graph() -> None:
    # given the same clips twice
    models = [
        train_detector("band-profile", make_sounds(12), TrainOptions(settings=SMALL))[0].onnx_bytes() for _ in "ab"
    ]
    # then the bytes are the same
    assert models[0] == models[1]


@pytest.mark.parametrize(("rate", "bands"), [(16_000, 28), (20_000, 64), (44_100, 28)])
def test_preset_follows_the_rate(rate: int, bands: int) -> None:
    # when clips of this rate are learnt from
    fitted, _ = train_detector("band-profile", make_sounds(8, rate=rate, seconds=0.5))
    # then accelerometers get their preset, microphones the default
    assert len(fitted.bands) == bands


def test_attributes_are_inputs_where_settings_name_them() -> None:
    # given clips at two speeds, of two products
    series = make_sounds(12, attributes=({"speed": 1200.0, "product": "ale"}, {"speed": 1500.0, "product": "stout"}))
    # when their effect is taken out, and order bands are asked for
    options = TrainOptions(settings={**SMALL, "condition": "product,speed", "orders": "8"})
    fitted, _ = train_detector("band-profile", series, options)
    # then the graph takes them, and unknown ones too
    assert [spec.name for spec in fitted.attributes] == ["product", "speed"]
    graph = Graph(fitted.onnx_bytes(), device="cpu")
    windows, _ = windows_of_clips(series.train[:2], fitted.window, fitted.window)
    rows = np.array([[1, 0, 1200], [0, 0, np.nan]], dtype=np.float32)
    assert np.isfinite(graph.run(windows, rows).score).all()
    assert fitted.torchscript_bytes() is not None


@pytest.mark.parametrize(("speeds", "found"), [((900.0, 1200.0, 1500.0), ["speed"]), ((900.0, 1500.0), [])])
def test_numbers_of_three_values_are_taken_out_by_themselves(speeds: tuple[float, ...], found: list[str]) -> None:
    # given clips at three speeds, or at two
    series = make_sounds(12, attributes=[{"speed": speed, "product": "ale"} for speed in speeds])
    # then speed is an input where a line through it can be told from chance
    fitted, _ = train_detector("band-profile", series, TrainOptions(settings=SMALL))
    assert [spec.name for spec in fitted.attributes] == found
    without, _ = train_detector("band-profile", series, TrainOptions(settings={**SMALL, "condition": "none"}))
    assert without.attributes == ()


def test_an_attribute_that_no_clip_has_is_refused() -> None:
    with pytest.raises(InputError, match="no train clip has the attribute 'speed'; they have load"):
        train_detector(
            "band-profile",
            make_sounds(12, attributes=({"load": 1200.0},)),
            TrainOptions(settings={**SMALL, "condition": "speed"}),
        )


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(InputError, match="2 train clips"):
        train_detector("band-profile", make_sounds(2), TrainOptions(settings=SMALL))


def test_few_groups_are_no_recordings() -> None:
    # given clips of three and of eight groups
    few, many = make_sounds(12).train, make_sounds(32).train
    # then each clip is its own recording, or its group's
    np.testing.assert_array_equal(recordings(few), np.arange(12))
    np.testing.assert_array_equal(recordings(many), np.arange(32) // 4)


def test_features_are_computed_once_a_clip() -> None:
    # given features that count how often they are asked for
    asked = []
    known = WindowFeatures(lambda window, _: asked.append(1) or window[:2], RATE, RATE // 2)  # type: ignore[func-returns-value]
    clips = make_sounds(4, seconds=2.0).train
    # when the same clips are asked for twice
    first, owner, _ = known.of(clips)
    second, _, _ = known.of(clips[1:])
    # then each of their three windows was computed once, and windows overlap by one
    assert len(asked) == 12
    np.testing.assert_array_equal(first[3:], second)
    np.testing.assert_array_equal(owner, np.repeat(np.arange(4), 3))
    assert known.overlap == 1


def test_texts_are_categories_and_numbers_are_numbers() -> None:
    # given a number that one clip has as a text
    clips = make_sounds(3, attributes=({"load": 1.0, "rpm": 2.0}, {"load": "11", "rpm": 3.0})).train
    # then that attribute is a category
    load, rpm = named_attributes(clips, ("load", "rpm"), "x")
    assert load.categories == ("1", "11")
    assert rpm.categories == ()


@pytest.mark.data
@pytest.mark.parametrize("half", ["later", "earlier"])
def test_faults_of_a_fan_are_found_on_the_half_that_was_not_learnt(half: str, data_root: Path) -> None:
    # given the fan of MIMII, its normal clips split in two by time
    series = mimii.load(data_root / "machine_audio" / "mimii", "fan_id_00")
    if half == "earlier":
        normal = [clip for clip in series.test if not clip.anomalous]
        faults = [clip for clip in series.test if clip.anomalous]
        series = replace(series, train=normal, test=[*series.train, *faults])
    # when the default is trained on one half and scores the other and the faults
    fitted, _ = train_detector("band-profile", series)
    windows, owner = windows_of_clips(series.test, fitted.window, fitted.window)
    score = Graph(fitted.onnx_bytes(), device="cpu").run(windows).score
    # then faults are above normal clips
    faulty = np.array([bool(series.test[index].anomalous) for index in owner])
    found = auc_roc(faulty.astype(np.uint8), score)
    assert found is not None
    assert found > 0.95
