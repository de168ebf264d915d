"""Evaluation tells the alarms that the worker opens: `evaluate` beside the pipeline, as `run_offline` feeds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.covering import covering
from tests.unit.stream.bundles import Recipe, write_bundle
from tests.unit.stream.feeds import MINUTE, REPEATABLE, START
from tests.unit.training.evaluation.norm_bundle import write_norm_bundle
from wheeltapper.cli import main
from wheeltapper.offline import open_pipeline, replay_block, run_offline
from wheeltapper.schemas.bundle import Bundle, open_bundle
from wheeltapper.stream.core.policies import ThresholdMethod
from wheeltapper.stream.settings import ScoringSettings, Settings, ThresholdSettings, WindowSettings
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.registry import TrainOptions, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle as write_trained
from wheeltapper.training.judging import stream_run
from wheeltapper.training.judging.evaluation import evaluate_bundle, run_bundle
from wheeltapper.training.judging.stream_run import StreamRun

SHAPES = {
    "plain": Recipe(window=5),
    "lag": Recipe(window=9, lag=3, weighting="scored row"),
    "warm-up": Recipe(window=24, warm_up=7, lag=2, weighting="mean"),
    "one row": Recipe(window=1),
}
STRIDES = (1, 4, 8, 16)
DURATIONS = ((1, 10), (2, 3), (4, 1), (9, 60))

Locate = Callable[[str], Path]


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Locate:
    """Shape -> folder of its bundle."""
    folder = tmp_path_factory.mktemp("bundles")
    written = {name: write_bundle(folder / name.replace(" ", "-"), recipe) for name, recipe in SHAPES.items()}
    return lambda name: written[name]


def made_up(rows: int, seed: int, *, messy: bool) -> SensorSeries:
    """A machine without labels whose deviations come and go for some rows or some hundred.

    Messy: with missing values, late and repeated rows, gaps, and a clock that is set back for good once or twice.
    """
    rng = np.random.default_rng(seed)
    size = np.zeros(rows)
    for start in rng.integers(0, rows, rows // 60):
        size[start : start + int(rng.exponential(40)) + 1] += rng.exponential(0.5)
    values = (0.5 + (0.1 + size[:, None]) * rng.normal(0, 0.7, (rows, 3))).astype(np.float32)
    times = START + MINUTE * np.arange(rows, dtype=np.int64)
    if messy:
        values[rng.random((rows, 3)) < 0.1] = np.nan
        values[:4, 1] = np.nan
        steps = np.ones(rows, dtype=np.int64)
        odd = rng.random(rows)
        steps[odd < 0.04] = 0
        steps[odd < 0.02] = -rng.integers(1, 4)
        steps[odd > 0.98] = rng.integers(2, 40)
        steps[rng.integers(rows // 3, rows, 2)] = -2_000
        times = START + MINUTE * np.cumsum(steps)
    return SensorSeries(
        dataset="made",
        entity="press-1",
        channels=("a", "b", "c"),
        units=("", "", ""),
        sampling_interval_s=60.0,
        train=values[:0],
        train_ts=times[:0],
        test=values,
        test_ts=times,
    )


def told(bundle: Bundle, series: SensorSeries, chosen: Settings) -> tuple[StreamRun, int]:
    """The run of the evaluation, and the alarms that its report counts."""
    run = run_bundle(bundle, series, windows=chosen.windows, alarms=chosen.threshold)
    report = evaluate_bundle(
        bundle, series, windows=chosen.windows, alarms=chosen.threshold, floors=False, oracle_floors=False, run=run
    )
    return run, report.alarms


def assert_same_alarms(location: Path, series: SensorSeries, chosen: Settings) -> int:
    """Evaluation and pipeline open and clear the same alerts and give the same scores; how many alerts there were."""
    # when the pipeline gets the rows as messages, as `backtest` and a replay send them
    outputs = list(run_offline(open_pipeline([f"*={location}"], chosen), replay_block(series)))
    events = [orjson.loads(output.value or b"") for output in outputs if output.topic == "alerts"]
    opened, cleared = [], []
    for event in events:
        if event["event"] == "opened" and cleared and cleared[-1][0] == event["opened_at"]:
            cleared.pop()  # the last alert goes on
        elif event["event"] != "updated":
            kind = opened if event["event"] == "opened" else cleared
            kind.append((event["opened_at"], event["time"]))
    # and the evaluation runs over the same series
    run, alarms = told(open_bundle(location), series, chosen)
    # then the report counts the alerts that the pipeline opened
    assert alarms == len(opened)
    # and they opened and cleared at the same times
    assert [alarm.opened_at for alarm in run.alarms] == [since for since, _ in opened]
    assert [(a.opened_at, a.cleared_at) for a in run.alarms if a.cleared_at is not None] == cleared
    # and they are known by their rows: that which the alert dates from, and that which it opened with
    for alarm, times in zip(run.alarms, opened, strict=True):
        first = run.scored_rows[0]  # rows before the first scored one hold its score
        rows = [max(row, first) for row in (alarm.rows.start, alarm.rows.opened)]
        assert tuple(series.test_ts[rows]) == times
        assert alarm.rows.start <= alarm.rows.opened < alarm.rows.stop <= len(series.test)
    # and every scored window has the published score, level and time
    blocks = [orjson.loads(output.value or b"") for output in outputs if output.topic == "scores"]
    columns = {name: [value for block in blocks for value in block[name]] for name in ("time", "score", "threshold")}
    assert series.test_ts[run.scored_rows].tolist() == columns["time"]
    np.testing.assert_allclose(run.calibrated, columns["score"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.level, columns["threshold"], rtol=1e-5, atol=1e-6)
    return alarms


def settings_of(
    stride: int | None, durations: tuple[int, int], method: ThresholdMethod, *, gap: int = 0, restart_rows: int = 300
) -> Settings:
    opens, clears = durations
    interval_s = 60.0 * (stride or 1)
    return Settings(
        windows=WindowSettings(stride=stride, max_gap_intervals=gap, clock_restart_rows=restart_rows),
        threshold=ThresholdSettings(
            method=method,
            min_duration_s=opens * interval_s,
            clear_duration_s=clears * interval_s,
            reopen_s=3 * interval_s if opens == 4 else 0,
            cool_down_s=20 * interval_s if opens == 2 else 0,
            false_alarms_per_day=20,
        ),
        scoring=ScoringSettings(publish_scores=True),
    )


@covering(shape=SHAPES, stride=STRIDES, method=["fixed", "spot"])
def test_evaluation_tells_the_alerts_that_the_pipeline_opens(
    bundle_of: Locate, shape: str, stride: int, method: ThresholdMethod
) -> None:
    # given a bundle, a stride and a threshold, and alert rules of several durations
    series = made_up(3000, seed=20 + stride, messy=False)
    found = [
        assert_same_alarms(bundle_of(shape), series, settings_of(stride, durations, method)) for durations in DURATIONS
    ]
    # and there was something to tell: the rules open different numbers of alerts
    assert found[0] > 1
    assert len(set(found)) > 1


@settings(REPEATABLE, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from(sorted(SHAPES)),
    stride=st.sampled_from(STRIDES),
    durations=st.sampled_from(DURATIONS),
    method=st.sampled_from(["fixed", "spot"]),
    gap=st.sampled_from([0, 3, 10]),
    restart_rows=st.sampled_from([0, 2, 20, 300]),
)
def test_also_with_missing_values_late_rows_gaps_and_clocks_set_back(
    bundle_of: Locate,
    seed: int,
    shape: str,
    stride: int,
    durations: tuple[int, int],
    method: ThresholdMethod,
    gap: int,
    restart_rows: int,
) -> None:
    series = made_up(900, seed, messy=True)
    chosen = settings_of(stride, durations, method, gap=gap, restart_rows=restart_rows)
    assert_same_alarms(bundle_of(shape), series, chosen)


@pytest.mark.parametrize("at_once", [1, 7, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_how_many_windows_are_judged_at_once_changes_nothing(
    bundle_of: Locate, monkeypatch: pytest.MonkeyPatch, shape: str, at_once: int
) -> None:
    # given a machine with all that can go wrong, judged in one go
    series, bundle = made_up(900, seed=8, messy=True), open_bundle(bundle_of(shape))
    chosen = settings_of(4, (2, 3), "spot", gap=10, restart_rows=20)
    whole = run_bundle(bundle, series, windows=chosen.windows, alarms=chosen.threshold)
    # when it is judged in pieces
    monkeypatch.setattr(stream_run, "_WINDOWS_AT_ONCE", at_once)
    pieces = run_bundle(bundle, series, windows=chosen.windows, alarms=chosen.threshold)
    # then rows, alarms and counts are the same
    np.testing.assert_array_equal(pieces.scored_rows, whole.scored_rows)
    np.testing.assert_allclose(pieces.raw, whole.raw, rtol=1e-5)
    assert pieces.alarms == whole.alarms
    assert pieces.counters == whole.counters


def test_what_the_worker_drops_is_said(bundle_of: Locate) -> None:
    # given a machine with late rows, gaps and a clock that is set back
    series = made_up(900, seed=3, messy=True)
    chosen = settings_of(1, (1, 10), "fixed", gap=10, restart_rows=20)
    # when it is judged, then the report says what the worker would do with such rows
    bundle = open_bundle(bundle_of("plain"))
    report = evaluate_bundle(bundle, series, windows=chosen.windows, floors=False, oracle_floors=False)
    text = " ".join(report.warnings)
    run = run_bundle(bundle, series, windows=chosen.windows)
    assert f"{run.counters.late_rows} rows are not newer than the one before" in text
    assert f"{run.counters.clock_restarts} clock restarts, {run.counters.gaps} gaps" in text
    assert min(run.counters.late_rows, run.counters.gaps, run.counters.clock_restarts) > 0


def test_without_options_the_stride_is_the_bundles_own(tmp_path: Path) -> None:
    # given a bundle that was calibrated for every eighth window
    location = write_bundle(tmp_path, Recipe(window=6, stride=8))
    series = made_up(3000, seed=5, messy=False)
    # when it is judged without a word about settings, then the alarms are those of a worker without settings
    report = evaluate_bundle(open_bundle(location), series, floors=False, oracle_floors=False)
    assert report.stride == 8
    assert report.alarms == assert_same_alarms(location, series, Settings(scoring=ScoringSettings(publish_scores=True)))
    assert not any("stride" in warning for warning in report.warnings)
    # and another stride is doubted
    chosen = WindowSettings(stride=1)
    other = evaluate_bundle(open_bundle(location), series, windows=chosen, floors=False, oracle_floors=False)
    assert "the stride is 1, the bundle's 8" in " ".join(other.warnings)


@pytest.mark.parametrize("config", ["", "[windows]\nstride = 4\n[threshold]\nmethod = 'spot'\nmin_duration_s = 20\n"])
def test_the_commands_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str) -> None:
    # given a bundle of the simulated station, and a worker's settings
    location = tmp_path / "bundle"
    write_norm_bundle(location, load_series("simulated", None, "pump-2"), stride=8)
    words = [str(location), "--dataset", "simulated", "--entity", "pump-2"]
    if config:
        (tmp_path / "worker.toml").write_text(config)
        words += ["--config", str(tmp_path / "worker.toml")]
    # when it is evaluated and backtested
    assert main(["evaluate", *words, "--no-floors", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["backtest", *words, "--alerts", "-"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # then both tell the same alerts, and the report says under which settings
    assert report["alarms"] == sum(event["event"] == "opened" for event in events) > 0
    assert report["stride"] == report["settings"]["windows"]["stride"] == (4 if config else 8)
    assert report["settings"]["threshold"]["method"] == ("spot" if config else "budget")


@pytest.mark.data
@pytest.mark.nightly
def test_on_a_real_machine(tmp_path: Path, smd_folder: Path) -> None:
    # given PCA on machine-1-6 of SMD, which told 37 alarms at stride 8 where the worker opened 14
    series = load_series("smd", smd_folder, "machine-1-6")
    fitted, held_out = train_detector("pca", series, TrainOptions())
    location = write_trained(fitted, series, tmp_path / "bundle", scores=held_out, seed=0, torchscript=False).location
    for stride in STRIDES:
        for method in ("fixed", "spot"):
            # when it is judged at any stride, then it tells what the worker opens
            assert assert_same_alarms(location, series, settings_of(stride, (1, 10), method)) > 0
