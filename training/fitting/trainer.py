"""Trains a torch network on sliding windows: progress, checkpoints, resume, early stopping.

Small on purpose: one process, one device, one optimiser. A run that was interrupted and resumed gives the same
weights, bit for bit, as one that was not: a checkpoint holds the optimiser and every random state, and names the step
inside the epoch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wheeltapper.schemas.errors import InputError
from wheeltapper.training.fitting.alignment import aligner_for
from wheeltapper.training.fitting.batch_source import BatchSource, WindowSource
from wheeltapper.training.fitting.device import resolve_device
from wheeltapper.training.fitting.progress import Report, epochs_progress
from wheeltapper.training.fitting.trainer_options import TrainerOptions
from wheeltapper.training.fitting.warm_start import WarmStart

CHECKPOINT_FORMAT = 1


class Objective(Protocol):
    """What is minimised and what is watched."""

    def __call__(self, network: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of the source, e.g. [B, T, C] windows, to (scalar to minimise, detached scalar to watch).

        The second one is averaged over windows for early stopping, so it must not depend on the batch size.
        """
        ...


@dataclass(slots=True)
class TrainingHistory:
    """What happened.

    Attributes:
        training, validation: mean watched value of each epoch.
        best_epoch: counted from 1; the network has the weights of that epoch; 0 where it was fine-tuned and kept those that it
            started from.
        stopped_early: True where patience ran out.
        resumed_at: (epoch, step), both from 0, of the checkpoint it went on from; None for a fresh run.
        seconds: of this process, without what a resumed run had done before.
        cut: True where `budget_s` ended it.
    """

    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    resumed_at: tuple[int, int] | None = None
    seconds: float = 0.0
    cut: bool = False


def fingerprint(options: TrainerOptions, **identity: Any) -> str:
    """12 hex digits that two runs share only if one can go on where the other stopped.

    The number of epochs is not part of it (a longer run starts like a shorter one), nor where and how often
    checkpoints are written.

    Args:
        identity: what else the run depends on, JSON types: the network's settings, the data's hash.
    """
    settings = asdict(replace(options, warm_start=None))
    for name in ("epochs", "checkpoint_folder", "checkpoint_every_s", "progress", "device", "budget_s", "warm_start"):
        settings.pop(name)
    text = json.dumps({"format": CHECKPOINT_FORMAT, "trainer": settings, **identity}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def train_network(
    network: nn.Module,
    objective: Objective,
    training: BatchSource,
    validation: BatchSource,
    options: TrainerOptions,
    *,
    run: str = "",
    title: str = "training",
    part: str = "network",
) -> TrainingHistory:
    """Train `network` in place and leave the weights of its best epoch in it, on the CPU and in evaluation mode.

    With `options.warm_start` it goes on from a bundle's weights, which stay where no epoch is better, and writes no checkpoints.

    Args:
        run: the run's `fingerprint`; a checkpoint of the same run is continued, others are left alone. The file is
            removed when the run is complete.
        title: what the progress bar calls it.
        part: what `options.warm_start` calls the network.

    Raises:
        InputError: the loss is not finite, or the weights to go on from are of another network.
    """
    if options.warm_start is not None:
        options.warm_start.load(part, network)
        options = replace(options, checkpoint_folder=None)
    state = _Run(network, objective, training, validation, options, run)
    state.resume()
    started = time.monotonic()
    try:
        with epochs_progress(
            title,
            show=options.progress,
            epochs=options.epochs,
            steps_per_epoch=state.steps_per_epoch,
            done=state.steps_done,
            notice=state.resume_notice(title),
            budget_s=options.budget_s,
        ) as report:
            while not state.finished:
                state.train_epoch(report)
    finally:
        state.history.seconds = time.monotonic() - started
    state.restore_best()
    return state.history


class _Run:
    """One training run: everything a checkpoint must hold."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        training: BatchSource,
        validation: BatchSource,
        options: TrainerOptions,
        run: str,
    ) -> None:
        self.device = resolve_device(options.device)
        self.network = network.to(self.device)
        self.objective, self.training, self.validation, self.options = objective, training, validation, options
        # Only windows of rows have an age: clips of sound are never fine-tuned.
        rows = training if isinstance(training, WindowSource) else None
        self.recent = None if rows is None else _recent(rows, options.warm_start)
        self.aligner = None if rows is None else aligner_for(network, rows, options.warm_start, self.device)
        aligned = () if self.aligner is None else self.aligner.parameters()
        self.optimizer = torch.optim.Adam([*network.parameters(), *aligned], lr=options.learning_rate)
        self.history = TrainingHistory()
        self.epoch = 0
        self.step = 0
        self.watched_sum, self.watched_windows = 0.0, 0
        self.best_value = math.inf
        self.best_weights = _copy(network)
        self.order = torch.Generator().manual_seed(options.seed)
        self.order_at_epoch_start = self.order.get_state()
        torch.manual_seed(options.seed)
        if options.warm_start is not None:
            self.best_value = self._validate()
        self.started = time.monotonic()
        folder = options.checkpoint_folder
        self.file = folder / f"checkpoint-{run or 'run'}.pt" if folder is not None else None

    @property
    def windows_per_epoch(self) -> int:
        windows = min(len(self.training), self.options.windows_per_epoch or len(self.training))
        return windows if self.recent is None else min(windows, 2 * int(self.recent.sum()))

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.windows_per_epoch / self.options.batch_size)

    @property
    def steps_done(self) -> int:
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def out_of_time(self) -> bool:
        budget = self.options.budget_s
        return budget is not None and time.monotonic() - self.started >= budget

    @property
    def finished(self) -> bool:
        if self.history.cut:
            return True
        if self.history.validation and self.epoch - self.history.best_epoch >= self.options.patience:
            self.history.stopped_early = self.epoch < self.options.epochs
            return True
        return self.epoch >= self.options.epochs

    def resume_notice(self, title: str) -> str:
        if self.history.resumed_at is None:
            return ""
        epoch, step = self.history.resumed_at
        return f"{title}: goes on from epoch {epoch + 1}, step {step + 1} of {self.file}"

    def train_epoch(self, report: Report) -> None:
        options = self.options
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * options.learning_rate_decay**self.epoch
        self.order.set_state(self.order_at_epoch_start)
        parts = self._choose_windows().split(options.batch_size)
        self.network.train()
        saved = time.monotonic()
        while self.step < len(parts):
            watched = self._train_step(self.training.take(parts[self.step]).to(self.device))
            self.watched_sum += watched * len(parts[self.step])
            self.watched_windows += len(parts[self.step])
            self.step += 1
            report(self.steps_done, self.watched_sum / self.watched_windows)
            if self.out_of_time:
                self.history.cut = self.steps_done < self.options.epochs * self.steps_per_epoch
                break
            if self.step < len(parts) and time.monotonic() - saved >= options.checkpoint_every_s:
                self.save()
                saved = time.monotonic()
        self._close_epoch()

    def _choose_windows(self) -> Tensor:
        count = self.windows_per_epoch
        chosen = torch.randperm(len(self.training), generator=self.order)
        if self.recent is not None:
            # Half of them recent: what has changed is to be learnt, and there is far more of the reference.
            recent, reference = chosen[self.recent[chosen]], chosen[~self.recent[chosen]]
            chosen = torch.cat([recent[: count // 2], reference, recent[count // 2 :]])[:count]
            chosen = chosen[torch.randperm(count, generator=self.order)]
        chosen = chosen[:count]
        return chosen if self.options.shuffle else chosen.sort().values

    def _train_step(self, rows: Tensor) -> float:
        loss, watched = self.objective(self.network, rows)
        if self.aligner is not None:
            loss = loss + self.aligner(loss, self.steps_done / (self.options.epochs * self.steps_per_epoch))
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss became {float(loss.detach())} in epoch {self.epoch + 1}, step {self.step + 1}; expected a finite "
                f"number: lower the learning rate (now {self.options.learning_rate:g}), clip gradients, or look for "
                "extreme values in the training rows"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.options.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.options.gradient_clip)
        self.optimizer.step()
        return float(watched)

    def _close_epoch(self) -> None:
        value = self._validate()
        self.epoch += 1
        self.history.training.append(self.watched_sum / self.watched_windows)
        self.history.validation.append(value)
        if value < self.best_value:
            self.best_value, self.history.best_epoch = value, self.epoch
            self.best_weights = _copy(self.network)
        self.step, self.watched_sum, self.watched_windows = 0, 0.0, 0
        self.order_at_epoch_start = self.order.get_state()
        self.save()

    def _validate(self) -> float:
        self.network.eval()
        total, windows = 0.0, 0
        with torch.no_grad():
            for rows in self.validation.batches(self.options.batch_size, at_most=self.options.validation_windows):
                total += float(self.objective(self.network, rows.to(self.device))[1]) * len(rows)
                windows += len(rows)
        value = total / windows
        if not math.isfinite(value):
            raise InputError(
                f"the validation loss became {value} after epoch {self.epoch + 1}; lower the learning rate"
            )
        return value

    def restore_best(self) -> None:
        self.network.load_state_dict(self.best_weights)
        self.network.to("cpu").eval()
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            with suppress(OSError):  # the folder is ours only if nothing else is in it
                self.file.parent.rmdir()

    def save(self) -> None:
        """Whole or not at all: a kill while writing leaves the checkpoint before it."""
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        torch.save(
            {
                "format": CHECKPOINT_FORMAT,
                "network": self.network.state_dict(),
                "best": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
                "epoch": self.epoch,
                "step": self.step,
                "watched": [self.watched_sum, self.watched_windows],
                "best_value": self.best_value,
                "best_epoch": self.history.best_epoch,
                "training": self.history.training,
                "validation": self.history.validation,
                "order": self.order_at_epoch_start,
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            },
            partial,
        )
        os.replace(partial, self.file)

    def resume(self) -> None:
        if self.file is None or not self.file.is_file():
            return
        try:
            # weights_only: a checkpoint is data; nothing in it may run.
            saved = torch.load(self.file, map_location=self.device, weights_only=True)
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
        except Exception as error:  # torch raises unrelated types for a damaged file
            raise InputError(
                f"{self.file}: not a checkpoint of this run ({type(error).__name__}); delete it to start again"
            ) from error
        self.best_weights = saved["best"]
        self.epoch, self.step = int(saved["epoch"]), int(saved["step"])
        self.watched_sum, self.watched_windows = float(saved["watched"][0]), int(saved["watched"][1])
        self.best_value = float(saved["best_value"])
        self.history.best_epoch = int(saved["best_epoch"])
        self.history.training, self.history.validation = list(saved["training"]), list(saved["validation"])
        self.history.resumed_at = (self.epoch, self.step)
        self.order_at_epoch_start = saved["order"].cpu()
        torch.set_rng_state(saved["random"].cpu())
        if self.device.type == "cuda" and saved["random_cuda"] is not None:
            torch.cuda.set_rng_state(saved["random_cuda"].cpu(), self.device)


def _recent(windows: WindowSource, warm_start: WarmStart | None) -> Tensor | None:
    """[m] bool: the windows that are recent; None where all or none are."""
    if warm_start is None:
        return None
    recent = windows.last_rows >= warm_start.source_rows
    return recent if bool(recent.any()) and not bool(recent.all()) else None


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
