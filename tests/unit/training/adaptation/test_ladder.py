"""The ladder on made machines: what adapts to a change, what is refused, and what a child keeps of its parent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.machines import make_series, normal_rows
from wheeltapper.schemas.bundle import Bundle, Graph, open_bundle
from wheeltapper.schemas.bundle.signature import read_public_keys, signer_of, write_key_pair
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.adaptation.evidence import Evidence
from wheeltapper.training.adaptation.gate import gate
from wheeltapper.training.adaptation.ladder import LadderOptions, climb
from wheeltapper.training.adaptation.recent import RecentRows
from wheeltapper.training.adaptation.rescaling import estimate_map, rescaled_graph
from wheeltapper.training.adaptation.service.job import Job, Store, run_job
from wheeltapper.training.adaptation.steps import steps_for
from wheeltapper.training.detectors.registry import detectors_of, train_detector
from wheeltapper.training.fitting.bundle_writer import write_bundle
from wheeltapper.training.fitting.options import TrainOptions

CHANNELS = 8
ROWS = normal_rows(12_000, CHANNELS, seed=21, offset=20.0)
TRAIN, LATER = ROWS[:6000], ROWS[6000:9000]
MINUTE = 60_000_000


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    found = {}
    for name in ("pca", "range-bands"):
        series = make_series(TRAIN)
        fitted, scores = train_detector(name, series, TrainOptions(window=24))
        out = tmp_path_factory.mktemp("parents") / name
        found[name] = write_bundle(fitted, series, out, scores=scores, torchscript=False)
    return found


def recent(values: np.ndarray, *, accepted: bool = True) -> RecentRows:
    series = make_series(TRAIN)
    times = int(series.train_ts[-1]) + MINUTE * np.arange(1, len(values) + 1, dtype=np.int64)
    return RecentRows(values.astype(np.float32), times, accepted=accepted)


def serviced(rows: np.ndarray) -> np.ndarray:
    """Three channels with another gain and offset."""
    changed = rows.copy()
    spread = TRAIN.std(axis=0)
    changed[:, :3] = 1.3 * changed[:, :3] + 3 * spread[:3]
    return changed


@pytest.mark.parametrize("name", ["pca", pytest.param("range-bands", marks=pytest.mark.nightly)])
def test_a_serviced_machine_gets_a_child_that_is_quiet_and_sees_faults(
    parents: dict[str, Bundle], name: str, tmp_path: Path
) -> None:
    # Given a machine with other gains and offsets on three channels, which floods its operator
    parent = parents[name]
    result = climb(parent, recent(serviced(LATER)), LadderOptions(tmp_path / "child", report=tmp_path / "report.html"))
    # Then a step passes, and the child says whose it is and keeps its parent's form
    assert result.child is not None, [attempt.verdict.reasons for attempt in result.attempts]
    child = open_bundle(tmp_path / "child")
    assert child.manifest.parent == parent.manifest.bundle_id
    assert child.manifest.bundle_id != parent.manifest.bundle_id
    kept = ("detector", "window", "stride", "channels", "lag", "warm_up", "sampling_interval_s")
    assert [getattr(child.manifest, field) for field in kept] == [getattr(parent.manifest, field) for field in kept]
    assert child.manifest.parameters["adapted_by"] == result.step
    # And on rows that nobody has seen it is quiet where the parent is loud, and a fault in a changed channel is plain
    evidence = Evidence(parent, recent(serviced(ROWS[9000:])), seed=5)
    old, new = evidence.old_scores(), evidence.scores(child)
    assert np.mean(old.recent >= 1) > 0.5
    assert np.mean(new.recent >= 1) < 0.01
    figures = gate(old, new).figures
    assert figures["auroc"]["new"] > figures["auroc"]["today"]
    # And the report tells of it
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Accepted: {result.step}" in text
    assert text.count("data:image/png;base64") >= 3


def test_a_level_that_loud_rows_ask_for_does_not_make_a_child_deaf(parents: dict[str, Bundle], tmp_path: Path) -> None:
    # Given a serviced machine, and short bursts in the rows to learn from that nobody noticed
    rows = recent(serviced(LATER))
    learn, _ = rows.split(24)
    learnt, values, random = np.isin(rows.times, learn.times), rows.values.copy(), np.random.default_rng(3)
    for start in range(60, len(values) - 12, 150):
        if learnt[start : start + 12].all():
            values[start : start + 12, :4] += 8 * TRAIN.std(axis=0)[:4] * random.choice([-1, 1], 4)
    # When the ladder is climbed
    result = climb(parents["pca"], RecentRows(values, rows.times, accepted=True), LadderOptions(tmp_path / "child"))
    # Then the child that is taken has a lower level than the bursts ask for, says so, and tells most of what it could
    assert result.taken is not None, [each.verdict.reasons for each in result.attempts]
    manifest = open_bundle(tmp_path / "child").manifest
    assert manifest.calibration.method == "lowered"
    assert any("the level is a lower one" in warning for warning in manifest.warnings)
    assert "times lower than the rows learnt from ask for" in result.reason
    figures = result.taken.verdict.figures
    assert figures["recall_at_level"] >= 0.7 * figures["recall"]["new"]


def test_a_job_signs_its_child_with_the_adaptation_workers_key(parents: dict[str, Bundle], tmp_path: Path) -> None:
    # Given a job of an adaptation worker that has a key, under a password
    key = tmp_path / "adapt.pem"
    public, _ = write_key_pair(key, "secret")
    parent = parents["range-bands"]
    job = Job(
        "1", "m", "range-bands", str(parent.location), parent.manifest_sha256, 0.25, 120.0,
        signing_key=str(key), signing_key_password="secret", accepted=True,
    )  # fmt: skip
    assert "secret" not in repr(job)
    store = Store(str(tmp_path / "out"))
    rows = recent(serviced(LATER))
    # When it has climbed: then workers that trust the key load the child
    outcome = run_job(store.prepare(job, rows.times, rows.values))
    assert outcome.status == "accepted", outcome.reason
    child = open_bundle(outcome.uri)
    assert child.manifest_sha256 == outcome.sha256
    assert signer_of(child, read_public_keys([public])).source == public


def test_a_machine_that_has_not_changed_keeps_its_bundle(parents: dict[str, Bundle], tmp_path: Path) -> None:
    result = climb(parents["pca"], recent(LATER), LadderOptions(tmp_path / "child"))
    assert result.child is None
    assert not (tmp_path / "child").exists()
    assert result.reason


def test_a_few_rows_are_too_little_evidence(parents: dict[str, Bundle], tmp_path: Path) -> None:
    result = climb(parents["pca"], recent(serviced(LATER[:120])), LadderOptions(tmp_path / "child"))
    assert result.child is None
    assert "too little evidence" in result.reason or "expected at least" in result.reason


def test_a_sensor_that_died_is_not_learnt_unless_somebody_accepts_it(
    parents: dict[str, Bundle], tmp_path: Path
) -> None:
    # Given a channel that hangs at one value, and another that is missing
    rows = serviced(LATER)
    rows[:, 5] = rows[0, 5]
    rows[:, 6] = np.nan
    # Then nothing is adapted to it
    with pytest.raises(InputError, match=r"sensor-5, sensor-6: moved in nearly every reference window"):
        climb(parents["pca"], recent(rows, accepted=False), LadderOptions(tmp_path / "child"))
    # Unless a person says that this is the new normal
    assert climb(parents["pca"], recent(rows), LadderOptions(tmp_path / "child", steps=["input-scaling"])).attempts


@pytest.mark.parametrize("part", [slice(None), slice(2000, None)])
def test_a_few_channels_that_alone_moved_far_are_not_learnt_unless_somebody_accepts_it(
    parents: dict[str, Bundle], tmp_path: Path, part: slice
) -> None:
    # Given two channels that moved far, from the beginning or in the rows that are held out alone
    rows = LATER.copy()
    rows[part, 1:3] += 6 * TRAIN.std(axis=0)[1:3]
    # Then it may be a fault that lasts
    with pytest.raises(InputError, match=r"sensor-1, sensor-2: moved far, and the other channels did not"):
        climb(parents["pca"], recent(rows, accepted=False), LadderOptions(tmp_path / "child"))


def test_what_nobody_accepted_is_learnt_beside_the_old_normal_alone(parents: dict[str, Bundle], tmp_path: Path) -> None:
    # Given a machine of which most channels have moved, and nobody has said that it is to stay so
    rows = LATER + 2.5 * TRAIN.std(axis=0)
    result = climb(parents["pca"], recent(rows, accepted=False), LadderOptions(tmp_path / "child"))
    # Then no step is tried that forgets how the machine was
    assert [attempt.step for attempt in result.attempts] == ["operating-level", "refit-recent"]
    # And a bundle that was trained on both is not loud in either
    made = result.attempts[-1].bundle
    assert made is not None
    for values in (TRAIN[:2000], rows[-800:]):
        scores = Evidence(made, recent(values)).old_scores().recent
        assert np.mean(scores >= 1) < 0.02


def test_rows_of_another_width_are_refused(parents: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recent rows have 7 channels, the bundle .* takes 8"):
        climb(parents["pca"], recent(LATER[:, :7]), LadderOptions(tmp_path / "child"))


def test_the_map_in_front_of_a_graph_gives_the_parents_scores_in_the_old_units(parents: dict[str, Bundle]) -> None:
    # Given a graph that has been rescaled twice, as the child of a child is
    parent = parents["pca"]
    channel_map = estimate_map(TRAIN, serviced(TRAIN))
    once = rescaled_graph(parent.files["model.onnx"], channel_map)
    twice = rescaled_graph(once, channel_map)
    windows = np.lib.stride_tricks.sliding_window_view(LATER, 24, axis=0)[::50].transpose(0, 2, 1)
    back = channel_map.back
    # Then windows in the new units score as the old ones did, and the expected values are in the new units
    wanted = Graph(parent.files["model.onnx"], device="cpu").run(windows)
    for model, moved in ((once, back(windows)), (twice, back(back(windows)))):
        found = Graph(model, device="cpu").run(moved)
        np.testing.assert_allclose(found.score, wanted.score, rtol=2e-3)
    first = Graph(once, device="cpu").run(back(windows))
    np.testing.assert_allclose(first.expected, back(wanted.expected), rtol=1e-3, atol=1e-2)


def test_every_detector_has_a_ladder() -> None:
    for name in detectors_of("sensors"):
        steps = steps_for(name)
        assert steps[:2] == ("operating-level", "input-scaling")
        assert steps[2:] in (("refit", "refit-recent"), ("fine-tune",))
    assert steps_for("brought-by-a-user") == ("operating-level", "input-scaling")
    with pytest.raises(InputError, match="no step 'retrain' of adaptation"):
        steps_for("pca", ["retrain"])
