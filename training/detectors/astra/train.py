"""Trains ASTRA on one entity: network, back ends, held-out scores, export."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# Before torch: on a processor that others use too, OpenMP threads that wait by spinning take four times as long
# as one thread alone; waiting passively costs nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor

from wheeltapper.models.astra.backend import Domain, fit_domains, fused_score
from wheeltapper.models.astra.config import AstraConfig
from wheeltapper.models.astra.graph import AstraGraph, PatchStatistics
from wheeltapper.models.astra.network import AstraNetwork, Attributes
from wheeltapper.models.astra.objective import AstraObjective
from wheeltapper.models.astra.picture import Picture
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.schemas.bundle.manifest import AttributeSpec
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.astra.spec import SPEC
from wheeltapper.training.fitting.batch_source import ItemSource
from wheeltapper.training.fitting.calibration import CalibrationScores
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.sound_windows import clip_starts, window_and_hop
from wheeltapper.training.fitting.torch_detector import training_parameters
from wheeltapper.training.fitting.torch_sound import (
    SoundWindows,
    TorchSound,
    attribute_specs,
    band_edges,
    block_scores,
    front_end_of,
    probe_sounds,
    windows_in_blocks,
)
from wheeltapper.training.fitting.trainer import TrainingHistory, fingerprint, train_network
from wheeltapper.training.fitting.trainer_options import TrainerOptions

LEAST_WINDOWS = 4
# Share of a budget that networks may take; spectrograms and back ends take the rest.
TRAINING_SHARE_OF_BUDGET = 0.8
# The picture's white: so far above what all but a thousandth of the train part's levels reach, for faults that are louder.
HEADROOM_DB, LOUDEST = 10.0, 0.999
_EMBEDDED_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network and what it makes of the windows of the series itself.

    Attributes:
        embedding: [n, E] of unit length, float64. patches: [n, C * P, D].
    """

    network: AstraNetwork
    history: TrainingHistory
    embedding: np.ndarray
    patches: np.ndarray


def train_astra(series: SoundSeries, options: TrainOptions) -> tuple[TorchSound, CalibrationScores]:
    """ASTRA as the command line asks for it.

    Raises:
        InputError: too few clips, weights that do not fit, a loss that is not finite, or no such setting.
    """
    config, trainer = SPEC.settings_for(options), SPEC.trainer_for(options)
    if trainer.budget_s is not None:
        trainings = 1 + (config.folds if config.cross_fit == "network" else 0)
        trainer = replace(trainer, budget_s=TRAINING_SHARE_OF_BUDGET * trainer.budget_s / trainings)
    window, hop = window_and_hop(series, options)
    others = _other_clips(series, config, options)
    return fit_astra(series, config, trainer, window, hop, others)


def fit_astra(
    series: SoundSeries,
    config: AstraConfig,
    trainer: TrainerOptions,
    window: int,
    hop: int,
    others: Sequence[Clip] = (),
) -> tuple[TorchSound, CalibrationScores]:
    """Train on all train clips; score them in blocks of time by what was fitted on the others.

    Args:
        window, hop: samples.
        others: normal clips of other machines, at the same rate: training tells this machine's from them, and nothing else.

    Raises:
        InputError: as `train_astra`.
    """
    frontend = front_end_of(series.sample_rate, config.mels, config.low_hz)
    mel = BandLevels(frontend, window)
    with working(f"astra {series.entity}: spectrograms", show=trainer.progress):
        windows, fold = windows_in_blocks(series, mel, window, hop, config.folds)
    if len(windows) < LEAST_WINDOWS or not fold.max():
        raise InputError(
            f"{series.dataset} {series.entity}: {len(windows)} windows of {window / series.sample_rate:g} s in the train clips, "
            f"astra needs at least {LEAST_WINDOWS} and two clips; give more normal sound or a shorter --window-s"
        )
    extra = (
        SoundWindows.of(others, clip_starts(others, series.sample_rate, hop), mel, series.sample_rate, hop)
        if others
        else None
    )
    job = AstraJob(series, config, trainer, mel, attribute_specs(series.train) if config.attributes != "none" else ())
    fit = job.fit(windows, np.arange(len(windows)), extra, f"astra {series.entity}")
    with working(f"astra {series.entity}: back ends", show=trainer.progress):
        domains = fit_domains(fit.embedding, windows.domains, config, trainer.seed)
        statistics = PatchStatistics.of(fit.patches, len(series.channels), fit.network.grid)
        graph = AstraGraph(fit.network, mel, domains, statistics)
    scores = job.held_out(windows, fold, fit, extra)
    fitted = TorchSound(
        "astra",
        graph,
        series.sample_rate,
        window,
        len(series.channels),
        band_edges(frontend, graph.cells[0], len(series.channels)),
        graph.cells[1],
        parameters={
            **asdict(config),
            "weights": Path(config.weights).name,
            "weights_sha256": job.weights_sha256,
            "loss": job.loss,
            "parameters": sum(parameter.numel() for parameter in fit.network.parameters()),
            "windows": len(windows),
            "windows_of_other_machines": 0 if extra is None else len(extra),
            "domains": {domain.name: len(domain.centroids) for domain in domains},
            "dimensions": int(domains[0].axes.shape[0]),
            **training_parameters(trainer, fit.history),
        },
        probes=probe_sounds(series, window, job.specs),
        attributes=job.specs,
        warnings=_warnings(config, domains),
    )
    return fitted, block_scores(windows, scores, fold, hop, series.sample_rate, by=f"a {config.cross_fit} fitted")


class AstraJob:
    """What the fits of one training have in common.

    Attributes:
        loss: what 'auto' came to, after a fit. weights_sha256: of the file that the trunk started from; '' where there is none.
    """

    def __init__(
        self,
        series: SoundSeries,
        config: AstraConfig,
        trainer: TrainerOptions,
        mel: BandLevels,
        specs: tuple[AttributeSpec, ...],
    ) -> None:
        self.series, self.config, self.trainer, self.mel, self.specs = series, config, trainer, mel, specs
        self.weights_sha256 = ""
        self.loss = config.loss

    def fit(self, windows: SoundWindows, chosen: np.ndarray, extra: SoundWindows | None, title: str) -> Fit:
        """Train on the chosen windows and on those of other machines; embed all of the series' own."""
        config, trainer = self.config, self.trainer
        everything = windows if extra is None else windows.joined(extra)
        items = np.concatenate([chosen, np.arange(len(windows), len(everything))])
        attributes = everything.attributes(self.specs)
        labels = labels_of(everything, self.specs)
        classes = len(np.unique(labels[items]))
        self.loss = config.loss if config.loss != "auto" else ("supcon" if classes > 1 else "nt-xent")
        if self.loss == "supcon" and classes < 2:
            raise InputError(
                f"astra: loss is supcon, and {self.series.dataset} {self.series.entity} has one machine at one operating point: "
                "nothing to tell apart; set loss=nt-xent or name other machines with `others`"
            )
        torch.manual_seed(trainer.seed)
        picture = Picture(config, self.mel.frames, self.mel.bands, reference_level(windows.levels[chosen]))
        network = AstraNetwork(
            config,
            picture,
            Attributes(self.specs, attributes[chosen]),
            len(self.series.channels),
            int(labels.max()) + 1,
        )
        if config.weights:
            self.weights_sha256 = network.trunk.load_file(Path(config.weights))
        source = ItemSource(items)
        history = train_network(
            network,
            AstraObjective(replace(config, loss=self.loss), everything.levels, attributes, torch.from_numpy(labels)),
            source,
            source,
            trainer,
            run=fingerprint(
                trainer, config=asdict(config), weights=self.weights_sha256, data=_digest(everything, items)
            ),
            title=title,
        )
        embedding, patches = embedded(network, windows, attributes[: len(windows)])
        return Fit(network, history, embedding, patches)

    def held_out(self, windows: SoundWindows, fold: np.ndarray, fit: Fit, extra: SoundWindows | None) -> np.ndarray:
        """[n] float64: scores of each block of time by what was fitted on the others."""
        scores = np.zeros(len(windows))
        domains = np.array(windows.domains)
        for block in range(int(fold.max()) + 1):
            held, others = np.flatnonzero(fold == block), np.flatnonzero(fold != block)
            embedding = fit.embedding
            if self.config.cross_fit == "network":
                title = f"astra {self.series.entity}, without block {block + 1}"
                embedding = self.fit(windows, others, extra, title).embedding
            back_ends = fit_domains(embedding[others], domains[others].tolist(), self.config, self.trainer.seed)
            scores[held] = fused_score(back_ends, embedding[held])
        return scores


def labels_of(windows: SoundWindows, specs: Sequence[AttributeSpec]) -> np.ndarray:
    """[n] int64 from 0 on: windows of one machine at one operating point (categories and, where there are few, numbers) share one."""
    known: dict[tuple[str, ...], int] = {}
    few = {
        spec.name
        for spec in specs
        if spec.categories or len({clip.attributes.get(spec.name) for clip in windows.clips}) <= len(windows.clips) // 4
    }
    by_clip = [
        known.setdefault((clip.machine, *(str(clip.attributes.get(name)) for name in sorted(few))), len(known))
        for clip in windows.clips
    ]
    return np.array(by_clip, dtype=np.int64)[windows.owner]


def reference_level(levels: Tensor) -> float:
    """dB that are white: some headroom above the loudest of the train part."""
    flat = levels.flatten()
    step = max(1, len(flat) // 4_000_000)  # torch.quantile takes 16 million values at most
    return float(torch.quantile(flat[::step], LOUDEST)) + HEADROOM_DB


def embedded(network: AstraNetwork, windows: SoundWindows, attributes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [n, E] of unit length, float64, and patches [n, C * P, D] of all windows."""
    embeddings, patches = [], []
    with torch.no_grad():
        for start in range(0, len(windows), _EMBEDDED_AT_ONCE):
            part = slice(start, start + _EMBEDDED_AT_ONCE)
            found = network.patches(network.picture(windows.levels[part].flatten(0, 1)))
            embedding = network.embed(found, attributes[part])[0].numpy().astype(np.float64)
            embeddings.append(embedding / np.sqrt(np.square(embedding).sum(axis=1, keepdims=True) + 1e-12))
            patches.append(found.numpy())
    return np.concatenate(embeddings), np.concatenate(patches)


def _other_clips(series: SoundSeries, config: AstraConfig, options: TrainOptions) -> list[Clip]:
    """
    Raises:
        InputError: an entity that cannot be read, or is of another rate or other channels.
    """
    names = config.others.split()
    related = options.extra_data.related_sounds
    if not names:
        return []
    if related is None:
        raise InputError("astra: others: other entities can be read only where the data set is named; use --dataset")
    clips: list[Clip] = []
    for name in names:
        other = related(name)
        if other.sample_rate != series.sample_rate or len(other.channels) != len(series.channels):
            raise InputError(
                f"astra: others={name}: {len(other.channels)} channel(s) at {other.sample_rate} Hz, expected "
                f"{len(series.channels)} at {series.sample_rate} Hz as {series.entity}"
            )
        clips += other.train
    return clips


def _digest(windows: SoundWindows, items: np.ndarray) -> str:
    import hashlib

    digest = hashlib.sha256(windows.levels[torch.from_numpy(items)].numpy().tobytes())
    return digest.hexdigest()


def _warnings(config: AstraConfig, domains: Sequence[Domain]) -> tuple[str, ...]:
    found = ["a sound shorter than a patch is averaged away: clicks and dropouts hardly move the embedding"]
    if config.cross_fit == "back-end":
        found.append(
            "the alarm level's held-out windows were known to the network, though not to the back end: expect more false alarms "
            "than were asked for"
        )
    if config.attention == "published" and config.attributes == "attention":
        found.append("attention=published takes attributes out again: they change nothing")
    if len(domains) > 1:
        found.append(f"{domains[1].name}: {len(domains[1].centroids)} centroid(s), a covariance drawn to the source's")
    return tuple(found)
