"""Tiny ALoRa networks on made-up data; one torch thread, so that tests neither wait for nor disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from wheeltapper.models.alora.config import AloraConfig
from wheeltapper.models.alora.embed import choose_pairs
from wheeltapper.models.alora.model import AloraNetwork

TINY = AloraConfig(window=8, width=12, layers=2, heads=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny() -> AloraConfig:
    return replace(TINY)


@pytest.fixture
def rows() -> np.ndarray:
    """[400, 7] float32: waves that share two sources, and a constant channel (the last)."""
    random = np.random.default_rng(7)
    time = np.arange(400)
    sources = np.stack([np.sin(time / 9), np.cos(time / 23)], axis=1)
    values = sources @ random.standard_normal((2, 6)) + 0.1 * random.standard_normal((400, 6))
    return np.concatenate([values * 3 + 40, np.full((400, 1), 2.5)], axis=1).astype(np.float32)


@pytest.fixture
def network(tiny: AloraConfig, rows: np.ndarray) -> AloraNetwork:
    return AloraNetwork(tiny, rows.shape[1], choose_pairs(rows, tiny.width)).eval()
