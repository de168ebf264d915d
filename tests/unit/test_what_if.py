"""What-if: past scores under other settings give the alarms that the worker would have told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wheeltapper.cli import main
from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.errors import InputError
from wheeltapper.schemas.events import ScoreBlock
from wheeltapper.stream.settings import load_settings
from wheeltapper.training.datasets.registry import load_series
from wheeltapper.training.detectors.registry import train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.judging.evaluation import run_bundle
from wheeltapper.what_if.scores import scores_from_series, scores_from_topic
from wheeltapper.what_if.variants import Variant, outcome, read_variants

MINUTE = 60_000_000
START = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    series = load_series("simulated", None, "pump-3")
    fitted, scores = train_detector("pca", series, TrainOptions(window=8, stride=4))
    return write_bundle(fitted, series, tmp_path_factory.mktemp("what-if") / "pump-3", scores=scores, torchscript=False)


@pytest.mark.parametrize(
    "threshold", [{"method": "fixed"}, {"method": "budget"}, {"method": "spot", "min_duration_s": "600"}]
)
def test_alarms_of_past_scores_are_those_of_the_stream(bundle: Bundle, threshold: dict[str, Any]) -> None:
    # Given what the stream's own code tells of a machine under some settings
    settings = load_settings(threshold=threshold)
    series = load_series("simulated", None, "pump-3")
    run = run_bundle(bundle, series, windows=settings.windows, alarms=settings.threshold)
    assert run.alarms
    # When its scores, found under other settings, are judged again under these
    past = scores_from_series(bundle, series, load_settings())
    found = outcome(past, Variant("", settings.threshold))
    # Then the alarms are the same, and so are the levels
    assert [(each.opened_at, each.cleared_at) for each in found.alarms] == [
        (alarm.opened_at, alarm.cleared_at) for alarm in run.alarms
    ]
    np.testing.assert_array_equal(found.history.levels, run.level)


def block(first: int, scores: list[float], machine: str = "pump-1", **more: Any) -> ScoreBlock:
    count = len(scores)
    return ScoreBlock(
        machine=machine, rule="pca", bundle="b", time=tuple(START + (first + row) * MINUTE for row in range(count)),
        raw=tuple(scores), score=tuple(scores), threshold=(1.0,) * count, quality=(1.0,) * count, **more,
    )  # fmt: skip


def topic_of(monkeypatch: pytest.MonkeyPatch, blocks: list[ScoreBlock]) -> None:
    def read(*_: Any, keep: Any, **__: Any) -> list[ScoreBlock]:
        return [one for one in blocks if keep(one.machine.encode())]

    monkeypatch.setattr("wheeltapper.follow.messages.read_messages", read)


def test_blocks_that_a_restarted_worker_repeats_count_once_and_maintenance_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a block that comes twice, and a machine that is not asked for
    topic_of(
        monkeypatch,
        [
            block(0, [0.1, 0.2]),
            block(2, [3.0, 0.3], maintenance=(True, False)),
            block(2, [3.0, 0.3], maintenance=(True, False)),
            block(0, [9.0], machine="press-1"),
        ],
    )
    # When they are read
    (past,) = scores_from_topic(load_settings(), "pump-*", None, since_ms=None, bundle=None, tell=print)
    # Then each window is there once, with a minute between two of them
    assert past.scores.tolist() == [0.1, 0.2, 3.0, 0.3]
    assert past.maintenance is not None
    assert past.maintenance.tolist() == [False, False, True, False]
    assert past.basis.windows_per_day == 1440


def test_a_machine_without_scores_is_an_error_that_names_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    topic_of(monkeypatch, [block(0, [0.1])])
    with pytest.raises(InputError, match=r"topic wheeltapper\.scores holds no score of machine 'pomp-1'"):
        scores_from_topic(load_settings(), "pomp-1", None, since_ms=None, bundle=None, tell=print)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method"], "--try method: expected KEY=VALUE"),
        (["metod=fixed"], r"--try metod=fixed: \[threshold\] has no setting 'metod'"),
        (["false_alarms_per_day=-1"], "setting threshold.false_alarms_per_day"),
    ],
)
def test_settings_that_there_are_not_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_variants(load_settings(), None, [words])


def test_the_command_compares_settings_and_draws(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # When two settings are tried beside the configured ones
    words = ["what-if", "--bundle", str(bundle.location), "--dataset", "simulated", "--entity", "pump-3"]
    code = main([*words, "--try", "method=fixed", "raise_level=0.5", "--try", "threshold.method=fixed", "--json"])
    # Then a lower level gives more alarms, and faults that were told are counted
    assert code == 0
    configured, low, fixed = json.loads(capsys.readouterr().out)
    assert low["settings"] == "method=fixed, raise_level=0.5"
    assert low["open_share"] > fixed["open_share"] > 0
    assert configured["faults"] >= configured["told"] > 0
    # And the plot is a picture
    assert main([*words, "--plot", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "alarms that would have been" in capsys.readouterr().out
