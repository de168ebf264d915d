"""`wheeltapper train` and `evaluate` on sound, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import RATE, hum
from tests.unit.training.bundle.test_train_command import run_without
from wheeltapper.cli import main
from wheeltapper.schemas.bundle import open_bundle
from wheeltapper.training.detectors.auto_sound import PREFERRED
from wheeltapper.training.detectors.registry import detectors_of

SETTINGS = ("--set", "n_fft=256", "--set", "frame_hop=128", "--set", "bands=16")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own: train/, and test/ whose abnormal clips squeal."""
    home = tmp_path_factory.mktemp("data") / "fan-1"
    time = np.arange(RATE) / RATE
    squeal = 0.3 * np.sin(2 * np.pi * 700 * time)[:, None]
    for part, count, added in (("train", 12, 0.0), ("test/normal", 4, 0.0), ("test/abnormal", 4, squeal)):
        (home / part).mkdir(parents=True)
        for number in range(count):
            samples = hum(1.0, seed=100 * len(part) + number) + added
            soundfile.write(str(home / part / f"{number}.wav"), samples, RATE, subtype="PCM_16")
    return home


@pytest.fixture(scope="module")
def bundle(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "fan-1"
    words = ["train", "spectral-bands", "--dataset", "wav", "--data", str(recordings), "--out", str(out)]
    assert main([*words, "--window-s", "0.5", "--hop-s", "0.25", "--no-torchscript", *SETTINGS]) == 0
    return out


def test_train_on_a_folder_of_ones_own(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert (manifest.kind, manifest.detector, manifest.window, manifest.stride) == (
        "audio",
        "spectral-bands",
        RATE // 2,
        RATE // 4,
    )
    assert manifest.training_data.entity == "fan-1"


def test_auto_says_what_it_chose_and_why(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "auto",
        "--dataset",
        "wav",
        "--data",
        str(recordings),
        "--out",
        str(tmp_path / "b"),
        "--no-torchscript",
    ]
    assert main([*words, "--set", "n_fft=512", "--set", "frame_hop=256"]) == 0
    text = capsys.readouterr().out
    wanted = PREFERRED if PREFERRED in detectors_of("audio") else next(iter(detectors_of("audio")))
    assert f"auto         {wanted}: 12 clips, 12 s at 2000 Hz to learn from: " in text
    assert "window       1 s, scored every 0.5 s" in text
    assert "chosen_by_auto" in open_bundle(tmp_path / "b").manifest.parameters


def test_evaluate_tells_how_good_it_is(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(bundle), "--data", str(recordings)]
    assert main([*words, "--plot", str(tmp_path / "fan.png")]) == 0
    text = capsys.readouterr().out
    for expected in ("8 clips, 4 anomalous", "1-NN log-mel", "harmonic mean", "held-out normal windows"):
        assert expected in text
    assert (tmp_path / "fan.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--no-floors", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["auc"] == 1.0
    assert report["recall"] == 1.0
    assert report["floors"] == {}
    assert main([*words, "--no-floors", "--json", str(tmp_path / "x" / "report.json")]) == 0
    assert json.loads((tmp_path / "x" / "report.json").read_text())["detector"] == "spectral-bands"


def test_clips_at_the_alarm_level_are_listed_with_where_they_sound_wrong(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given clips of which four squeal at 700 Hz
    words = ["evaluate", str(bundle), "--data", str(recordings), "--no-floors"]
    # when alarms are asked for
    assert main([*words, "--alarms", "--json", str(tmp_path / "report.json")]) == 0
    text = capsys.readouterr().out
    # then those clips are named, each with the frequencies to blame
    assert "4 clips with a window at the alarm level, each by its strangest one:" in text
    listed = json.loads((tmp_path / "report.json").read_text())["alarm_list"]
    assert len(listed) == 4
    for clip in listed:
        assert clip["score"] >= 1
        assert clip["clip"] in text
        assert clip["blamed"][0]["low_hz"] <= 700 <= clip["blamed"][0]["high_hz"]


def test_clips_without_a_known_fault_are_listed_unasked(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given recordings of which nobody says that one is anomalous, one of which squeals
    for part, source in (("train", "train"), ("test/normal", "test/abnormal")):
        (tmp_path / "new" / part).mkdir(parents=True)
        (tmp_path / "new" / part / "0.wav").write_bytes((recordings / source / "0.wav").read_bytes())
    words = ["evaluate", str(bundle), "--dataset", "wav", "--data", str(tmp_path / "new"), "--entity", "new"]
    assert main([*words, "--no-floors"]) == 0
    assert "1 clip with a window at the alarm level" in capsys.readouterr().out


def test_evaluate_on_every_clip_of_recordings_that_the_bundle_has_never_seen(
    bundle: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given other recordings, of which the loader would keep half of the normal ones for training
    for part in ("normal", "abnormal"):
        (tmp_path / "new" / part).mkdir(parents=True)
        for number, path in enumerate(sorted((recordings / "test" / part).iterdir())):
            (tmp_path / "new" / part / f"{number}.wav").write_bytes(path.read_bytes())
    words = [
        "evaluate",
        str(bundle),
        "--dataset",
        "wav",
        "--data",
        str(tmp_path / "new"),
        "--entity",
        "new",
        "--json",
        "-",
    ]
    # when the bundle is judged on all of them: then every clip counts, and floors know what the bundle knows
    assert main([*words, "--clips", "all"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["clips"], report["anomalous"], report["auc"]) == (8, 4, 1.0)
    assert report["floors"]["loudness"]["auc"] == 1.0
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 6
    # and its own train clips are refused
    assert main(["evaluate", str(bundle), "--data", str(recordings), "--clips", "all"]) == 2
    assert "its train clips are those that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "pca", "--dataset", "wav", "--data", "{data}", "--out", "{out}"],
            "pca takes rows of sensors, wav fan-1 holds sound",
        ),
        (
            ["train", "spectral-bands", "--dataset", "simulated", "--entity", "pump-1", "--out", "{out}"],
            "spectral-bands takes sound",
        ),
        (
            ["train", "auto", "--dataset", "wav", "--data", "{data}", "--out", "{out}", "--window", "9"],
            "give --window-s instead",
        ),
        (
            ["train", "auto", "--dataset", "wav", "--data", "{data}", "--out", "{out}", "--stride", "9"],
            "give --hop-s instead",
        ),
        (["train", "pca", "--dataset", "simulated", "--out", "{out}", "--hop-s", "9"], "give --stride instead"),
        (
            ["train", "auto", "--dataset", "wav", "--data", "{data}", "--out", "{out}", "--window-s", "0"],
            "expected seconds above 0",
        ),
        (
            ["train", "auto", "--dataset", "wav", "--data", "{data}", "--out", "{out}", "--window-s", "0.01"],
            r"at least 0.1 s",
        ),
        (
            ["evaluate", "{bundle}", "--dataset", "simulated"],
            "scores sound, data set 'simulated' holds rows of sensors",
        ),
        (["evaluate", "{bundle}", "--data", "{data}", "--stride", "4"], "--stride is for bundles of rows"),
        (["pack", "x.onnx", "--dataset", "wav", "--data", "{data}", "--out", "{out}"], "x.onnx"),
    ],
)
def test_what_does_not_belong_together_is_told(
    words: list[str],
    message: str,
    bundle: Path,
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"data": str(recordings), "out": str(tmp_path / "out"), "bundle": str(bundle)}
    assert main([word.format(**places) for word in words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_rows_is_not_judged_on_clips(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["train", "l2-norm", "--dataset", "simulated", "--entity", "pump-1", "--out", str(tmp_path / "rows")]
    assert main([*made, "--no-torchscript"]) == 0
    assert main(["evaluate", str(tmp_path / "rows"), "--dataset", "wav", "--data", str(recordings)]) == 2
    assert "(l2-norm) scores rows of sensors, data set 'wav' holds sound" in capsys.readouterr().err


def test_backtest_of_recordings_opens_an_alert_that_names_the_squeal(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given two files, one after the other: quiet, with a squeal at 700 Hz from the tenth to the thirteenth second
    samples = np.concatenate([hum(1.0, seed=500 + number) for number in range(24)])
    time = np.arange(3 * RATE) / RATE
    samples[10 * RATE : 13 * RATE] += (0.3 * np.sin(2 * np.pi * 700 * time))[:, None].astype(np.float32)
    recorded = tmp_path / "monday"
    recorded.mkdir()
    soundfile.write(str(recorded / "1.wav"), samples[: 12 * RATE], RATE, subtype="PCM_16")
    soundfile.write(str(recorded / "2.wav"), samples[12 * RATE :], RATE, subtype="PCM_16")
    words = ["backtest", str(bundle), "--dataset", "wav", "--data", str(recorded), "--start", "2024-01-01T00:00:00Z"]
    # when the pipeline runs over them
    assert main([*words, "--alerts", str(tmp_path / "alerts.jsonl")]) == 0
    assert "48000 samples, 95 windows, 1 alerts" in capsys.readouterr().err
    # then there is one alert, at the squeal, that names its frequency
    events = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    opened = events[0]
    assert (opened["event"], opened["machine"], opened["rule"]) == ("opened", "monday", "spectral-bands")
    midnight = 1_704_067_200_000_000
    assert 10.0 <= (opened["time"] - midnight) / 1e6 <= 11.0
    strongest = opened["patches"][0]
    assert strongest["low_hz"] <= 700 <= strongest["high_hz"]
    assert len({event["alert_id"] for event in events}) == 1
    # and a part of it, or recordings of other channels, are no trouble or are told
    assert main([*words, "--limit", str(5 * RATE), "--alerts", str(tmp_path / "none.jsonl")]) == 0
    assert (tmp_path / "none.jsonl").read_text() == ""
    soundfile.write(str(recorded / "1.wav"), np.zeros((RATE, 2)), RATE)
    (recorded / "2.wav").unlink()
    assert main([*words, "--alerts", "-"]) == 2
    assert "2 channel(s), the bundle" in capsys.readouterr().err


def test_backtest_does_not_mix_sound_and_rows(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(bundle), "--dataset", "simulated", "--alerts", "-"]) == 2
    assert "scores sound, data set 'simulated' holds rows of sensors" in capsys.readouterr().err


def test_what_is_missing_to_read_recordings_is_named(recordings: Path, tmp_path: Path) -> None:
    words = ["train", "auto", "--dataset", "wav", "--data", str(recordings), "--out", str(tmp_path / "b")]
    ended = run_without(("soundfile",), words)
    assert ended.returncode == 2
    assert "needs soundfile: pip install 'wheeltapper[audio]'" in ended.stderr
    assert "Traceback" not in ended.stderr
