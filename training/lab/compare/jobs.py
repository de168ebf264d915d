"""What a comparison has to do, in pieces that run, fail and are kept one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wheeltapper.training.datasets.registry import dataset_info
from wheeltapper.training.detectors.registry import detector_entry
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.fingerprints import code_fingerprint, digest, files_signature, loader_fingerprint
from wheeltapper.training.lab.compare.sources import Source

# Raised when what a record holds, or how it is measured, changes.
RECORDS = 1

Kind = Literal["facts", "floors", "detector", "leak"]


@dataclass(frozen=True)
class Job:
    """One piece of work; plain values only, so that it can be sent to another process.

    Attributes:
        kind: 'facts': what the series is like; 'floors': the floor rows; 'detector': train and judge; 'leak': the same on
            values as they were published, scaled over train and test part together.
        dataset, folder, entity: where the series comes from.
        detector, settings, seed: of 'detector' and 'leak'.
        budget_s: seconds that training may take.
        stride: rows between scored windows of the test part.
        device: for trained networks.
        key: what the result depends on, as a hash; without the budget, which `store` judges.
    """

    kind: Kind
    dataset: str
    folder: Path | None
    entity: str
    key: str
    detector: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    budget_s: float | None = None
    stride: int = 1
    device: str = "cpu"

    @property
    def label(self) -> str:
        return Contender(self.detector, self.settings).label if self.detector else self.kind

    @property
    def identity(self) -> tuple[str, ...]:
        """Which row it is; a newer result with the same identity replaces an older one."""
        return (self.kind, self.dataset, self.entity, self.label, str(self.seed))

    @property
    def title(self) -> str:
        leak = " as given" if self.kind == "leak" else ""
        seed = f" seed {self.seed}" if self.seed else ""
        return f"{self.dataset} {self.entity} {self.label}{leak}{seed}"


def facts_jobs(sources: Sequence[Source]) -> list[Job]:
    """One for each entity; depends on the files as they lie there, and on what reads them."""
    jobs = []
    for source in sources:
        files = files_signature(source.folder) if source.folder is not None else ""
        loader = dataset_info(source.dataset).loader.partition(":")[0]
        key = digest([RECORDS, source.dataset, files, loader_fingerprint(loader)])
        jobs += [Job("facts", source.dataset, source.folder, entity, key) for entity in source.entities]
    return jobs


def judging_jobs(
    sources: Sequence[Source],
    facts: Mapping[tuple[str, str], Mapping[str, Any]],
    contenders: Sequence[Contender],
    chosen: Mapping[tuple[str, str], Contender],
    *,
    seeds: Sequence[int],
    leak: bool,
    budget_s: float | None,
    stride: int,
    device: str,
) -> list[Job]:
    """Floors, detectors and leaks, round robin over the data sets: an unfinished run says something of each.

    Args:
        facts: by (data set, entity), of those whose series could be read.
        chosen: what 'auto' picks, by (data set, entity); trained only where it is none of `contenders`.
    """

    def of_entity(source: Source, entity: str) -> list[Job]:
        place = (source.dataset, source.folder, entity)
        data = facts[source.dataset, entity]["sha256"]
        wanted = dict.fromkeys((*contenders, *([chosen[source.dataset, entity]] if chosen else ())))
        jobs = [
            Job(
                "floors",
                *place,
                digest([RECORDS, data, code_fingerprint("wheeltapper.training.judging.floors")]),
                stride=stride,
            )
        ]
        for contender in wanted:
            runs = seeds if contender.seeded else seeds[:1]
            kinds: list[tuple[Kind, int]] = [("detector", seed) for seed in runs]
            if leak and source.scaled_over_test and "scale" not in dict(contender.settings):
                kinds.append(("leak", seeds[0]))
            for kind, seed in kinds:
                module = detector_entry(contender.detector).train.partition(":")[0]
                key = digest([RECORDS, data, code_fingerprint(module), contender.settings, seed, stride, kind])
                jobs.append(
                    Job(kind, *place, key, contender.detector, contender.settings, seed, budget_s, stride, device)
                )
        return jobs

    queues = [
        list(itertools.chain.from_iterable(of_entity(s, e) for e in s.entities if (s.dataset, e) in facts))
        for s in sources
    ]
    return _round_robin(queues)


def _round_robin(queues: Iterable[list[Job]]) -> list[Job]:
    """Entity by entity, one of each data set in turn; the jobs of an entity stay together, its series is read once."""
    by_entity = [[list(group) for _, group in itertools.groupby(queue, lambda job: job.entity)] for queue in queues]
    turns = itertools.zip_longest(*by_entity, fillvalue=())
    return [job for turn in turns for group in turn for job in group]
