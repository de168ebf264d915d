"""Fits RL-VAE to one entity: VAE, pool of labels, Q-network, standards, held-out scores, export."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

# Before torch: threads that wait by spinning would cost a shared processor most of its time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.rl_vae.config import RlVaeConfig
from wheeltapper.models.rl_vae.graph import OUTPUTS, RlVaeGraph, Standards
from wheeltapper.models.rl_vae.qnetwork import QNetwork
from wheeltapper.models.rl_vae.vae import Vae, vae_loss
from wheeltapper.training.datasets.series import SensorSeries
from wheeltapper.training.detectors.rl_vae.agent import Agent, AgentHistory, advantages, look
from wheeltapper.training.detectors.rl_vae.channel_trust import channel_trust
from wheeltapper.training.detectors.rl_vae.evidence import Evidence, cross_check
from wheeltapper.training.detectors.rl_vae.pool import LabelPool
from wheeltapper.training.detectors.rl_vae.sources import choose_pool
from wheeltapper.training.detectors.rl_vae.spec import SPEC
from wheeltapper.training.detectors.rl_vae.windows import WindowBank, bank_of_runs
from wheeltapper.training.fitting.batch_source import WindowSource
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.prepared import PreparedSeries, prepare
from wheeltapper.training.fitting.progress import epochs_progress
from wheeltapper.training.fitting.torch_detector import (
    TorchDetector,
    held_out_scores,
    training_parameters,
)
from wheeltapper.training.fitting.trainer import TrainerOptions, TrainingHistory, fingerprint, train_network

# Share of a time budget that the VAE may use; the Q-network's loop gets what is left, less some for export and scoring.
VAE_SHARE, LOOP_SHARE = 0.4, 0.8
# Windows of the train part that the agent walks through, and held-out ones that standards are taken from.
NORMAL_WINDOWS, STANDARD_WINDOWS = 6000, 6000


@dataclass(frozen=True)
class TrainedVae:
    """A VAE and the rows that it was trained on; several agents may share one."""

    vae: Vae
    prepared: PreparedSeries
    trainer: TrainerOptions
    history: TrainingHistory


def train_rl_vae(series: SensorSeries, options: TrainOptions) -> tuple[TorchDetector, CalibrationScores]:
    """RL-VAE as the command line asks for it.

    Labels: the operator's (`options.extra_data.labelled`), else of a pool made by disturbing normal windows.

    Raises:
        InputError: too few rows, no channel that moves, a loss that is not finite, labelled windows of another shape, or
            no such setting.
    """
    config, trainer = SPEC.settings_for(options), SPEC.trainer_for(options)
    started = time.monotonic()
    if trainer.budget_s is not None:
        trainer = replace(trainer, budget_s=VAE_SHARE * trainer.budget_s)
    trained = train_vae(series, config, trainer)
    pool, warnings = choose_pool(trained.prepared, config, options.extra_data.labelled, seed=options.seed)
    left = None if options.budget_s is None else max(LOOP_SHARE * options.budget_s - (time.monotonic() - started), 0.0)
    detector = train_agent(trained, config, pool, seed=options.seed, budget_s=left, warnings=warnings)
    return detector, held_out_scores(detector, options)


def train_vae(series: SensorSeries, config: RlVaeConfig, trainer: TrainerOptions) -> TrainedVae:
    """The VAE, on the first part of the train part.

    Raises:
        InputError: as `train_rl_vae`.
    """
    prepared = prepare(
        series,
        window=config.window,
        validation_share=trainer.held_out_share,
        clip=config.input_clip,
        scale=config.scale,
    )
    torch.manual_seed(trainer.seed)
    vae = Vae(config, prepared.channels)
    shape = {name: value for name, value in asdict(config).items() if name in ("window", "latent", "hidden", "scale")}
    history = train_network(
        vae,
        vae_objective,
        WindowSource(prepared.rows, prepared.train_ends, config.window),
        WindowSource(prepared.rows, prepared.held_out_ends, config.window),
        trainer,
        run=fingerprint(trainer, detector="rl-vae", config=shape, clip=config.network_clip, data=prepared.sha256),
        title=f"rl-vae {series.entity}",
        part="vae",
    )
    return TrainedVae(vae.eval(), prepared, trainer, history)


def vae_objective(network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    # Errors enter as they are; a gross value in the train part must not decide the step alone, hence the gradient clip.
    loss = vae_loss(network(rows), rows).mean()
    return loss / rows[0].numel(), loss.detach() / rows[0].numel()


def train_agent(
    trained: TrainedVae,
    config: RlVaeConfig,
    pool: LabelPool,
    *,
    seed: int,
    budget_s: float | None = None,
    warnings: tuple[str, ...] = (),
) -> TorchDetector:
    """The Q-network on a trained VAE, and the graph of both. Labels are bought from `pool`, which keeps the account."""
    prepared, vae = trained.prepared, trained.vae
    held_out = bank_of_runs(prepared.rows, _spread(prepared.held_out_ends, STANDARD_WINDOWS), config.window)
    errors = look(vae, held_out).error
    normal = normal_windows(prepared)
    agent = Agent(vae, config, normal, pool, errors, seed, trained.trainer.warm_start)
    with epochs_progress(
        f"rl-vae {prepared.series.entity}: learning from labels",
        show=trained.trainer.progress,
        epochs=1,
        steps_per_epoch=config.episodes,
        budget_s=budget_s,
    ) as report:
        q_network = agent.train(budget_s=budget_s, report=lambda episode: report(episode, agent.history.loss[-1]))
    trust = channel_trust(vae, pool, held_out) if config.trust == "labels" else None
    evidence = cross_check(vae, pool, normal, held_out, config.advantage_clip, trust)
    weight = evidence.weight if config.beta is None else 1 / config.beta
    standards = standards_of(vae, q_network, held_out, weight, trust)
    return TorchDetector(
        "rl-vae",
        RlVaeGraph(vae, q_network, config, prepared.mean, prepared.scale, standards),
        prepared,
        OUTPUTS,
        parameters=_parameters(trained, config, pool, agent.history, standards, evidence),
        warnings=(*prepared.constant_warnings(), *warnings),
        history=trained.history,
        networks={"vae": vae, "q_network": q_network},
    )


def normal_windows(prepared: PreparedSeries) -> WindowBank:
    """Windows of the train part in stretches, so that most are followed by another."""
    ends = prepared.train_ends
    if len(ends) > NORMAL_WINDOWS:
        pieces = 60
        starts = np.linspace(0, len(ends) - NORMAL_WINDOWS // pieces, pieces).astype(int)
        ends = np.unique(ends[(starts[:, None] + np.arange(NORMAL_WINDOWS // pieces)).ravel()])
    return bank_of_runs(prepared.rows, ends, prepared.window)


def standards_of(
    vae: Vae, q_network: QNetwork, normal: WindowBank, weight: float, trust: np.ndarray | None
) -> Standards:
    """What is usual, by windows that no network was trained on."""
    advantage = advantages(vae, q_network, normal)
    residuals = []
    with torch.no_grad():
        for part in np.array_split(np.arange(len(normal)), max(1, len(normal) // 512)):
            rows = normal.take(part)
            residuals.append((rows - vae(rows).reconstruction)[:, -1].numpy())
    wide = advantage.astype(np.float64)
    return Standards(
        error=float(np.median(look(vae, normal, trust).error)),
        advantage_mean=float(wide.mean()),
        advantage_spread=float(max(wide.std(), 1e-3 * abs(wide.mean()), 1e-6)),
        weight=weight,
        channel=np.concatenate(residuals).std(axis=0),
        trust=np.zeros(0, np.float32) if trust is None else trust,
    )


def _spread(ends: np.ndarray, at_most: int) -> np.ndarray:
    return ends[np.unique(np.linspace(0, len(ends) - 1, min(len(ends), at_most)).astype(np.int64))]


def _parameters(
    trained: TrainedVae,
    config: RlVaeConfig,
    pool: LabelPool,
    history: AgentHistory,
    standards: Standards,
    evidence: Evidence,
) -> dict[str, Any]:
    return {
        **asdict(config),
        **training_parameters(trained.trainer, trained.history),
        "labels": pool.origin,
        "labels_bought": pool.spent,
        "labels_known": int(np.count_nonzero(pool.known >= 0)),
        "anomalies_known": int(np.count_nonzero(pool.known == 1)),
        "pool_windows": len(pool),
        "lambda_by_episode": [round(value, 4) for value in history.weight],
        "epsilon_by_episode": [round(value, 4) for value in history.epsilon],
        "q_loss_by_episode": [round(value, 6) for value in history.loss],
        "usual_error": standards.error,
        "channel_trust": [round(float(value), 4) for value in standards.trust],
        "label_weight": standards.weight,
        "cross_check": {f"{weight:.3f}": round(gain, 4) for weight, gain in evidence.gains.items()},
        "advantage_mean": standards.advantage_mean,
        "advantage_spread": standards.advantage_spread,
        "cut_by_budget": trained.history.cut or history.cut,
    }
