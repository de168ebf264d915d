"""The two stages of VAE-LSTM's training: the VAE on short windows, then the LSTM on sequences of its codes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.vae_lstm.config import VaeLstmConfig
from wheeltapper.models.vae_lstm.loss import negative_elbo
from wheeltapper.models.vae_lstm.predictor import CodePredictor
from wheeltapper.models.vae_lstm.vae import VariationalAutoencoder
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import contiguous_runs
from wheeltapper.training.fitting.prepared import PreparedSeries, window_ends
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory, fingerprint, train_network

GRADIENT_LIMIT = 1.0
ENCODING_BATCH = 1024


class VaeObjective:
    """Mean negative ELBO of a batch; noise is drawn in training only."""

    def __init__(self, recon_weight: float) -> None:
        self.recon_weight = recon_weight

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, mu, sigma = network(rows)
        loss = negative_elbo(rows, reconstruction, mu, sigma, self.recon_weight).mean()
        return loss, loss.detach()


def prediction_objective(network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of codes 2..l_seq, each predicted from those before it; rows are codes, [B, l_seq, code]."""
    loss = ((network(rows[:, :-1]) - rows[:, 1:]) ** 2).mean()
    return loss, loss.detach()


@dataclass(frozen=True)
class KeptStage:
    """The finished first stage on disk, so that a run that is interrupted in the second does not repeat it.

    Attributes:
        file: None where no checkpoints are wanted.
    """

    file: Path | None

    def load(self, network: nn.Module) -> TrainingHistory | None:
        """
        Raises:
            InputError: a damaged file.
        """
        if self.file is None or not self.file.is_file():
            return None
        try:
            # weights_only: a checkpoint is data; nothing in it may run.
            saved = torch.load(self.file, map_location="cpu", weights_only=True)
            network.load_state_dict(saved["network"])
            network.eval()
            return TrainingHistory(**saved["history"])
        except Exception as error:  # torch raises unrelated types for a damaged file
            raise InputError(
                f"{self.file}: not a finished VAE of this run ({type(error).__name__}); delete it to start anew"
            ) from error

    def save(self, network: nn.Module, history: TrainingHistory) -> None:
        """Whole or not at all; a stage that a budget cut is not finished."""
        if self.file is None or history.cut:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        # A resumed run is a whole one by now.
        told = asdict(history) | {"resumed_at": None}
        torch.save({"network": network.state_dict(), "history": told}, partial)
        os.replace(partial, self.file)

    def remove(self) -> None:
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            with suppress(OSError):  # the folder is ours only if nothing else is in it
                self.file.parent.rmdir()


def train_vae(
    vae: VariationalAutoencoder, prepared: PreparedSeries, config: VaeLstmConfig, trainer: TrainerOptions
) -> tuple[TrainingHistory, KeptStage]:
    """Train on all short windows of the first part, watch those of the held-out part; no window spans the split."""
    training, validation = short_windows(prepared, config.l_win)
    identity = {"stage": "vae", "config": _vae_settings(config), "data": prepared.sha256}
    finished = fingerprint(trainer, **identity, epochs=trainer.epochs)
    kept = KeptStage(trainer.checkpoint_folder and trainer.checkpoint_folder / f"vae-{finished}.pt")
    history = kept.load(vae)
    if history is None:
        with clipped_gradients(vae):
            history = train_network(
                vae,
                VaeObjective(config.recon_weight),
                training,
                validation,
                trainer,
                run=fingerprint(trainer, **identity),
                title=f"vae-lstm {prepared.series.entity}: VAE",
                part="vae",
            )
        kept.save(vae, history)
    return history, kept


def train_predictor(
    predictor: CodePredictor,
    vae: VariationalAutoencoder,
    prepared: PreparedSeries,
    config: VaeLstmConfig,
    trainer: TrainerOptions,
) -> TrainingHistory:
    """Train on the sequences of the first part, watch those of the held-out part; the VAE stays as it is."""
    codes = encode_rows(vae, prepared.rows, config.l_win)
    training, validation = code_sequences(codes, prepared, config)
    # Codes that differ in one bit make another run: this holds where a budget cut the VAE, too.
    digest = hashlib.sha256(codes.tobytes()).hexdigest()
    return train_network(
        predictor,
        prediction_objective,
        training,
        validation,
        trainer,
        run=fingerprint(trainer, stage="lstm", codes=digest, l_win=config.l_win, l_seq=config.l_seq),
        title=f"vae-lstm {prepared.series.entity}: LSTM",
        part="lstm",
    )


def short_windows(prepared: PreparedSeries, l_win: int) -> tuple[WindowSource, WindowSource]:
    """Stride-1 windows of l_win rows on either side of the split."""
    series, rows = prepared.series, len(prepared.rows)
    split = int(rows * (1 - prepared.validation_share))
    runs = contiguous_runs(series.train_ts, series.sampling_interval_s)
    return (
        WindowSource(prepared.rows, window_ends(runs, l_win, 0, split), l_win),
        WindowSource(prepared.rows, window_ends(runs, l_win, split, rows), l_win),
    )


def encode_rows(vae: VariationalAutoencoder, rows: np.ndarray, l_win: int) -> np.ndarray:
    """[n, C] z-scores to [n, code] float32: mu of the short window that ends at each row; 0 for the first l_win - 1.

    Every short window is encoded once, however many sequences it is part of.
    """
    windows = WindowSource(rows, np.arange(l_win - 1, len(rows)), l_win)
    with torch.no_grad():
        codes = torch.cat([vae.encoder(batch)[0] for batch in windows.batches(ENCODING_BATCH)]).numpy()
    return np.concatenate([np.zeros((l_win - 1, codes.shape[1]), np.float32), codes])


def code_sequences(
    codes: np.ndarray, prepared: PreparedSeries, config: VaeLstmConfig
) -> tuple[WindowSource, WindowSource]:
    """Sequences of l_seq codes of short windows that follow each other, one for each row that ends a window.

    Rows are sorted by phase (row modulo l_win), so that codes l_win rows apart stand side by side: the sequences of all
    phases are then windows of l_seq entries at stride 1.
    """
    rows = np.arange(len(codes))
    order = np.lexsort((rows, rows % config.l_win))
    place = np.empty_like(order)
    place[order] = rows
    by_phase = codes[order]
    return (
        WindowSource(by_phase, place[prepared.train_ends], config.l_seq, prepared.train_ends),
        WindowSource(by_phase, place[prepared.held_out_ends], config.l_seq, prepared.held_out_ends),
    )


@contextlib.contextmanager
def clipped_gradients(network: nn.Module, limit: float = GRADIENT_LIMIT) -> Iterator[None]:
    """Each entry of a gradient is cut to +-limit, as published; the trainer's own clipping is by norm."""
    hooks = [
        parameter.register_hook(lambda gradient: gradient.clamp(-limit, limit)) for parameter in network.parameters()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _vae_settings(config: VaeLstmConfig) -> dict[str, object]:
    """What the first stage depends on."""
    names = ("l_win", "code", "hidden", "recon_weight", "validation_share", "input_clip", "scale")
    return {name: getattr(config, name) for name in names}
