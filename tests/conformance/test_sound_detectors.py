"""The battery that every detector of sound of the registry has to pass.

A new detector joins by its spec: `battery` holds options with which it is fitted in some seconds, `exceptions` what it cannot meet by
its nature, with the reason; an exception that is none fails.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conformance.promises import promised
from tests.conformance.test_detectors import assert_same, plain
from tests.conformance.trained_sound import AXES_RATE, CLIP_S, fit_sound, fresh_clip, trained_sound, with_tone
from wheeltapper.models.fitted import FittedDetector, FittedSound
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.schemas.bundle.manifest import AudioManifest
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.calibration import calibrate
from wheeltapper.training.datasets.sound.simulated import LOUDNESS, RATE
from wheeltapper.training.detectors.registry import DETECTORS, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.export_check import open_for_check, outputs_by_name
from wheeltapper.training.judging.metrics.sound import patch_hit

# Where the tone is: some time columns and bands of every detector.
TONE = (0.8, 1.4, 2_900.0, 3_100.0)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def probes(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Normal windows, silence, noise that clips, an offset, a spike, a loud square, whispers below float32's normal range."""
    detector = trained_sound(name)
    normal, _ = detector.windows(list(detector.series.train[:3]))
    size = normal.shape[1]
    generator = np.random.default_rng(0)
    spike = np.zeros(size, dtype=np.float32)
    spike[size // 2] = 1.0
    odd = [
        np.zeros(size),
        np.clip(3 * generator.standard_normal(size), -1, 1),
        np.full(size, 0.7),
        spike,
        np.sign(np.sin(np.arange(size) / 20.0)),
        np.full(size, 1e-41),
        30 * generator.standard_normal(size),
    ]
    windows = np.concatenate([normal, np.stack(odd).astype(np.float32)])
    width = detector.graph.attribute_width
    return windows, np.zeros((len(windows), width), dtype=np.float32) if width else None


def test_describes_itself_in_plain_types(sound: str) -> None:
    fitted = trained_sound(sound).fitted
    assert isinstance(fitted, FittedSound)
    assert not isinstance(fitted, FittedDetector)
    assert (fitted.detector, fitted.sample_rate, fitted.channels) == (sound, RATE, 1)
    assert fitted.version >= 1
    assert fitted.window == round(CLIP_S * RATE)
    assert [key for key, value in fitted.parameters.items() if not plain(value)] == []
    assert all(isinstance(warning, str) and warning for warning in fitted.warnings)
    # the bands cover what can be heard, from low to high
    edges = [(low, high) for _, low, high in fitted.bands]
    assert edges == sorted(edges)
    assert all(0 <= low < high <= RATE / 2 for low, high in edges)


def test_graph_keeps_the_contract_for_whatever_can_be_heard(sound: str) -> None:
    # given silence, clipping, offsets, spikes and the quietest sound beside normal windows
    detector = trained_sound(sound)
    windows, rows = probes(sound)
    # when they are scored
    output = detector.graph.run(windows, rows)
    # then everything is a number, blame is not negative, and shapes are as promised
    assert output.score.shape == (len(windows),)
    assert output.contribution.shape == (len(windows), len(detector.fitted.bands), detector.fitted.time_columns)
    assert output.embedding is not None
    assert output.expected is None
    assert output.embedding.ndim == 2
    for values in outputs_by_name(output).values():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert (output.contribution >= 0).all()
    opset = {entry.domain: entry.version for entry in onnx.load_model_from_string(detector.model).opset_import}
    assert opset[""] >= 17


def test_a_window_that_is_no_sound_spoils_no_other(sound: str) -> None:
    # given a window with a sample that is no number, which the stream refuses before it gets here
    detector = trained_sound(sound)
    windows, rows = probes(sound)
    broken = windows[:4].copy()
    broken[1, 100] = np.nan
    rows = None if rows is None else rows[:4]
    # when it is scored among others: then those have their scores
    kept = [0, 2, 3]
    found, wanted = detector.graph.run(broken, rows), detector.graph.run(windows[:4], rows)
    np.testing.assert_allclose(found.score[kept], wanted.score[kept], rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_score_of_a_window_does_not_depend_on_its_batch(sound: str, size: int) -> None:
    # given windows that were scored alone
    graph = open_for_check(trained_sound(sound).model, largest=8)
    windows, rows = probes(sound)
    alone = [
        outputs_by_name(graph.run(windows[i : i + 1], None if rows is None else rows[i : i + 1]))
        for i in range(len(windows))
    ]
    # when they are scored in a batch of another size
    found = graph.run(np.resize(windows, (size, windows.shape[1])), None if rows is None else rows[:size])
    # then nothing changes
    wanted = {key: np.concatenate([alone[i][key] for i in range(size)]) for key in alone[0]}
    usual = {key: np.concatenate([one[key] for one in alone]) for key in alone[0]}
    assert_same(found, wanted, usual, f"batch of {size}")


def test_torchscript_twin_agrees_with_the_graph(sound: str) -> None:
    torch = pytest.importorskip("torch")
    detector = trained_sound(sound)
    twin = detector.fitted.torchscript_bytes()
    assert twin is not None
    module = torch.jit.load(BytesIO(twin))
    graph = open_for_check(detector.model, largest=8)
    windows, rows = probes(sound)
    usual = outputs_by_name(graph.run(windows, rows))
    given = [torch.from_numpy(values[:3].copy()) for values in (windows, rows) if values is not None]
    with torch.no_grad():
        outputs = module(*given)
    values = outputs.values() if isinstance(outputs, dict) else outputs
    wanted = {key: value.numpy() for key, value in zip(graph.output_names, values, strict=True)}
    assert_same(graph.run(windows[:3], None if rows is None else rows[:3]), wanted, usual, "TorchScript")


def test_held_out_scores_are_in_order_of_time_and_of_the_train_clips(sound: str) -> None:
    detector = trained_sound(sound)
    scores = detector.scores
    assert len(scores.score) == len(scores.time) >= 4
    assert np.isfinite(scores.score).all()
    assert (np.diff(scores.time) > 0).all()
    assert scores.origin
    assert scores.stride == detector.fitted.window // 2
    assert scores.interval_s == pytest.approx(scores.stride / RATE)


def test_bundle_comes_back_as_it_was_written(sound: str) -> None:
    detector = trained_sound(sound)
    read = open_bundle(detector.bundle.location)
    manifest = read.manifest
    assert isinstance(manifest, AudioManifest)
    assert manifest == detector.bundle.manifest
    assert (manifest.sample_rate, manifest.window, manifest.time_columns) == (
        RATE,
        detector.fitted.window,
        detector.fitted.time_columns,
    )
    assert manifest.calibration.alarm_level > manifest.calibration.center
    windows, rows = detector.windows(list(detector.series.test[:2]))
    np.testing.assert_array_equal(
        read.open_graph(device="cpu").run(windows, rows).score, detector.graph.run(windows, rows).score
    )


def test_same_seed_gives_the_same_bundle(sound: str, tmp_path: Path) -> None:
    first = trained_sound(sound)
    again = fit_sound(sound, first.series)
    np.testing.assert_array_equal(again.scores.time, first.scores.time)
    np.testing.assert_allclose(again.scores.score, first.scores.score, rtol=1e-6)
    written = write_bundle(again.fitted, again.series, tmp_path / "again", scores=again.scores)
    assert written.manifest.bundle_id == first.bundle.manifest.bundle_id


def test_another_seed_gives_another_detector_where_the_registry_says_so(one_pass_sound: str) -> None:
    # a network's seed is that of its weights and batches, which the tests of the trainer look at
    first, spec = trained_sound(one_pass_sound), DETECTORS[one_pass_sound]
    other = fit_sound(one_pass_sound, first.series, replace(spec.battery, seed=spec.battery.seed + 1))
    assert (other.model != first.model) == spec.seeded


def test_later_normal_clips_keep_below_the_alarm_level(sound: str) -> None:
    # given clips of two later days
    detector = trained_sound(sound)
    windows, rows = detector.windows(list(detector.series.test))
    calibration = detector.bundle.manifest.calibration
    # when they are scored: then hardly any reaches the alarm level
    score = calibrate(detector.graph.run(windows, rows).score, calibration.center, calibration.alarm_level)
    with promised(sound, "later normal clips keep below the alarm level"):
        assert (score >= 1).mean() <= 0.25, score


def test_a_tone_scores_high_and_is_blamed_where_it_is(sound: str) -> None:
    # given a day's sound with and without a tone of 0.6 s
    detector = trained_sound(sound)
    start, end, low, high = TONE
    clip = detector.series.test[0]
    toned = replace(clip, samples=with_tone(fresh_clip(), start, end, (low + high) / 2, 8 * LOUDNESS))
    normal, rows = detector.windows([*detector.series.train, *detector.series.test])
    window, row = detector.windows([toned])
    # when it is scored
    output, usual = detector.graph.run(window, row), detector.graph.run(normal, rows)
    with promised(sound, "a loud tone scores above every normal window"):
        assert output.score[0] > usual.score.max()
    # then more than three times the blame that chance would put there lies in its patch
    bands = [(below, above) for _, below, above in detector.fitted.bands]
    hit = patch_hit(output.contribution[0], bands, CLIP_S, [TONE])
    assert hit is not None
    with promised(sound, "a tone is blamed where it is"):
        assert hit.share > 3 * hit.area, hit


def test_three_axes_with_an_operating_point(sound: str, tmp_path: Path) -> None:
    # given a motor's three axes, with attributes of most clips
    detector = trained_sound(sound, "three axes")
    fitted = detector.fitted
    assert (fitted.channels, fitted.sample_rate, fitted.window) == (3, AXES_RATE, AXES_RATE)
    assert {channel for channel, _, _ in fitted.bands} == {0, 1, 2}
    bundle = write_bundle(fitted, detector.series, tmp_path / "b", scores=detector.scores, torchscript=False)
    manifest = bundle.manifest
    assert isinstance(manifest, AudioManifest)
    assert {band.channel for band in manifest.bands} == {"x", "y", "z"}
    # when one axis rattles
    clip = detector.series.train[3]
    blamed = []
    for axis in range(3):
        samples = clip.samples.copy()
        samples[:, axis] += np.random.default_rng(axis).standard_normal(len(samples)).astype(np.float32)
        windows, rows = detector.windows([replace(clip, samples=samples)])
        contribution = detector.graph.run(windows, rows).contribution[0].sum(axis=1)
        by_axis = [float(contribution[[channel == own for channel, _, _ in fitted.bands]].sum()) for own in range(3)]
        blamed.append(int(np.argmax(by_axis)))
    # then it is blamed
    with promised(sound, "the disturbed axis is blamed"):
        assert blamed == [0, 1, 2]
    # and what is unknown of the operating point still gives a score
    if fitted.attributes:
        windows, _ = detector.windows([clip])
        unknown = [0.0 if spec.categories else np.nan for spec in fitted.attributes for _ in range(spec.width)]
        output = detector.graph.run(windows, np.array([unknown] * len(windows), dtype=np.float32))
        assert all(np.isfinite(values).all() for values in outputs_by_name(output).values())


def test_too_few_clips_are_refused_in_one_line(sound: str) -> None:
    series = trained_sound(sound).series
    with pytest.raises(InputError) as error:
        train_detector(sound, replace(series, train=series.train[:1]), DETECTORS[sound].battery)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no train clips"):
        train_detector(sound, replace(series, train=[]), DETECTORS[sound].battery)


def test_unknown_setting_is_refused(sound: str) -> None:
    with pytest.raises(InputError, match="no setting 'nonsense'"):
        train_detector(
            sound, trained_sound(sound).series, replace(DETECTORS[sound].battery, settings={"nonsense": "1"})
        )
