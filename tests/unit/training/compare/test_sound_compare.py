"""A comparison of detectors of sound, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import RATE, hum
from wheeltapper.cli import main

SPECTRAL = "spectral-bands:bands=16,frame_hop=128,n_fft=256"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines whose abnormal clips squeal, and one with a single clip."""
    home = tmp_path_factory.mktemp("wav")
    squeal = 0.3 * np.sin(2 * np.pi * 700 * np.arange(RATE) / RATE)[:, None]
    for seed, machine in enumerate(("fan-1", "fan-2", "lonely")):
        for part, count, added in (("train", 10, 0.0), ("test/normal", 3, 0.0), ("test/abnormal", 3, squeal)):
            (home / machine / part).mkdir(parents=True)
            for number in range(1 if machine == "lonely" and part == "train" else count):
                samples = hum(1.0, seed=1000 * seed + 100 * len(part) + number) + added
                soundfile.write(str(home / machine / part / f"{number}.wav"), samples, RATE, subtype="PCM_16")
    return home


@pytest.mark.slow
def test_every_detector_on_every_machine_with_floors_and_reports(
    machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given two machines that can be learnt, and one that cannot
    out = tmp_path / "out"
    words = [
        "compare",
        "--dataset",
        "wav",
        "--data",
        str(machines),
        "--detectors",
        SPECTRAL,
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    # when they are compared
    assert main(words) == 0
    text = capsys.readouterr().out
    # then the best stands first, with the floors, and who could not be fitted is told
    assert "AUC, mean over entities" in text
    assert "9 done now, 0 kept from before; 1 without numbers" in text
    rows = json.loads((out / "results.json").read_text())
    found = {(row["entity"], row["detector"]): row for row in rows}
    assert {row["role"] for row in rows} == {"floor", "detector"}
    for machine in ("fan-1", "fan-2"):
        row = found[machine, SPECTRAL]
        assert (row["auc"], row["official"], row["error"]) == (1.0, 1.0, None)
        assert row["windows_per_second"] > 0
        assert 0 <= found[machine, "floor:random"]["auc"] <= 1
    assert "1 train clips of 1 s, spectral-bands needs at least 3" in found["lonely", SPECTRAL]["error"]
    report = (out / "report.md").read_text()
    for expected in ("# Comparison of detectors of sound", "| fan-1 |", "floor: 1-NN log-mel", "lonely spectral-bands"):
        assert expected in report
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    # and a second run keeps what is done; the reports can be written without it
    assert main(words) == 0
    assert "0 done now, 9 kept from before" in capsys.readouterr().out
    (out / "report.md").unlink()
    assert main(["compare", "--report-only", "--out", str(out)]) == 0
    assert (out / "report.md").read_text().count("fan-1") == report.count("fan-1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--dataset", "wav", "smd"],
            "--dataset wav holds sound, smd rows of sensors; compare them one kind at a time",
        ),
        (
            ["--dataset", "wav", "--detectors", "pca"],
            "--detectors pca takes rows of sensors, but the data sets hold sound",
        ),
        (["--dataset", "wav", "--stride", "2"], "--stride 2: sound is scored every half window; leave it out"),
        ([], "--dataset is missing; give 'all' or some of smd"),
    ],
)
def test_what_cannot_be_compared_is_told(
    words: list[str], message: str, machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, "--data", str(machines), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
