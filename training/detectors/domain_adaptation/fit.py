"""Trains one network for a target: on labelled windows of sources and unlabelled ones of the target.

Labels of the target are seen only where they are handed over as `target_labels`; nothing else that is chosen here, the
checkpoint included, can depend on them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace

# Before torch: on a processor that others use too, threads that wait by spinning take four times as long as one thread alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor, nn

from wheeltapper.models.domain_adaptation.config import ALIGNING, DomainAdaptationConfig, Method
from wheeltapper.models.domain_adaptation.losses import alignment_loss, mmd_loss, positive_weight, schedule
from wheeltapper.models.domain_adaptation.network import SOURCE, TARGET, DomainNetwork
from wheeltapper.models.standardised import INPUT_CLIP
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.domain_adaptation.adapted import AdaptedModel
from wheeltapper.training.detectors.domain_adaptation.domains import (
    ANOMALOUS,
    NORMAL,
    UNLABELLED,
    Scaler,
    WindowDomain,
    split_in_time,
)
from wheeltapper.training.detectors.domain_adaptation.inputs import check_inputs, fit_scalers, scaled_rows
from wheeltapper.training.fitting.progress import epochs_progress
from wheeltapper.training.fitting.warm_start import WarmStart
from wheeltapper.training.judging.metrics.ranking import auc_pr

CHECKPOINTS = 10
VALIDATION_SHARE = 0.2
_EVALUATION_BATCH = 512
_FINAL_LEARNING_RATE = 1e-6
# Blame is in units of a channel's usual error, but of no less than that share of all channels'.
_ERROR_FLOOR = 0.05
# What a channel counts for that never moved: that it moves at all is strange, however few raw units it moves by.
_CONSTANT_WEIGHT = 20.0
# How often, as a share of the training, the windows presumed normal are chosen anew.
_PRESUME_EVERY = 0.05
# A batch's labelled windows of the target, as a share of the batch.
_LABELLED_SHARE = 0.25


def train_adapted(
    sources: Sequence[WindowDomain],
    target_unlabelled: WindowDomain,
    method: Method,
    options: DomainAdaptationConfig | None = None,
    target_labels: np.ndarray | None = None,
    *,
    scalers: tuple[Sequence[Scaler], Scaler] | None = None,
    seed: int = 0,
    budget_s: float | None = None,
    progress: bool = False,
    warm_start: WarmStart | None = None,
) -> AdaptedModel:
    """Train by one method.

    Args:
        sources: labelled windows, one domain a machine; several are scaled one by one and learnt from together.
        target_unlabelled: every label -1, so that nobody hands over by accident what adaptation must not know.
        method: see `wheeltapper.models.domain_adaptation.config.Method`.
        options: `method` in it gives way to the argument.
        target_labels: [n] of the target's windows, -1 where nobody knows. 'target-supervised' needs them; the aligning
            methods learn from those that are known (semi-supervised); 'source-only' and 'adanorm' look at none.
        scalers: of the sources and of the target; None fits them to the windows that are handed over.
        seed: of weights, batches, dropout and augmentation.
        budget_s: training ends once it has taken that long.
        progress: show a bar.
        warm_start: weights to go on from, part 'network'.

    Raises:
        InputError: no windows, labels where there must be none or none where there must be some, or a loss that is
            not finite.
    """
    config = replace(options or DomainAdaptationConfig(), method=method)
    check_inputs(sources, target_unlabelled, config, target_labels)
    training = _Training(sources, target_unlabelled, config, target_labels, scalers, seed, budget_s, progress)
    if warm_start is not None:
        warm_start.load("network", training.network)
    return training.run()


class _Training:
    def __init__(
        self,
        sources: Sequence[WindowDomain],
        target: WindowDomain,
        config: DomainAdaptationConfig,
        target_labels: np.ndarray | None,
        scalers: tuple[Sequence[Scaler], Scaler] | None,
        seed: int,
        budget_s: float | None,
        progress: bool,
    ) -> None:
        self.config, self.budget_s, self.progress = config, budget_s, progress
        self.random = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.title = f"{config.method} {target.name}"
        self.aligns = config.method in ALIGNING
        self.supervised = config.method == "target-supervised"
        self.validation: tuple[Tensor, np.ndarray, Tensor] | None = None
        given = None if scalers is None else (tuple(scalers[0]), scalers[1])
        self.source_scalers, self.target_scaler = given or fit_scalers(sources, target, config)
        if config.selection == "unlabelled" and not self.supervised:
            sources, target, target_labels = self._hold_out(sources, target, target_labels)
        self.target_rows = torch.as_tensor(self.target_scaler.apply(target.windows, INPUT_CLIP))
        known = np.full(len(target), UNLABELLED) if target_labels is None else np.asarray(target_labels)
        if self.supervised:
            self.rows, self.labels = self.target_rows[known != UNLABELLED], known[known != UNLABELLED]
        else:
            self.rows = scaled_rows(sources, self.source_scalers)
            self.labels = np.concatenate([source.labels for source in sources])
            self.rows, self.labels = self.rows[self.labels != UNLABELLED], self.labels[self.labels != UNLABELLED]
        self.labelled_domain = TARGET if self.supervised else SOURCE
        self.targets = torch.as_tensor(self.labels, dtype=torch.float32)
        self.normal_source = torch.as_tensor(np.flatnonzero(self.labels == NORMAL))
        self.positive_weight = positive_weight(self.targets)
        use_labels = self.aligns and (known != UNLABELLED).any()
        self.known_target = torch.as_tensor(np.flatnonzero(known != UNLABELLED) if use_labels else np.zeros(0, int))
        self.known_labels = torch.as_tensor(known, dtype=torch.float32)
        # Until the first choice every window of the target is presumed normal.
        self.presumed_normal = torch.ones(len(self.target_rows), dtype=torch.bool)
        self.adapting_since: int | None = None
        self.network = DomainNetwork(self.rows.shape[2], config)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.checkpoints: list[tuple[int, float]] = []

    def run(self) -> AdaptedModel:
        config, started = self.config, time.monotonic()
        best: tuple[float, int, dict[str, Tensor]] | None = None
        step, cut, total = 0, False, 0.0
        self.network.train()
        with epochs_progress(
            self.title, show=self.progress, epochs=1, steps_per_epoch=config.iterations, budget_s=self.budget_s
        ) as report:
            while step < config.iterations and not cut:
                total += self._step(step)
                step += 1
                report(step, total / step)
                cut = self.budget_s is not None and time.monotonic() - started >= self.budget_s
                cut = cut and step < config.iterations
                if self.validation is not None and (step % max(config.iterations // CHECKPOINTS, 1) == 0 or cut):
                    value = self._criterion()
                    self.checkpoints.append((step, value))
                    if best is None or value > best[0]:
                        best = (value, step, {k: v.detach().clone() for k, v in self.network.state_dict().items()})
        selected = step
        if best is not None:
            selected = best[1]
            self.network.load_state_dict(best[2])
        return self._finished(step, selected, cut)

    def _step(self, step: int) -> float:
        config = self.config
        progress = step / config.iterations
        for group in self.optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            group["lr"] = _FINAL_LEARNING_RATE + (config.learning_rate - _FINAL_LEARNING_RATE) * cosine
        adapting = self.aligns and progress >= config.warm_up
        if adapting:
            self.adapting_since = step if self.adapting_since is None else self.adapting_since
            if (step - self.adapting_since) % max(int(_PRESUME_EVERY * config.iterations), 1) == 0:
                self._presume()
        loss = self._labelled_loss()
        if self.aligns:
            loss = loss + self._target_loss(progress, adapting)
        if not torch.isfinite(loss):
            raise InputError(
                f"{self.title}: the loss became {float(loss.detach())} in step {step + 1}, expected a finite number; lower the "
                f"learning rate (now {config.learning_rate:g}) or look for extreme values"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        self.optimizer.step()
        return float(loss.detach())

    def _labelled_loss(self) -> Tensor:
        index = self._draw(torch.arange(len(self.rows)), self.config.batch_size)
        rows, labels = self._augmented(self.rows[index]), self.targets[index]
        with self.network.of_domain(self.labelled_domain, labels == NORMAL):
            features, logit, reconstruction = self.network(rows)
        self.source_features = features[labels == NORMAL] if self.config.presumed_normal < 1 else features
        # Only what is normal is to be reconstructed well: the error is part of the score.
        error = ((reconstruction - rows) ** 2).mean(dim=(1, 2))
        normal = (labels == NORMAL).float()
        return _cross_entropy(logit, labels, self.positive_weight) + self.config.reconstruction * (
            (error * normal).sum() / normal.sum().clamp(min=1)
        )

    def _target_loss(self, progress: float, adapting: bool) -> Tensor:
        config = self.config
        # Drawn from all windows, as the normalisation's statistics are in the end; who is presumed what is a mask.
        index = self._draw(torch.arange(len(self.target_rows)), config.batch_size)
        known = self._draw(self.known_target, max(1, int(_LABELLED_SHARE * config.batch_size)))
        n = len(index)
        rows = self._augmented(self.target_rows[torch.cat([index, known])])
        normal = self.presumed_normal[index]
        reference = torch.cat([normal, torch.zeros(len(known), dtype=torch.bool)])
        with self.network.of_domain(TARGET, reference):
            features, logit, reconstruction = self.network(rows)
        error = ((reconstruction[:n] - rows[:n]) ** 2).mean(dim=(1, 2))
        loss = config.reconstruction * error[normal].sum() / normal.sum().clamp(min=1)
        if len(known):
            loss = loss + _cross_entropy(logit[n:], self.known_labels[known], self.positive_weight)
        if not adapting:
            return loss
        strength = schedule((progress - config.warm_up) / (1 - config.warm_up))
        return loss + self._alignment(features[:n][normal], config.domain_weight * strength)

    def _alignment(self, target: Tensor, strength: float) -> Tensor:
        """The domain loss of the batch's normal source features and `target` [m, D]."""
        return alignment_loss(self.config.method, self.source_features, target, strength, self.network.discriminator)

    def _presume(self) -> None:
        """Choose, by the score, the target's windows that are taken for normal."""
        if self.config.presumed_normal >= 1:
            return
        order = torch.argsort(self._presuming_scores(), stable=True)
        self.presumed_normal[:] = False
        self.presumed_normal[order[: max(2, int(len(order) * self.config.presumed_normal))]] = True
        # What somebody has labelled needs no presumption.
        self.presumed_normal[self.known_target] = self.known_labels[self.known_target] == NORMAL

    def _presuming_scores(self) -> Tensor:
        """[n] of the target's windows, as the graph scores them; the error's scale is that of the windows presumed normal."""
        self.network.eval()
        logits, squared = _outputs(self.network, self.target_rows, self.config)
        self.network.train()
        normal = self.presumed_normal
        error = (squared * channel_weights(self.target_rows)).mean(dim=1)
        median, spread = error_scale(error[normal])
        beyond = torch.relu(error - median) / spread
        return self.config.alpha * torch.sigmoid(logits) + (1 - self.config.alpha) * beyond

    def _draw(self, pool: Tensor, size: int) -> Tensor:
        """`size` of the pool, without repeats where it is large enough; none of an empty one."""
        if not len(pool):
            return pool
        if len(pool) < size:
            return pool[torch.randint(len(pool), (size,), generator=self.random)]
        return pool[torch.randperm(len(pool), generator=self.random)[:size]]

    def _augmented(self, rows: Tensor) -> Tensor:
        noise = torch.randn(rows.shape, generator=self.random) * self.config.jitter
        factor = 1 + self.config.scaling * torch.randn((len(rows), 1, rows.shape[2]), generator=self.random)
        return (rows + noise) * factor

    def _hold_out(
        self, sources: Sequence[WindowDomain], target: WindowDomain, target_labels: np.ndarray | None
    ) -> tuple[list[WindowDomain], WindowDomain, np.ndarray | None]:
        """Keep the last windows of source and target for the selection; the source's labels of them are used."""
        parts = [split_in_time(source, VALIDATION_SHARE) for source in sources]
        labelled = target if target_labels is None else replace(target, labels=np.asarray(target_labels, dtype=np.int8))
        kept, held_out = split_in_time(labelled, VALIDATION_SHARE)
        first = [part[0] for part in parts]
        held = [part[1] for part in parts]
        labels = np.concatenate([part.labels for part in held])
        if min((labels == NORMAL).sum(), (labels == ANOMALOUS).sum(), len(held_out)) < 2:
            raise InputError(
                f"{self.title}: the last {VALIDATION_SHARE:.0%} of the sources hold {(labels == NORMAL).sum()} normal and "
                f"{(labels == ANOMALOUS).sum()} anomalous windows, expected 2 of each to select by; set selection=last"
            )
        self.validation = (
            scaled_rows(held, self.source_scalers),
            labels,
            torch.as_tensor(self.target_scaler.apply(held_out.windows, INPUT_CLIP)),
        )
        return first, kept.unlabelled(), None if target_labels is None else kept.labels

    def _criterion(self) -> float:
        """AUC-PR on held-out source windows less the MMD of normal source and presumed normal target windows."""
        assert self.validation is not None
        rows, labels, target = self.validation
        self.network.eval()
        with torch.no_grad():
            with self.network.of_domain(SOURCE):
                source, logit, _ = self.network(rows)
            with self.network.of_domain(TARGET):
                reached, target_logit, _ = self.network(target)
            lowest = torch.argsort(target_logit, stable=True)[: max(2, int(self.config.presumed_normal * len(target)))]
            gap = float(mmd_loss(source[torch.as_tensor(labels == NORMAL)], reached[lowest]))
        self.network.train()
        known = labels != UNLABELLED
        return (auc_pr(labels[known], logit.numpy()[known]) or 0.0) - max(gap, 0.0)

    def _finished(self, step: int, selected: int, cut: bool) -> AdaptedModel:
        network, config = self.network.eval(), self.config
        normal = self.rows[self.normal_source]
        if config.method == "source-only":
            network.estimate_statistics(normal, SOURCE)
            network.share_statistics()
            reference = normal
        elif self.supervised:
            network.estimate_statistics(normal, TARGET)
            reference = normal
        else:
            network.estimate_statistics(normal, SOURCE)
            if not self.aligns:
                network.estimate_statistics(self.target_rows, TARGET)
            self._presume()
            reference = self.target_rows[self.presumed_normal]
            network.estimate_statistics(reference, TARGET)
            network.eval()
        _, squared = _outputs(network, reference, config)
        weights = channel_weights(reference)
        median, spread = error_scale((squared * weights).mean(dim=1))
        return AdaptedModel(
            config=config,
            network=network,
            source_scalers=self.source_scalers,
            target_scaler=self.target_scaler,
            error_median=median,
            error_spread=spread,
            channel_weight=weights.numpy(),
            channel_error=usual_errors(squared).numpy(),
            iterations=step,
            selected_at=selected,
            cut=cut,
            checkpoints=tuple(self.checkpoints),
        )


def _cross_entropy(logit: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logit, labels, pos_weight=weight)


def _outputs(network: DomainNetwork, rows: Tensor, config: DomainAdaptationConfig) -> tuple[Tensor, Tensor]:
    """Of [n, W, F] scaled rows of the target: logits [n], and squared errors of the last k rows by channel [n, F]."""
    last = min(config.label_rows, config.window)
    logits, squared = [], []
    with torch.no_grad(), network.of_domain(TARGET):
        for part in rows.split(_EVALUATION_BATCH):
            _, logit, reconstruction = network(part)
            logits.append(logit)
            squared.append(((reconstruction - part)[:, -last:] ** 2).mean(dim=1))
    return torch.cat(logits), torch.cat(squared)


def usual_errors(squared: Tensor) -> Tensor:
    """[n, F] squared errors of normal windows -> [F], what is usual of each channel, above 0."""
    usual = squared.mean(dim=0)
    return torch.maximum(usual, (_ERROR_FLOOR * usual.mean()).clamp(min=1e-6))


def channel_weights(rows: Tensor) -> Tensor:
    """[n, W, F] scaled rows -> [F], what the squared error of each channel counts for."""
    moving = (rows.amax(dim=(0, 1)) - rows.amin(dim=(0, 1))) > 1e-3
    return torch.where(moving, 1.0, _CONSTANT_WEIGHT)


def error_scale(errors: Tensor) -> tuple[float, float]:
    """Of [n] errors of normal windows: median, and 99th percentile less median, above 0."""
    median = float(errors.median())
    return median, max(float(errors.quantile(0.99)) - median, 0.1 * median, 1e-6)
