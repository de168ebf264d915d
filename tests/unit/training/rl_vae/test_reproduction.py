"""Shipped numbers beside ours: tables and figure of given runs, going on from kept ones, and what is not in the folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.lab.reproduce import ReproduceOptions
from wheeltapper.training.lab.reproduce import rl_vae as module
from wheeltapper.training.lab.rl_vae_learning_curve import METHODS, SHARES, Judged


def runs(entity: str, seed: int = 0) -> list[Judged]:
    return [
        Judged(entity, seed, method, share, round(1000 * share), 1, 0.1 * place + share, 0.2, {"x": 0.5}, {"x": 0.4})
        for share in SHARES
        for place, method in enumerate(METHODS, start=1)
    ]


def smd_folder(root: Path, machines: tuple[str, ...]) -> Path:
    folder = root / "smd"
    folder.mkdir()
    random = np.random.default_rng(0)
    for machine in machines:
        label = np.zeros(400, dtype=np.uint8)
        label[350:360] = machine != "machine-1-3"
        values = {name: random.random((400, 38), dtype=np.float32) for name in ("train", "test")}
        np.savez(folder / f"{machine}.npz", **values, test_label=label)
    return root


def test_tables_from_kept_runs_and_a_note_on_what_is_missing(tmp_path: Path) -> None:
    # Given SMD with a machine whose later half has no anomaly, no Yahoo, and runs that were kept
    data = smd_folder(tmp_path, ("machine-1-2", "machine-1-3"))
    out = tmp_path / "out"
    out.mkdir()
    kept = [
        {"dataset": "smd", "entity": "machine-1-2", "seed": 0, "judged": [run.to_json() for run in runs("machine-1-2")]}
    ]
    (out / module.KEPT).write_text("".join(json.dumps(entry) + "\n" for entry in kept))
    # when the reproduction goes on from there
    found = module.reproduce(ReproduceOptions(data=data, out=out))
    # then it shows shipped numbers beside ours, every method at every share, and says what was not run
    shipped, curve, entities = found.tables
    assert [row[2] for row in shipped.rows if row[0] == "SMD"] == [0.132, 0.184, 0.105, 0.01]
    assert all(row[5] == pytest.approx(0.11) for row in shipped.rows if row[0] == "SMD")
    assert all(row[5] is None for row in shipped.rows if row[0] != "SMD")
    assert len(curve.rows) == len(METHODS) * len(SHARES)
    assert {row[0] for row in entities.rows} == {"machine-1-2"}
    assert any(note.startswith("yahoo-a1 was not run") for note in found.explanation)
    assert found.figures["rl-vae-learning-curve.png"].startswith(b"\x89PNG")
    assert all(len(row) == len(table.columns) for table in found.tables for row in table.rows)


def test_a_folder_without_any_of_the_data_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SMD or Yahoo"):
        module.reproduce(ReproduceOptions(data=tmp_path, out=tmp_path / "out"))
