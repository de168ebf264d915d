"""What the numbers say, in sentences: who does not beat the floors, where the default stands, what was cut or failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from wheeltapper.training.detectors.auto import AUTO
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.results import FLOOR_PREFIX, FLOORS, Place
from wheeltapper.training.lab.compare.summary import Summary

# A detector must be above these to be worth anything.
MUST_BEAT = ("random", "l2")
CLOSE = 0.02
"""A default may be so much behind the first."""


def floor_findings(summary: Summary, dataset: str) -> list[str]:
    """One sentence for each detector that does not beat random scores or the L2 norm; one on all others."""
    beaten, sentences = [], []
    for detector in summary.detectors(dataset, roles=("detector",)):
        losses, compared = [], 0
        for floor in MUST_BEAT:
            found = summary.difference(dataset, detector, FLOOR_PREFIX + floor, "vus_pr")
            if found is None:
                continue
            compared += 1
            own, other, entities = found
            if own <= other:
                name = "random scores" if floor == "random" else "the L2 norm"
                where = "1 entity" if entities == 1 else f"{entities} entities"
                losses.append(f"{name} (VUS-PR {own:.3f} against {other:.3f} on {where})")
        if losses:
            sentences.append(f"{dataset}: {detector} does not beat {' nor '.join(losses)}.")
        elif compared == len(MUST_BEAT):
            beaten.append(detector)
    if beaten:
        sentences.append(f"{dataset}: above random scores and the L2 norm: {', '.join(beaten)}.")
    return sentences


def localization_findings(summary: Summary, dataset: str) -> list[str]:
    """Detectors that blame worse than the squared error does (the L2 norm's own parts)."""
    worse = []
    for detector in summary.detectors(dataset, roles=("detector",)):
        found = summary.difference(dataset, detector, FLOOR_PREFIX + "l2", "hit_rate_100")
        if found is not None and found[0] < found[1]:
            worse.append(f"{detector} ({found[0]:.3f} against {found[1]:.3f})")
    if not worse:
        return []
    return [f"{dataset}: by HitRate@100, these blame worse than the squared error alone: {', '.join(worse)}."]


def default_findings(summary: Summary, choices: Mapping[Place, tuple[Contender, str]]) -> list[str]:
    """For each data set: what `train auto` picks, why, and how far that is from the best."""
    sentences = []
    for dataset in summary.datasets:
        picked = [choice for (name, _), choice in choices.items() if name == dataset]
        if not picked:
            continue
        for label, count in Counter(contender.label for contender, _ in picked).most_common():
            reason = next(reason for contender, reason in picked if contender.label == label)
            entities = "1 entity" if len(picked) == 1 else f"{len(picked)} entities"
            sentences.append(f"{dataset}: {label} on {count} of {entities} ({reason}).")
        standing = default_standing(summary, dataset)
        if standing:
            sentences.append(standing)
    return sentences


def default_standing(summary: Summary, dataset: str) -> str | None:
    """Where the default stands against the best detector, over entities that both have; None where it did not run."""
    detectors = summary.detectors(dataset, roles=("detector",))
    pairs = [
        (name, found) for name in detectors if (found := summary.difference(dataset, AUTO, name, "vus_pr")) is not None
    ]
    if not pairs:
        return None
    best, (own, other, entities) = max(pairs, key=lambda pair: pair[1][1] - pair[1][0])
    on = f"on {entities} {'entity' if entities == 1 else 'entities'}"
    if other <= own:
        return f"{dataset}: nothing is above the default (VUS-PR {own:.3f} {on})."
    close = f"within {CLOSE:g} of it" if other - own <= CLOSE else f"more than {CLOSE:g} behind it"
    return f"{dataset}: the best is {best} with VUS-PR {other:.3f}, the default has {own:.3f} {on}: {close}."


def shown_name(detector: str) -> str:
    """A row's name for people: floors are called floors."""
    if detector.startswith(FLOOR_PREFIX):
        name = detector.removeprefix(FLOOR_PREFIX)
        return f"floor: {FLOORS.get(name, name)}"
    return detector


def auto_name(summary: Summary, dataset: str) -> str:
    """'auto (range-bands)', with the choices of this data set."""
    chosen = Counter(row["chosen"] for row in summary.runs(dataset, AUTO))
    return f"auto ({', '.join(label for label, _ in chosen.most_common())})" if chosen else AUTO
