"""Motor recordings to rows of band levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.cbm_motor import RATE_HZ, BandRows, recordings
from wheeltapper.training.lab.domain_pairs import MOTOR_CUT_SAMPLES, motor_pairs


def write(folder: Path, name: str, signal: np.ndarray) -> None:
    scale = np.full(3, 1e-4, np.float32)
    np.savez(folder / f"{name}.npz", codes=np.round(signal / scale).astype(np.int16), scale=scale, offset=np.zeros(3))


def test_a_tone_at_the_shaft_s_speed_is_in_the_same_order_band_at_every_speed() -> None:
    bands, time = BandRows(), np.arange(8000) / RATE_HZ
    strongest = []
    for speed in (600, 3000):
        noise = 1e-3 * np.random.default_rng(0).standard_normal((8000, 3))
        tone = np.sin(2 * np.pi * 3 * speed / 60 * time)[:, None]  # third order
        rows = bands.rows(noise + tone, speed)
        assert rows.shape == ((8000 - 4096) // 64 + 1, len(bands.channels()))
        orders = rows.mean(axis=0)[3 * bands.fixed :].reshape(bands.orders, 3)
        strongest.append(orders.argmax(axis=0).tolist())
    assert strongest[0] == strongest[1]
    edges = np.geomspace(0.5, bands.highest_order, bands.orders + 1)
    assert edges[strongest[0][0]] <= 3 < edges[strongest[0][0] + 1]


def test_recordings_are_read_by_their_names(tmp_path: Path) -> None:
    signal = 0.1 * np.random.default_rng(0).standard_normal((5000, 3))
    write(tmp_path, "0600_GoB_GS_BaLo_WA_11lb", signal)
    write(tmp_path, "0600_HIR_GS_BaLo_WA_00lb", signal)
    healthy, faulty = recordings(tmp_path)
    assert (healthy.speed_rpm, healthy.load_lb, healthy.faulty) == (600, 11, False)
    assert (faulty.load_lb, faulty.state, faulty.faulty) == (0, "HIR_GS_BaLo_WA", True)
    np.testing.assert_allclose(healthy.signal, signal, atol=1e-4)


@pytest.mark.parametrize("name", ["motor", "600_GoB_GS_BaLo_WA_00lb"])
def test_other_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, np.zeros((10, 3)))
    with pytest.raises(InputError, match=r"not the name of a motor recording"):
        recordings(tmp_path)


def test_motor_windows_to_adapt_on_and_to_judge_share_no_sample(tmp_path: Path) -> None:
    # given recordings whose second half is a thousand times as loud
    random = np.random.default_rng(0)
    for speed in ("0600", "1200", "1800", "3000"):
        for state in ("GoB_GS_BaLo_WA", "HIR_GS_BaLo_WA"):
            signal = random.standard_normal((20_000, 3))
            signal[:MOTOR_CUT_SAMPLES] *= 1e-3
            write(tmp_path, f"{speed}_{state}_00lb", signal)
    # when they are made into pairs of speeds
    pairs = motor_pairs(tmp_path, "motor speed")
    assert len(pairs) == 12
    # then a quarter of the windows is anomalous, and no window to adapt on has heard the second half
    for pair in pairs:
        assert 0.2 <= pair.target.anomalous_share <= 0.3
        assert pair.test.windows.min() > pair.target.windows.max()
