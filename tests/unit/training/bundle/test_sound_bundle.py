"""What a bundle of sound holds, that it is the same for the same input, and that nothing broken is ever bundled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.machines import make_series, normal_rows
from tests.helpers.sounds import RATE, Loudness, fit_loudness, make_sounds
from wheeltapper.models.fitted import FittedDetector, FittedSound
from wheeltapper.models.pca.fit import fit_pca
from wheeltapper.models.pca.settings import PcaSettings
from wheeltapper.models.training_rows import TrainingRows
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.schemas.bundle.manifest import AttributeSpec, AudioManifest
from wheeltapper.schemas.bundle.normal_blocks import written_blocks
from wheeltapper.schemas.bundle.store import CALIBRATION, REFERENCE
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import SoundSeries
from wheeltapper.training.fitting.bundle_writer import BundleNotes, write_bundle
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.sound_cross_fit import fit_and_cross_fit_sound

SPEED = AttributeSpec(name="speed")
PRODUCT = AttributeSpec(name="product", categories=("ale", "stout"))


@pytest.fixture(scope="module")
def series() -> SoundSeries:
    return make_sounds(24)


def trained(
    series: SoundSeries, *, attributes: tuple[AttributeSpec, ...] = (), **options: int
) -> tuple[Loudness, CalibrationScores]:
    fitted, scores = fit_and_cross_fit_sound(
        "loudness",
        series,
        TrainOptions(**options),
        lambda clips, window: fit_loudness(clips, window, attributes, series.sample_rate),
    )
    assert isinstance(fitted, Loudness)
    return fitted, scores


@pytest.fixture(scope="module")
def bundle(series: SoundSeries, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    fitted, scores = trained(series, window=RATE // 2)
    return write_bundle(fitted, series, tmp_path_factory.mktemp("bundle") / "b", scores=scores)


def test_the_two_kinds_of_fitted_detectors_are_told_apart() -> None:
    loudness = Loudness(1.0, RATE)
    rows = fit_pca(TrainingRows((normal_rows(200, 3),), np.zeros(3), np.zeros(3, bool)), PcaSettings())
    assert isinstance(loudness, FittedSound)
    assert not isinstance(loudness, FittedDetector)
    assert isinstance(rows, FittedDetector)
    assert not isinstance(rows, FittedSound)


def test_manifest_says_what_the_stream_needs(bundle: Bundle, series: SoundSeries) -> None:
    manifest = bundle.manifest
    assert isinstance(manifest, AudioManifest)
    assert (manifest.kind, manifest.sample_rate, manifest.window, manifest.stride) == (
        "audio",
        RATE,
        RATE // 2,
        RATE // 4,
    )
    assert manifest.sampling_interval_s == 1 / RATE
    assert [(band.channel, band.low_hz, band.high_hz) for band in manifest.bands] == [("", 0.0, RATE / 2)]
    assert manifest.time_columns == 4
    assert [(spec.name, spec.shape) for spec in (*manifest.inputs, *manifest.outputs)] == [
        ("window", ("N", RATE // 2)),
        ("score", ("N",)),
        ("contribution", ("N", 1, 4)),
        ("embedding", ("N", 1)),
    ]
    assert manifest.calibration.alarm_level > manifest.calibration.center
    assert manifest.training_data.rows == 24 * RATE
    assert manifest.bundle_id.startswith("loudness-fan-1-a-")
    assert "deaf to pitch" in manifest.warnings
    card = bundle.files["report/model_card.md"].decode()
    assert "fitted on 24 s of made fan 1/a" in card
    assert "windows of 0.5 s, scored every 0.25 s" in card


def test_golden_windows_hold_silence_noise_and_a_spike_and_prove_the_graph(bundle: Bundle) -> None:
    golden = open_bundle(bundle.location).golden()
    normal, (silence, noise, spike) = golden["window"][:-3], golden["window"][-3:]
    assert len(normal) == 2
    assert np.abs(normal).max() < 0.5
    assert not silence.any()
    assert (np.abs(noise) == 1).mean() > 0.2
    assert (spike != normal[-1]).sum() == 1
    assert spike.max() == 1
    score = bundle.open_graph(device="cpu").run(golden["window"]).score
    np.testing.assert_allclose(score, golden["score"], rtol=1e-5)
    assert score[2] == 0
    assert score[3] > 10 * score[:2].max()


def test_calibration_reference_and_drift_are_bounded_and_in_order(bundle: Bundle, series: SoundSeries) -> None:
    calibration = pq.read_table(pa.BufferReader(bundle.files[CALIBRATION]))
    assert calibration.schema.names == ["score", "time", "embedding"]
    times = calibration["time"].to_numpy()
    assert len(times) == 24 * 3
    assert (np.diff(times) > 0).all()
    # the embedding is that of the window at that time: the mean square over the usual one
    usual = float(bundle.manifest.parameters["usual"])
    for index in (0, 1, 2, 40, 71):
        part = series.train[index // 3].samples[(index % 3) * RATE // 4 :][: RATE // 2]
        assert calibration["embedding"][index].as_py() == pytest.approx([float(np.mean(part**2)) / usual], rel=1e-4)
    reference = pq.read_table(pa.BufferReader(bundle.files[REFERENCE]))
    assert reference.num_rows == 16
    np.testing.assert_array_equal(
        np.array(reference["window"][0].as_py(), dtype=np.float32), series.train[0].samples[: RATE // 2, 0]
    )
    blocks = written_blocks(bundle)
    assert blocks is not None
    assert len(blocks.summaries) == 0
    assert len(blocks.scores) == 1


def test_recordings_lie_apart_in_time(series: SoundSeries) -> None:
    _, scores = trained(series, window=RATE // 2)
    assert [len(stretch) for stretch in scores.stretches()] == [12] * 6
    assert "6 blocks of time" in scores.origin


def test_same_input_gives_the_same_bundle(bundle: Bundle, series: SoundSeries, tmp_path: Path) -> None:
    # when it is trained and written once more, somewhere else and as a .zip
    fitted, scores = trained(series, window=RATE // 2)
    again = write_bundle(
        fitted, series, tmp_path / "again.zip", scores=scores, notes=BundleNotes(created_at="2020-01-01T00:00:00")
    )
    # then id and every file are the same
    assert again.manifest.bundle_id == bundle.manifest.bundle_id
    assert again.manifest.files == bundle.manifest.files
    # and another recording, rate of alarms or hop gives another
    louder = replace(
        series, train=[*series.train[:-1], replace(series.train[-1], samples=2 * series.train[-1].samples)]
    )
    others = [
        write_bundle(fitted, louder, tmp_path / "louder", scores=scores),
        write_bundle(fitted, series, tmp_path / "rate", scores=scores, false_alarms_per_day=2.0),
        write_bundle(fitted, series, tmp_path / "hop", scores=replace(scores, stride=RATE // 2)),
    ]
    assert len({bundle.manifest.bundle_id, *(other.manifest.bundle_id for other in others)}) == 4


def test_attributes_and_channels_go_through(tmp_path: Path) -> None:
    # given three axes in g, and an operating point of a number and a category
    points = ({"speed": 0.5, "product": "ale"}, {"speed": 0.25, "product": "porter"}, {})
    series = make_sounds(18, channels=3, unit="g", attributes=points)
    fitted, scores = trained(series, attributes=(SPEED, PRODUCT))
    # when it is written
    bundle = write_bundle(fitted, series, tmp_path / "b", scores=scores)
    # then graph and manifest agree, and the golden windows bring their attributes
    manifest = bundle.manifest
    assert isinstance(manifest, AudioManifest)
    assert manifest.attribute_width == 3
    assert manifest.sample_shape == (3 * RATE,)
    assert [band.channel for band in manifest.bands] == ["x", "y", "z"]
    assert [channel.unit for channel in manifest.channels] == ["g"] * 3
    golden = bundle.golden()
    np.testing.assert_array_equal(golden["attributes"][0], [0.5, 1, 0])
    np.testing.assert_array_equal(golden["attributes"][2], [np.nan, 0, 0])
    # a sensor is not cut at 1: loud means far above what training had
    loudest = max(float(np.abs(clip.samples).max()) for clip in series.train)
    assert golden["window"][3].max() > 5 * loudest
    graph = bundle.open_graph(device="cpu")
    with pytest.raises(ValueError, match=r"attributes are None, expected \(5, 3\)"):
        graph.run(golden["window"])


def test_one_long_recording_is_cut_into_blocks_of_time(tmp_path: Path) -> None:
    # given a single recording of 40 s
    series = make_sounds(1, seconds=40.0)
    # when it is trained with windows of a second
    fitted, scores = trained(series, window=RATE, stride=RATE)
    # then every block is scored by a fit on the others: windows at the cuts are whole in one of them
    assert "6 blocks of time" in scores.origin
    assert 36 <= len(scores.score) <= 46
    assert (np.diff(scores.time) > 0).all()
    assert write_bundle(fitted, series, tmp_path / "b", scores=scores).manifest.training_data.rows == 40 * RATE


def test_a_clip_shorter_than_the_window_is_repeated(tmp_path: Path) -> None:
    series = make_sounds(12, seconds=0.5)
    fitted, scores = trained(series, window=RATE)
    bundle = write_bundle(fitted, series, tmp_path / "b", scores=scores)
    assert len(scores.score) == 12
    first = bundle.golden()["window"][0]
    np.testing.assert_array_equal(first[: RATE // 2], first[RATE // 2 :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"broken": "negative"}, "'contribution' is negative"),
        ({"broken": "logarithm"}, "'contribution' is not finite"),
        ({"broken": "no embedding"}, "no output 'embedding'"),
        ({"time_columns": 5}, r"shape \[N, 1, 4\], expected \[N, 1, 5\]"),
        ({"sample_rate": 4_000}, "made for 1 channel.s. at 4000 Hz"),
        ({"channels": 2}, "made for 2 channel.s. at 2000 Hz"),
    ],
)
def test_a_graph_that_breaks_its_contract_is_not_bundled(
    change: dict[str, object], message: str, series: SoundSeries, tmp_path: Path
) -> None:
    fitted, scores = trained(series, window=RATE // 2)
    with pytest.raises(InputError, match=message):
        write_bundle(replace(fitted, **change), series, tmp_path / "b", scores=scores)  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()


def test_sound_and_rows_do_not_mix(series: SoundSeries, tmp_path: Path) -> None:
    fitted, scores = trained(series, window=RATE // 2)
    with pytest.raises(InputError, match="loudness is a detector of sound, made machine holds rows of sensors"):
        write_bundle(fitted, make_series(normal_rows(100, 3)), tmp_path / "b", scores=scores)  # type: ignore[call-overload]


def test_too_little_sound_is_told(series: SoundSeries) -> None:
    with pytest.raises(InputError, match="1 train clips of 1 s, loudness needs at least 3"):
        trained(make_sounds(1))
    with pytest.raises(InputError, match="no train clips"):
        trained(make_sounds(0))
    with pytest.raises(InputError, match=r"expected at least 0\.1 s"):
        trained(series, window=20)
