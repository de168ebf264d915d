from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from aeon.benchmarking.metrics.anomaly_detection import range_pr_vus_score, range_roc_vus_score

from tests.unit.training.evaluation.norm_bundle import write_norm_bundle
from wheeltapper.cli import main
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.stream.core.policies import AlarmPolicy, WindowPolicy
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import LabelledSegment, SensorSeries
from wheeltapper.training.judging.evaluation import evaluate_bundle, run_bundle
from wheeltapper.training.judging.metrics.localization import truth_matrix
from wheeltapper.training.judging.metrics.ranking import VUS_BUFFER, auc_pr
from wheeltapper.training.judging.stream_run import StreamRun, run_as_stream

MINUTE = 60_000_000


@pytest.fixture
def series() -> SensorSeries:
    """Noise of three channels; channel 1 is far off in rows 50..59 of the test part, channel 0 in rows 150..154."""
    rng = np.random.default_rng(0)
    train, test = (rng.normal(5, 1, (rows, 3)).astype(np.float32) for rows in (400, 240))
    test[50:60, 1] += 20
    test[150:155, 0] -= 20
    labels = np.zeros(240, np.uint8)
    labels[50:60] = labels[150:155] = 1
    return SensorSeries(
        dataset="smd",
        entity="machine-9-9",
        channels=("a", "b", "c"),
        units=("", "", ""),
        sampling_interval_s=60.0,
        train=train,
        train_ts=MINUTE * np.arange(-400, 0),
        test=test,
        test_ts=MINUTE * np.arange(240),
        test_labels=labels,
        segments=(LabelledSegment(50, 60, (1,)), LabelledSegment(150, 155, (0,))),
    )


@pytest.fixture
def bundle(tmp_path: Path, series: SensorSeries) -> Bundle:
    return write_norm_bundle(tmp_path / "bundle", series)


def squares(bundle: Bundle, series: SensorSeries, values: np.ndarray) -> np.ndarray:
    mean, deviation = series.train.mean(axis=0), series.train.std(axis=0)
    return ((values - mean) / deviation) ** 2


def raw_scores(bundle: Bundle, series: SensorSeries, values: np.ndarray) -> np.ndarray:
    """[T] raw scores of other values of the test part."""
    run = run_as_stream(bundle, values, series.test_ts)
    return run.by_row(run.raw)


@dataclass(frozen=True)
class RowScores:
    """Scores of every row."""

    raw: np.ndarray
    calibrated: np.ndarray
    contribution: np.ndarray


def by_row(run: StreamRun) -> RowScores:
    return RowScores(run.by_row(run.raw), run.by_row(run.calibrated), run.by_row(run.contribution))


def test_every_row_gets_the_score_of_its_window(bundle: Bundle, series: SensorSeries) -> None:
    run = run_bundle(bundle, series)
    scores = by_row(run)
    expected = squares(bundle, series, series.test)
    # The window is 4 rows: rows 0..2 hold the score of row 3.
    np.testing.assert_allclose(scores.raw[3:], expected.sum(axis=1)[3:], rtol=1e-4)
    np.testing.assert_allclose(scores.contribution[3:], expected[3:], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(scores.raw[:3], scores.raw[3])
    assert run.first_scored == 3
    calibration = bundle.manifest.calibration
    assert scores.calibrated.min() == 0.0
    worst = int(scores.raw.argmax())
    assert scores.calibrated[worst] == pytest.approx(
        (scores.raw[worst] - calibration.center) / (calibration.alarm_level - calibration.center)
    )


def test_lag_moves_scores_to_the_rows_they_belong_to(tmp_path: Path, series: SensorSeries) -> None:
    lagging = write_norm_bundle(tmp_path / "lagging", series, window=6, lag=2)
    run = run_bundle(lagging, series)
    scores = by_row(run)
    expected = squares(lagging, series, series.test).sum(axis=1)
    np.testing.assert_allclose(scores.raw[3:238], expected[3:238], rtol=1e-4)
    # The last two rows would need rows that have not come: they keep the last score.
    np.testing.assert_array_equal(scores.raw[238:], scores.raw[237])
    assert run.first_scored == 3


def test_stride_holds_the_last_score(bundle: Bundle, series: SensorSeries) -> None:
    dense, sparse = (by_row(run_bundle(bundle, series, windows=WindowPolicy(stride=stride))) for stride in (1, 5))
    np.testing.assert_array_equal(sparse.raw[3::5], dense.raw[3::5])
    np.testing.assert_array_equal(sparse.raw[4:8], dense.raw[3])


def test_missing_values_are_carried_forward(bundle: Bundle, series: SensorSeries) -> None:
    test = series.test.copy()
    test[100:105, 2] = np.nan
    held = series.test.copy()
    held[100:105, 2] = series.test[99, 2]
    np.testing.assert_array_equal(raw_scores(bundle, series, test), raw_scores(bundle, series, held))


def test_before_the_first_value_a_channel_counts_as_usual(tmp_path: Path, bundle: Bundle, series: SensorSeries) -> None:
    test = series.test.copy()
    test[:5, 2] = np.nan
    windows = bundle.golden()["window"]  # the reference windows of this bundle are the same two
    filled = test.copy()
    filled[:5, 2] = np.median(windows.reshape(-1, 3), axis=0)[2]
    np.testing.assert_array_equal(raw_scores(bundle, series, test), raw_scores(bundle, series, filled))


def test_report_agrees_with_the_metrics_of_the_scores(bundle: Bundle, series: SensorSeries) -> None:
    report = evaluate_bundle(bundle, series)
    scores = by_row(run_bundle(bundle, series))
    assert series.test_labels is not None
    expected = [
        measure(series.test_labels.astype(int), scores.raw.astype(float), max_buffer_size=VUS_BUFFER)
        for measure in (range_pr_vus_score, range_roc_vus_score)
    ]
    assert (report.vus_pr, report.vus_roc) == pytest.approx(expected, abs=1e-9)
    assert report.auc_pr == auc_pr(series.test_labels, scores.raw)
    assert report.auc_pr == pytest.approx(1.0)
    # Both faults are far above the level, at once, and nothing else is.
    assert (report.events, report.events_found, report.event_recall) == (2, 2, 1.0)
    assert report.detection_delay_s == 0.0
    assert (report.alarms, report.false_alarms, report.false_alarms_per_day) == (2, 0, 0.0)
    assert report.point_f1 == report.oracle_point_f1 == report.range_f1 == report.affiliation_f1 == 1.0
    assert report.affiliation_f1_random_floor is not None
    assert report.affiliation_f1_random_floor < 0.8
    assert report.hit_rate_100 == report.ndcg_150 == report.ips_100 == 1.0


def test_the_settings_decide_what_is_an_alarm(bundle: Bundle, series: SensorSeries) -> None:
    # given faults of ten and of five rows
    # when an alert takes seven minutes in a row, then only the longer one is found, once the seventh has come
    report = evaluate_bundle(bundle, series, alarms=AlarmPolicy(min_duration_s=420), floors=False)
    assert (report.events_found, report.alarms, report.detection_delay_s) == (1, 1, 6 * 60.0)
    assert report.settings["threshold"]["min_duration_s"] == 420
    # when the raise level is beyond any score, then nothing is, and no row is flagged
    report = evaluate_bundle(bundle, series, alarms=AlarmPolicy(method="fixed", raise_level=1e6), floors=False)
    assert (report.events_found, report.alarms, report.point_f1) == (0, 0, 0.0)


def test_floors_stand_beside_and_know_nothing_of_the_test_part(bundle: Bundle, series: SensorSeries) -> None:
    report = evaluate_bundle(bundle, series)
    assert list(report.floors) == ["random", "l2", "pca", "kmeans_ad", "isolation_forest"]
    for floor in report.floors.values():
        assert {"vus_pr", "vus_roc", "auc_pr", "auc_roc"} <= floor.keys()
    random, norm = report.floors["random"], report.floors["l2"]
    assert random["vus_pr"] is not None
    assert norm["vus_pr"] is not None
    assert random["auc_pr"] is not None
    assert random["auc_pr"] < 0.2
    assert random["vus_pr"] < norm["vus_pr"]
    # The L2 norm ranks as the bundle's own score does.
    assert norm["vus_pr"] == pytest.approx(report.vus_pr, abs=0.01)
    assert norm["hit_rate_100"] == 1.0
    assert random["hit_rate_100"] == pytest.approx(1 / 3, abs=0.25)
    assert "hit_rate_100" not in report.floors["kmeans_ad"]
    assert evaluate_bundle(bundle, series, floors=False).floors == {}


def test_columns_in_another_order_are_matched_by_name(bundle: Bundle, series: SensorSeries) -> None:
    order = [2, 0, 1]
    shuffled = replace(
        series,
        channels=tuple(series.channels[index] for index in order),
        train=series.train[:, order],
        test=series.test[:, order],
        segments=(LabelledSegment(50, 60, (2,)), LabelledSegment(150, 155, (1,))),
    )
    one, other = (evaluate_bundle(bundle, each, floors=False) for each in (series, shuffled))
    assert one == other


def test_other_channels_are_refused(bundle: Bundle, series: SensorSeries) -> None:
    other = replace(series, channels=("a", "b", "d"))
    with pytest.raises(InputError, match=r"was trained on 3 channels.*it lacks c and has d besides"):
        evaluate_bundle(bundle, other)


def test_too_few_rows_and_endless_scores_are_refused(tmp_path: Path, bundle: Bundle, series: SensorSeries) -> None:
    with pytest.raises(InputError, match="its window is 4 rows, the test part has 3"):
        run_as_stream(bundle, series.test[:3], series.test_ts[:3])
    with pytest.raises(InputError, match="stride is 0"):
        run_bundle(bundle, series, windows=WindowPolicy(stride=0))
    # every row is a gap of its own: no window fills
    far = 1000 * series.test_ts
    with pytest.raises(InputError, match=r"no stretch of the test part's 240 rows fills a window of 4 rows.* 239 gaps"):
        run_as_stream(bundle, series.test, far, windows=WindowPolicy(max_gap_intervals=10))
    huge = series.test.copy()
    huge[7] = 3e38
    with pytest.raises(InputError, match=r"the score of row 7 is inf \(1 of 237 are not finite\)"):
        raw_scores(bundle, series, huge)


def test_without_labels_only_alarms_are_counted(bundle: Bundle, series: SensorSeries) -> None:
    report = evaluate_bundle(bundle, replace(series, test_labels=None, segments=()))
    assert report.vus_pr is report.auc_roc is report.event_recall is report.hit_rate_100 is None
    assert report.false_alarms == report.alarms == 2
    assert "no labels" in report.warnings[0]
    assert report.floors["random"]["vus_pr"] is None
    json.dumps(report.to_json(), allow_nan=False)


def test_another_sampling_interval_is_said(bundle: Bundle, series: SensorSeries) -> None:
    report = evaluate_bundle(bundle, replace(series, sampling_interval_s=1.0), floors=False)
    assert report.warnings == ("rows are 1 s apart, the bundle was trained on rows 60 s apart",)


def test_command_prints_tables_and_writes_json_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    pump = load_series("simulated", None, "pump-2")
    write_norm_bundle(tmp_path / "bundle", pump)
    words = [
        "evaluate",
        str(tmp_path / "bundle"),
        "--json",
        str(tmp_path / "out.json"),
        "--plot",
        str(tmp_path / "out.png"),
    ]
    # The data set and the entity are those of the bundle's training, unless said otherwise.
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert (
        "stride 1; threshold budget, 0.25 a day; opens with one window, clears after 30 intervals, an hour at most,"
        in printed
    )
    for text in ("VUS-PR", "KMeansAD", "HitRate@100", "affiliation F1", "random, oracle", "false alarms per day"):
        assert text in printed
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["entity"] == "pump-2"
    assert 0 < written["vus_pr"] <= 1
    assert written["floors"]["pca"]["vus_pr"] > written["floors"]["random"]["vus_pr"]
    assert (tmp_path / "out.png").stat().st_size > 20_000
    assert main([*words[:2], "--no-floors", "--entity", "pump-3", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["floors"] == {}


def test_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], bundle: Bundle) -> None:
    assert main(["evaluate", str(tmp_path / "nothing")]) == 2
    assert "no such bundle" in capsys.readouterr().err
    assert main(["evaluate", str(bundle.location), "--dataset", "simulated", "--entity", "pump-1"]) == 2
    error = capsys.readouterr().err
    assert "was trained on 3 channels, simulated pump-1 has 15" in error
    assert error.count("\n") == 1


@pytest.mark.data
def test_on_a_real_machine_the_norm_bundle_is_the_l2_floor(tmp_path: Path, smd_folder: Path) -> None:
    series = load_series("smd", smd_folder, "machine-1-6")
    report = evaluate_bundle(write_norm_bundle(tmp_path / "bundle", series), series)
    assert report.vus_pr == pytest.approx(0.7695, abs=0.001)
    assert report.floors["l2"]["vus_pr"] == pytest.approx(report.vus_pr, abs=0.001)
    assert report.floors["random"]["vus_pr"] == pytest.approx(0.210, abs=0.01)
    assert report.point_adjusted_f1_oracle_random_floor is not None
    assert report.point_adjusted_f1_oracle_random_floor > 0.95
    truth = truth_matrix(len(series.test), 38, series.segments)
    share = truth.sum(axis=1)[truth.any(axis=1)].mean() / 38
    assert report.floors["random"]["hit_rate_100"] == pytest.approx(share, abs=0.01)
