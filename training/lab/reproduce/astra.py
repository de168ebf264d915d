"""ASTRA and the baselines of DCASE task 2 by the challenge's protocol.

Nothing was published as measured for ASTRA: its repository shows an example of output, no result. Beside ours stand the official
baselines on the evaluation sets, which are not here: the column says on which data a number was measured.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wheeltapper.models.astra.backend import Domain, fit_domains, fused_score
from wheeltapper.models.astra.config import AstraConfig
from wheeltapper.models.dcase_ae.graph import DcaseAeGraph
from wheeltapper.models.sound.frontend_torch import BandLevels
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.datasets.registry import DATA_VARIABLE, dataset_folder, list_entities, load_sound
from wheeltapper.training.datasets.sound.dcase import ALL, HALVES
from wheeltapper.training.datasets.sound.series import Clip, SoundSeries
from wheeltapper.training.detectors.astra.spec import SPEC as ASTRA
from wheeltapper.training.detectors.astra.train import AstraJob, embedded
from wheeltapper.training.detectors.dcase_ae.spec import SPEC as AUTOENCODER
from wheeltapper.training.detectors.dcase_ae.train import fit_dcase_ae
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.progress import working
from wheeltapper.training.fitting.sound_windows import clip_starts, window_and_hop
from wheeltapper.training.fitting.torch_sound import SoundWindows, attribute_specs, front_end_of
from wheeltapper.training.fitting.trainer_options import TrainerOptions
from wheeltapper.training.judging.metrics.sound import DomainMetrics, domain_metrics, harmonic_mean
from wheeltapper.training.lab.reproduce import Cell, ReproduceOptions, Reproduction, Table

SYSTEM = "astra"
DATASET = "dcase"
# (year, system, AUC source, AUC target, pAUC, official): the evaluators' README files, harmonic means over machines.
OFFICIAL: tuple[tuple[int, str, float, float, float, float], ...] = (
    (2023, "autoencoder, mse", 0.7423, 0.5254, 0.5517, 0.5925),
    (2023, "autoencoder, selective Mahalanobis", 0.7871, 0.5309, 0.5682, 0.6105),
    (2024, "autoencoder, mse", 0.7151, 0.5058, 0.5172, 0.5651),
    (2024, "autoencoder, selective Mahalanobis", 0.6718, 0.5144, 0.5324, 0.5649),
)
PUBLISHED_KNOWN, PUBLISHED, SMALL = "astra, published, domain known", "astra, published", "astra, small"
MSE, MAHALANOBIS, RANDOM = "dcase-ae, mse", "dcase-ae, selective Mahalanobis", "random scores"
RANDOM_SEEDS = 20
# What both detectors need to learn from; a partial folder has machines with less, which are left out.
LEAST_CLIPS = 4
COLUMNS = ("AUC source", "AUC target", "AUC", "pAUC", "official")

Scores = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Machine:
    """One machine, its windows' spectrograms and what its test clips are.

    Attributes:
        owner: [m] index of each test window's clip.
    """

    series: SoundSeries
    train: SoundWindows
    test: SoundWindows

    def by_clip(self, scores: np.ndarray) -> np.ndarray:
        """[m] scores of windows to the mean of each clip's."""
        return np.bincount(self.test.owner, weights=scores) / np.bincount(self.test.owner)


def reproduce(options: ReproduceOptions) -> Reproduction:
    """Every machine of the data folder that has normal clips to learn from and test clips of both kinds.

    Raises:
        InputError: no folder of DCASE, or no such machine in it.
    """
    series = _machines(options.data)
    results: dict[str, dict[str, list[DomainMetrics]]] = {}
    cut = False
    for seed in options.seeds:
        for preset in ("published", "small"):
            found, was_cut = _astra(series, preset, options, seed)
            cut |= was_cut
            _judge(results, series, found)
        for one in series:
            with working(f"dcase-ae {one.entity}, seed {seed}", show=options.progress):
                scores, was_cut = _autoencoder(one, options, seed)
            cut |= was_cut
            _judge(results, [one], {one.entity: scores})
    for one in series:
        labels = np.array([bool(clip.anomalous) for clip in one.test]).astype(int)
        for seed in range(RANDOM_SEEDS):
            chance = np.random.default_rng(seed).random(len(labels))
            _add(results, one.entity, RANDOM, domain_metrics(labels, chance, [clip.domain for clip in one.test]))
    return Reproduction(
        system=SYSTEM,
        title="ASTRA and the baselines of DCASE task 2",
        tables=tables(results, len(options.seeds)),
        explanation=_explanation(series, options, cut=cut),
    )


def tables(results: dict[str, dict[str, list[DomainMetrics]]], seeds: int) -> tuple[Table, ...]:
    """Means over machines beside the official baselines, then machine by machine.

    Args:
        results: machine -> system -> metrics of each seed.
    """
    systems = list(dict.fromkeys(system for found in results.values() for system in found))
    overall: list[list[Cell]] = [
        ["nobody published any", "astra", None, None, None, None, None],
        *(
            [f"evaluation set {year}, official", system, source, target, None, pauc, official]
            for year, system, source, target, pauc, official in OFFICIAL
        ),
        *(["this folder, ours", system, *_over_machines(results, system)] for system in systems),
    ]
    each: list[list[Cell]] = [
        [machine, system, *_means(found[system])] for machine, found in results.items() for system in found
    ]
    return (
        Table(
            f"harmonic means over {len(results)} machine(s), mean of {seeds} seed(s); official = that of all AUCs by domain and pAUCs",
            ("measured on", "system", *COLUMNS),
            overall,
        ),
        Table("machine by machine", ("machine", "system", *COLUMNS), each),
    )


def _means(found: Sequence[DomainMetrics]) -> list[Cell]:
    """Mean over seeds of each of `COLUMNS`; None where the data does not define it."""
    columns = [
        [getattr(one, name) for one in found] for name in ("auc_source", "auc_target", "auc", "pauc", "official")
    ]
    return [None if any(value is None for value in values) else float(np.mean(values)) for values in columns]


def _over_machines(results: dict[str, dict[str, list[DomainMetrics]]], system: str) -> list[Cell]:
    rows = [_means(found[system]) for found in results.values() if system in found]
    known = [[value for row in rows if isinstance(value := row[column], float)] for column in range(4)]
    by_domain = known[0] + known[1] or known[2]
    return [*(harmonic_mean(values) for values in known), harmonic_mean(by_domain + known[3])]


def _machines(data: Path | None) -> list[SoundSeries]:
    root = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    folder = None if root is None else dataset_folder(DATASET, root)
    if folder is None:
        raise InputError(
            f"{root}: no folder of DCASE task 2 in it; expected <machine>/train/ and <machine>/test/ below dcase/: correct --data"
        )
    found: list[SoundSeries] = []
    entities = list_entities(DATASET, folder)
    for entity in entities:
        machine, _, unit = entity.rpartition("/")
        # A partial folder has a clip or two of an id: an AUC of nothing but 0 and 1. Halves of its clips say more.
        if unit == ALL or (unit != HALVES and f"{machine}/{HALVES}" in entities):
            continue
        try:
            series = load_sound(DATASET, folder, entity)
        except InputError:
            continue  # nothing to learn from; the explanation counts what was run
        if len(series.train) >= LEAST_CLIPS and len({clip.anomalous for clip in series.test} & {True, False}) == 2:
            found.append(replace(series, test=[clip for clip in series.test if clip.anomalous is not None]))
    if not found:
        raise InputError(
            f"{folder}: no machine with {LEAST_CLIPS} normal train clips and test clips of both kinds; DCASE hides labels of its evaluation "
            "sets: give a development set"
        )
    return found


def _windows(series: SoundSeries, clips: Sequence[Clip], config: AstraConfig) -> SoundWindows:
    window, hop = window_and_hop(series, TrainOptions())
    mel = BandLevels(front_end_of(series.sample_rate, config.mels, config.low_hz), window)
    return SoundWindows.of(clips, clip_starts(clips, series.sample_rate, hop), mel, series.sample_rate, hop)


def _astra(
    series: Sequence[SoundSeries], preset: str, options: ReproduceOptions, seed: int
) -> tuple[dict[str, Scores], bool]:
    """One network for all machines of a rate and a length, and a back end for each; machine -> system -> scores of its test clips."""
    config = ASTRA.presets[preset].settings
    found: dict[str, Scores] = {}
    cut = False
    groups: dict[tuple[int, int, int], list[SoundSeries]] = {}
    for one in series:
        window, _ = window_and_hop(one, TrainOptions())
        groups.setdefault((one.sample_rate, window, len(one.channels)), []).append(one)
    for (rate, window, _), members in groups.items():
        with working(f"astra {preset}: spectrograms", show=options.progress):
            machines = [
                Machine(one, _windows(one, one.train, config), _windows(one, one.test, config)) for one in members
            ]
        scores, was_cut = _fit_group(machines, rate, window, preset, options, seed)
        found |= scores
        cut |= was_cut
    return found, cut


def _fit_group(
    machines: Sequence[Machine], rate: int, window: int, preset: str, options: ReproduceOptions, seed: int
) -> tuple[dict[str, Scores], bool]:
    config, trainer = ASTRA.presets[preset].settings, _trainer(ASTRA.presets[preset].trainer, options, seed)
    # Two ids of a partial folder may learn from the same clips: each counts once.
    clips: dict[str, tuple[Machine, int]] = {}
    for machine in machines:
        for index, clip in enumerate(machine.series.train):
            clips.setdefault(_key(clip), (machine, index))
    parts = [_of_clips(machine, [index for owner, index in clips.values() if owner is machine]) for machine in machines]
    windows = parts[0]
    for part in parts[1:]:
        windows = windows.joined(part)
    specs = attribute_specs(windows.clips) if config.attributes != "none" else ()
    mel = BandLevels(front_end_of(rate, config.mels, config.low_hz), window)
    job = AstraJob(machines[0].series, config, trainer, mel, specs)
    fit = job.fit(windows, np.arange(len(windows)), None, f"astra {preset}, {len(machines)} machine(s)")
    rows: dict[str, list[int]] = {}
    for row, owner in enumerate(windows.owner):
        rows.setdefault(_key(windows.clips[owner]), []).append(row)
    found: dict[str, Scores] = {}
    for machine in machines:
        with working(f"astra {preset}: {machine.series.entity}", show=options.progress):
            train = fit.embedding[np.concatenate([rows[_key(clip)] for clip in machine.series.train])]
            test, _ = embedded(fit.network, machine.test, machine.test.attributes(specs))
            domains = fit_domains(train, machine.train.domains, config, seed)
        scores = {PUBLISHED if preset == "published" else SMALL: machine.by_clip(fused_score(domains, test))}
        if preset == "published" and len(domains) > 1:
            scores[PUBLISHED_KNOWN] = machine.by_clip(_by_known_domain(domains, test, machine.test.domains))
        found[machine.series.entity] = scores
    return found, fit.history.cut


def _key(clip: Clip) -> str:
    return f"{clip.machine}/{clip.name}"


def _by_known_domain(domains: Sequence[Domain], embedding: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """[n] scores of the back end that the file's name tells, as published; DCASE hides it since 2022."""
    each = {domain.name: domain.score(embedding) for domain in domains}
    return np.array([each.get(name, each["source"])[index] for index, name in enumerate(names)])


def _of_clips(machine: Machine, chosen: Sequence[int]) -> SoundWindows:
    """The train windows of those clips."""
    kept = np.isin(machine.train.owner, chosen)
    return SoundWindows(
        machine.train.levels[torch.from_numpy(kept)],
        machine.train.owner[kept],
        machine.train.time[kept],
        machine.train.clips,
    )


def _autoencoder(series: SoundSeries, options: ReproduceOptions, seed: int) -> tuple[Scores, bool]:
    """Scores of the test clips by both of the baseline's scores; its network is the same for both."""
    preset = AUTOENCODER.presets["published" if len(series.train) >= 100 else "short"]
    config = replace(preset.settings, cross_fit="covariance", score="mahalanobis", folds=2)
    window, hop = window_and_hop(series, TrainOptions())
    fitted, _ = fit_dcase_ae(series, config, _trainer(preset.trainer, options, seed), window, hop)
    graph = fitted.graph
    assert isinstance(graph, DcaseAeGraph)
    test = _windows(series, series.test, replace(AstraConfig(), mels=config.mels, low_hz=config.low_hz))
    machine = Machine(series, test, test)
    found: Scores = {}
    for name, mahalanobis in ((MSE, False), (MAHALANOBIS, True)):
        graph.mahalanobis = mahalanobis
        with torch.no_grad():
            scores = [graph.score(graph.rows(part.flatten(0, 1)))[0].numpy() for part in test.levels.split(16)]
        found[name] = machine.by_clip(np.concatenate(scores))
    return found, bool(fitted.parameters["cut_by_budget"])


def _trainer(trainer: TrainerOptions | None, options: ReproduceOptions, seed: int) -> TrainerOptions:
    assert trainer is not None
    return replace(trainer, seed=seed, budget_s=options.budget_s, progress=options.progress)


def _judge(
    results: dict[str, dict[str, list[DomainMetrics]]], series: Sequence[SoundSeries], found: dict[str, Scores]
) -> None:
    for one in series:
        labels = np.array([bool(clip.anomalous) for clip in one.test]).astype(int)
        for name, scores in found[one.entity].items():
            _add(results, one.entity, name, domain_metrics(labels, scores, [clip.domain for clip in one.test]))


def _add(results: dict[str, dict[str, list[DomainMetrics]]], machine: str, system: str, found: DomainMetrics) -> None:
    results.setdefault(machine, {}).setdefault(system, []).append(found)


def _explanation(series: Sequence[SoundSeries], options: ReproduceOptions, *, cut: bool) -> tuple[str, ...]:
    train, test = sum(len(one.train) for one in series), sum(len(one.test) for one in series)
    domains = any(clip.domain for one in series for clip in one.test)
    found = [
        "Nothing was published as measured for ASTRA, so there is no number to reproduce. The official rows are of the challenge's "
        "evaluation sets, with about 1,000 train clips a machine: a yardstick, not a comparison on the same clips.",
        f"Run here: {len(series)} machine(s), {train} train clips (of a partial folder the first half of each normal clip, to judge "
        f"the second halves: easier than the challenge) and {test} test clips. Machines with fewer than {LEAST_CLIPS} train clips, or test clips of one "
        "kind, are left out.",
        "astra, published: one network for all machines, 64 of 169 patches a view, colours, NT-Xent without labels, attributes beside "
        "the embedding, in-sample z-scores; random weights, as no file of ImageNet's is given; domain known = each test clip scored "
        "by the back end that its name tells. astra, small: this project's default, fixed where the published one has faults.",
        "Not repeated: the evaluation's other normalisation of pictures, and its search for 'train' in the whole path, which are "
        "mistakes and no method. Test labels choose nothing.",
    ]
    if not domains:
        found.append(
            "The clips name no domain: AUC source and target are not defined, official is that of AUC and pAUC."
        )
    if cut:
        found.append(
            f"Trainings were cut by the budget of {(options.budget_s or 0) / 60:g} minutes each: these rows are of unfinished networks."
        )
    return tuple(found)
