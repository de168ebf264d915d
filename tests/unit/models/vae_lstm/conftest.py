"""Tiny VAE-LSTM networks; one torch thread, so that tests neither wait for nor disturb each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from wheeltapper.models.vae_lstm.config import VaeLstmConfig
from wheeltapper.models.vae_lstm.graph import VaeLstmGraph
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import VariationalAutoencoder

GraphOf = Callable[..., VaeLstmGraph]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def graph_of() -> GraphOf:
    """Settings -> a graph with untrained networks over three channels of different scale."""

    def build(channels: int = 3, **settings: Any) -> VaeLstmGraph:
        torch.manual_seed(0)
        config = VaeLstmConfig(**{"l_win": 24, "l_seq": 3, "hidden": 32, "code": 4, **settings})
        vae, predictor = VariationalAutoencoder(config, channels), CodePredictor(config.code)
        mean, scale = np.linspace(-5, 100, channels), np.linspace(0.5, 20, channels)
        return VaeLstmGraph(vae.encoder, vae.decoder, predictor, config, mean, scale)

    return build
