"""The report of a comparison: which tables and pictures, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wheeltapper.training.detectors.auto import AUTO, kind_of
from wheeltapper.training.lab.compare.contenders import Contender
from wheeltapper.training.lab.compare.document import (
    Block,
    Bullets,
    Command,
    Document,
    Fold,
    Heading,
    Paragraph,
    Picture,
)
from wheeltapper.training.lab.compare.figures import critical_difference_diagram, score_plot
from wheeltapper.training.lab.compare.findings import default_findings, floor_findings, localization_findings
from wheeltapper.training.lab.compare.ranks import LEAST_DETECTORS, LEAST_ENTITIES, Ranking, rank_detectors
from wheeltapper.training.lab.compare.results import Place
from wheeltapper.training.lab.compare.summary import Summary, comparable
from wheeltapper.training.lab.compare.tables import (
    alarm_table,
    cost_table,
    entity_table,
    flattering_table,
    headline_table,
    localization_table,
    overview_table,
    trouble_table,
)

# Score plots of one entity show so many detectors: the default, then the best of the data set.
_PLOTTED_DETECTORS = 4
_READING = (
    "The headline is VUS-PR (volume under the range-aware precision-recall surface, buffers of 0 to 100 rows), per entity, then "
    "averaged over entities. Alarms are those at a level set on held-out rows of the train part; test labels choose no "
    "threshold, checkpoint or setting. Rows called floor are what a detector has to beat; everything is fitted on the train "
    "part alone. A deviation stands where there are several seeds: of the mean over entities, from seed to seed. "
    "docs/evaluation.md defines every number."
)

Traces = Mapping[Place, Mapping[str, Mapping[str, Any]]]
"""By place and detector: calibrated scores in columns."""


@dataclass(frozen=True)
class Run:
    """What a report says of the run itself.

    Attributes:
        command: what to type to get the same.
        facts: of each series, by (data set, entity).
        choices: what `train auto` picks there, and why.
        traces: scores to be drawn.
        notes: versions, date, budget: one line each.
        plots: entities of each data set whose scores are drawn at most.
    """

    command: str
    facts: Mapping[Place, Mapping[str, Any]]
    choices: Mapping[Place, tuple[Contender, str]]
    traces: Traces
    notes: Sequence[str] = ()
    plots: int = 60


def build_report(summary: Summary, run: Run) -> Document:
    """The whole report."""
    blocks: list[Block] = [Command(run.command), Bullets(run.notes), Paragraph(_READING)]
    blocks += [Heading("All data sets"), overview_table(summary)]
    blocks += _ranking_blocks(_values_of(summary, summary.datasets), "all")
    defaults = default_findings(summary, run.choices)
    if defaults:
        blocks += [
            Heading("Which detector is the default here, and why"),
            Paragraph("wheeltapper train auto picks by a rule that looks at the series alone, never at labels:"),
            Bullets(defaults),
        ]
    findings = [text for name in summary.datasets for text in floor_findings(summary, name)]
    findings += [text for name in summary.datasets for text in localization_findings(summary, name)]
    if findings:
        blocks += [Heading("Against the floors"), Bullets(findings)]
    for dataset in summary.datasets:
        blocks += _dataset_blocks(summary, run, dataset)
    trouble = trouble_table(summary)
    blocks += [Heading("What was cut, and what failed")]
    blocks.append(trouble if trouble else Paragraph("Nothing: every job ran to its end and within its budget."))
    return Document("Comparison of detectors", blocks)


def _dataset_blocks(summary: Summary, run: Run, dataset: str) -> list[Block]:
    blocks: list[Block] = [Heading(dataset), Paragraph(_about(run.facts, dataset)), headline_table(summary, dataset)]
    blocks += _ranking_blocks(_values_of(summary, [dataset]), dataset)
    blocks += [alarm_table(summary, dataset), entity_table(summary, dataset)]
    localization = localization_table(summary, dataset)
    blocks += [localization] if localization else []
    blocks += [cost_table(summary, dataset), flattering_table(summary, dataset)]
    plots = _score_plots(summary, run, dataset)
    if plots:
        blocks.append(Fold(f"Scores on {dataset}, entity by entity", plots))
    return blocks


def _about(facts: Mapping[Place, Mapping[str, Any]], dataset: str) -> str:
    mine = [values for (name, _), values in facts.items() if name == dataset]
    if not mine:
        return "No series of it could be read."
    labelled = sum(bool(values["events"]) for values in mine)
    return (
        f"Kind of data: {kind_of(dataset)}. {_count(len(mine), 'entity', 'entities')}, {_span(v['channels'] for v in mine)} channels, "
        f"{_span(v['train_rows'] for v in mine)} train rows and {_span(v['test_rows'] for v in mine)} test rows, one every "
        f"{_span(v['sampling_interval_s'] for v in mine)} s; {sum(len(v['events']) for v in mine)} labelled events on "
        f"{_count(labelled, 'entity', 'entities')}."
    )


def _span(values: Iterable[float]) -> str:
    known = sorted(values)
    return f"{known[0]:g}" if known[0] == known[-1] else f"{known[0]:g} to {known[-1]:g}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _values_of(summary: Summary, datasets: Sequence[str]) -> dict[str, dict[Any, float]]:
    """By detector: VUS-PR by entity, mean over seeds."""
    values: dict[str, dict[Any, float]] = {}
    for dataset in datasets:
        for detector in summary.detectors(dataset, roles=("detector",)):
            for entity, (value, _) in summary.per_entity(dataset, detector, "vus_pr").items():
                values.setdefault(detector, {})[dataset, entity] = value
    return values


def _ranking_blocks(values: Mapping[str, Mapping[Any, float]], name: str) -> list[Block]:
    names, shared, scores = comparable(values)
    ranking = rank_detectors(names, scores) if names else None
    if ranking is None:
        return [
            Paragraph(
                f"No critical-difference diagram: it takes {LEAST_DETECTORS} detectors that share {LEAST_ENTITIES} labelled "
                f"entities, there are {len(names)} that share {len(shared)}."
            )
        ]
    left_out = [detector for detector in values if detector not in names]
    text = _ranking_text(ranking)
    if left_out:
        text += f" Left out for results on too few of them: {', '.join(left_out)}."
    return [Picture(f"ranks-{name}.png", critical_difference_diagram(ranking), text)]


def _ranking_text(ranking: Ranking) -> str:
    verdict = "detectors differ" if ranking.p_value < 0.05 else "no difference is shown"
    return (
        f"Mean ranks by VUS-PR over {ranking.entities} entities (1 is best). Friedman: chi-square {ranking.chi_square:.1f}, "
        f"p {ranking.p_value:.2g}, {verdict}. Bars join detectors closer than Nemenyi's critical difference of "
        f"{ranking.critical_difference:.2f} (5 %)."
    )


def _score_plots(summary: Summary, run: Run, dataset: str) -> list[Block]:
    drawn: list[Block] = []
    detectors = _worth_drawing(summary, dataset)
    names = [name for name in summary.entities(dataset) if (dataset, name) in run.traces]
    for entity in names[: run.plots]:
        place = (dataset, entity)
        kept = {name: run.traces[place][name] for name in detectors if name in run.traces[place]}
        facts = run.facts.get(place)
        if not kept or facts is None:
            continue
        png = score_plot(f"{dataset} {entity}", facts["test_rows"], facts["events"], kept)
        text = (
            f"{entity}: calibrated score by row of the test part, alarm level dashed, "
            f"{_count(len(facts['events']), 'labelled event', 'labelled events')} shaded."
        )
        drawn.append(Picture(f"scores-{dataset}-{entity.replace('/', '-')}.png", png, text, in_markdown=False))
    if len(names) > run.plots:
        drawn.append(Paragraph(f"{len(names) - run.plots} more entities are not drawn."))
    return drawn


def _worth_drawing(summary: Summary, dataset: str) -> list[str]:
    means = {name: summary.mean(dataset, name, "vus_pr") for name in summary.detectors(dataset, roles=("detector",))}
    best = sorted(means, key=lambda name: -(found.value if (found := means[name]) else -1.0))
    chosen = dict.fromkeys(row["chosen"] for row in summary.runs(dataset, AUTO))
    return list(dict.fromkeys((*chosen, *best)))[: max(_PLOTTED_DETECTORS, len(chosen))]
