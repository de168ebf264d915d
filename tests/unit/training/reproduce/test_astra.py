"""The challenge's protocol for ASTRA and the autoencoder, on a small folder of DCASE's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
soundfile = pytest.importorskip("soundfile")

from tests.helpers.sounds import RATE, hum  # noqa: E402
from wheeltapper.schemas.errors import InputError  # noqa: E402
from wheeltapper.training.detectors.astra.spec import SPEC as ASTRA  # noqa: E402
from wheeltapper.training.detectors.dcase_ae.spec import SPEC as AUTOENCODER  # noqa: E402
from wheeltapper.training.fitting.spec import DetectorSpec  # noqa: E402
from wheeltapper.training.lab.reproduce import ReproduceOptions  # noqa: E402
from wheeltapper.training.lab.reproduce.astra import OFFICIAL, reproduce  # noqa: E402

TINY_ASTRA = {"mels": 24, "image_rows": 32, "image_columns": 48, "width": 4, "embedding": 8, "trunk": "small"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two machines with 6 source and 2 target train clips, and 4 test clips of each label."""
    for number, machine in enumerate(("fan", "valve")):
        for part, count in (("train", 8), ("test", 8)):
            home = tmp_path / "dcase" / machine / part
            home.mkdir(parents=True)
            for index in range(count):
                domain = "target" if index % 4 == 3 else "source"
                label = "anomaly" if part == "test" and index >= 4 else "normal"
                samples = hum(1.0, seed=100 * number + 10 * (part == "test") + index, gain=1 + number)
                if label == "anomaly":
                    samples += 0.3 * np.sin(2 * np.pi * 700 * np.arange(len(samples)) / RATE)[:, None].astype(
                        np.float32
                    )
                name = f"section_00_{domain}_{part}_{label}_{index:04}_speed_{index % 2}.wav"
                soundfile.write(home / name, samples, RATE, subtype="PCM_16")
    return tmp_path


def tiny(monkeypatch: pytest.MonkeyPatch, spec: DetectorSpec, **settings: object) -> None:
    for name, preset in list(spec.presets.items()):
        assert preset.trainer is not None
        small = replace(
            preset,
            settings=replace(preset.settings, **settings),
            trainer=replace(preset.trainer, epochs=1, windows_per_epoch=64),
        )
        monkeypatch.setitem(spec.presets, name, small)  # type: ignore[arg-type]


def test_both_presets_and_the_baseline_stand_beside_the_official_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given the same settings on a smaller scale
    tiny(monkeypatch, ASTRA, **TINY_ASTRA)
    tiny(monkeypatch, AUTOENCODER, mels=16, width=16)
    # when the protocol is run
    found = reproduce(ReproduceOptions(data=folder, out=tmp_path / "out"))
    # then official rows stand first, with nothing published for ASTRA, and ours behind them
    overall, each = found.tables
    assert list(overall.rows[0][:2]) == ["nobody published any", "astra"]
    assert [row[-1] for row in overall.rows[1 : 1 + len(OFFICIAL)]] == [0.5925, 0.6105, 0.5651, 0.5649]
    ours = {str(row[1]): row[2:] for row in overall.rows[1 + len(OFFICIAL) :]}
    assert set(ours) == {
        "astra, published",
        "astra, published, domain known",
        "astra, small",
        "dcase-ae, mse",
        "dcase-ae, selective Mahalanobis",
        "random scores",
    }
    # the official number is the harmonic mean of every machine's three
    rows = [row for row in each.rows if row[1] == "dcase-ae, mse"]
    assert [row[0] for row in rows] == ["fan/section_00", "valve/section_00"]
    parts = np.array([[float(row[k]) for k in (2, 3, 5)] for row in rows])  # type: ignore[arg-type]
    assert ours["dcase-ae, mse"][-1] == pytest.approx(6 / np.sum(1 / parts))
    # and a loud tone is found by the baseline on any scale
    assert float(ours["dcase-ae, mse"][2]) > 0.9  # type: ignore[arg-type]
    assert "no number to reproduce" in found.explanation[0]


def test_a_folder_without_dcase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of DCASE"):
        reproduce(ReproduceOptions(data=tmp_path, out=tmp_path / "out"))
