"""Tables of a report, each a function of the summary and a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wheeltapper.schemas.text import duration
from wheeltapper.training.detectors.auto import AUTO
from wheeltapper.training.lab.compare.document import Cell, Grid
from wheeltapper.training.lab.compare.findings import auto_name, shown_name
from wheeltapper.training.lab.compare.results import FLOOR_PREFIX
from wheeltapper.training.lab.compare.summary import Mean, Summary, is_floor

Show = Callable[[float], str]


def overview_table(summary: Summary) -> Grid:
    """VUS-PR of every detector on every data set."""
    datasets = summary.datasets
    names = summary.detectors()
    means = {(name, d): summary.mean(d, name, "vus_pr") for name in names for d in datasets}
    used = [d for d in datasets if any(means[name, d] for name in names)]

    def over_all(name: str) -> float | None:
        values = [found.value for d in used if (found := means[name, d])]
        return sum(values) / len(values) if values and len(values) == len(used) else None

    names = _best_first(names, over_all, lambda name: [m.value for d in used if (m := means[name, d])])
    rows: list[list[Cell]] = []
    for name in names:
        whole = over_all(name)
        cells = [_mean_text(means[name, d], partial_of=_labelled(summary, d)) for d in used]
        rows.append([shown_name(name), *cells, None if whole is None else f"{whole:.3f}"])
    columns = [[means[name, d].value if means[name, d] else None for name in names] for d in used]  # type: ignore[union-attr]
    columns.append([over_all(name) for name in names])
    return Grid(
        "VUS-PR, mean over entities",
        ["detector", *(f"{d} ({_labelled(summary, d)})" for d in used), "mean over data sets"],
        rows,
        note="In brackets: labelled entities; in a cell: how many of them a detector has a result on, where it is not all. "
        "The last column is for detectors with results on every data set.",
        strong=_best_cells(names, columns),
        muted=_floors_of(names),
    )


def headline_table(summary: Summary, dataset: str) -> Grid:
    """How well each ranks, best first."""
    metrics = (("vus_pr", "VUS-PR"), ("auc_pr", "AUC-PR"), ("vus_roc", "VUS-ROC"), ("auc_roc", "AUC-ROC"))
    leaky = any(row.get("vus_pr_leak") is not None for row in summary.rows if row["dataset"] == dataset)
    columns = ["detector", *(heading for _, heading in metrics), *(["VUS-PR with the leak"] if leaky else [])]
    names = _ordered(summary, dataset)
    whole = _labelled(summary, dataset)
    rows: list[list[Cell]] = []
    for name in names:
        cells: list[Cell] = [_mean_text(summary.mean(dataset, name, metric), partial_of=whole) for metric, _ in metrics]
        if leaky:
            cells.append(_leak_text(summary, dataset, name))
        runs = [
            found.seeds
            for metric in ("vus_pr", "false_alarms_per_day")
            if (found := summary.mean(dataset, name, metric))
        ]
        rows.append([_named(summary, dataset, name), *cells, max(runs, default=0) or None])
    note = ""
    if leaky:
        note = (
            "Published values are scaled over train and test part together; every detector rescales on the train part. The "
            "last but one column takes values as published: what knowing the test part's range would have earned."
        )
    values = [
        [found.value if (found := summary.mean(dataset, name, m)) else None for name in names] for m, _ in metrics
    ]
    return Grid(
        f"{dataset}: how well it ranks, mean over entities",
        [*columns, "seeds"],
        rows,
        note=note,
        strong=_best_cells(names, values),
        muted=_floors_of(names),
    )


def alarm_table(summary: Summary, dataset: str) -> Grid:
    """What alarms are worth at a level that no test label chose."""
    columns: tuple[tuple[str, str, Show], ...] = (
        ("range_f1", "range F1", "{:.3f}".format),
        ("point_f1", "point F1", "{:.3f}".format),
        ("event_recall", "event recall", "{:.3f}".format),
        ("detection_delay_s", "delay", lambda seconds: duration(seconds, ".1f")),
        ("false_alarms_per_day", "false alarms/day", "{:.2f}".format),
    )
    names = [name for name in _ordered(summary, dataset) if not is_floor(name)]
    return Grid(
        f"{dataset}: its alarms, at a level set on held-out train rows",
        ["detector", *(heading for _, heading, _ in columns)],
        [
            [
                _named(summary, dataset, name),
                *(_mean_text(summary.mean(dataset, name, metric), show) for metric, _, show in columns),
            ]
            for name in names
        ],
        note="Means over entities; delay: of the entities' medians over found events. Floors have no alarm level.",
    )


def entity_table(summary: Summary, dataset: str) -> Grid:
    """VUS-PR entity by entity."""
    names = _without_copies(summary, dataset)
    tables = {name: summary.per_entity(dataset, name, "vus_pr") for name in names}
    entities = [entity for entity in summary.entities(dataset) if any(entity in table for table in tables.values())]
    rows: list[list[Cell]] = []
    strong = set()
    for index, entity in enumerate(entities):
        found = {name: tables[name][entity] for name in names if entity in tables[name]}
        real = {name: value for name, (value, _) in found.items() if not is_floor(name)}
        if real:
            strong.add((index, 1 + names.index(max(real, key=lambda name: real[name]))))
        rows.append([entity, *(_with_deviation(*found[name]) if name in found else None for name in names)])
    without = len(summary.entities(dataset)) - len(entities)
    note = f"{without} more without a value: nothing is labelled there, or nothing ran." if without else ""
    return Grid(
        f"{dataset}: VUS-PR by entity",
        ["entity", *(_named(summary, dataset, name) for name in names)],
        rows,
        note=note,
        strong=frozenset(strong),
    )


def localization_table(summary: Summary, dataset: str) -> Grid | None:
    """Whom it blames; None where the data names no channels."""
    metrics = (
        ("hit_rate_100", "HitRate@100"),
        ("hit_rate_150", "HitRate@150"),
        ("ndcg_100", "NDCG@100"),
        ("ndcg_150", "NDCG@150"),
        ("ips_100", "IPS@100"),
        ("ips_150", "IPS@150"),
    )
    names = [name for name in _without_copies(summary, dataset) if summary.mean(dataset, name, "hit_rate_100")]
    if not names:
        return None
    means = {(name, metric): summary.mean(dataset, name, metric) for name in names for metric, _ in metrics}
    special = {FLOOR_PREFIX + "l2": "floor: squared error (L2 norm)", FLOOR_PREFIX + "pca": "floor: squared PCA error"}
    return Grid(
        f"{dataset}: whom it blames",
        ["detector", *(heading for _, heading in metrics)],
        [
            [special.get(name, _named(summary, dataset, name)), *(_mean_text(means[name, m]) for m, _ in metrics)]
            for name in names
        ],
        note="Contributions of the channels against those named at fault; random: channels in a random order.",
        strong=_best_cells(
            names, [[found.value if (found := means[name, m]) else None for name in names] for m, _ in metrics]
        ),
        muted=_floors_of(names),
    )


def cost_table(summary: Summary, dataset: str) -> Grid:
    """What it costs."""
    columns: tuple[tuple[str, str, Show], ...] = (
        ("train_seconds", "training [s]", "{:.1f}".format),
        ("train_processor_seconds", "processor [s]", "{:.1f}".format),
        ("windows_per_second", "windows/s", "{:,.0f}".format),
        ("bundle_bytes", "bundle [kB]", lambda value: f"{value / 1e3:,.0f}"),
    )
    names = [name for name in _without_copies(summary, dataset) if not is_floor(name)]

    def cells(name: str) -> list[Cell]:
        means = [summary.mean(dataset, name, metric) for metric, _, _ in columns]
        cut = sum(bool(row["cut"]) for row in summary.runs(dataset, name))
        shown = [show(m.value) if m else None for m, (_, _, show) in zip(means, columns, strict=True)]
        return [_named(summary, dataset, name), *shown, cut]

    return Grid(
        f"{dataset}: what it costs",
        ["detector", *(heading for _, heading, _ in columns), "cut by budget"],
        [cells(name) for name in names],
        note="Means over entities. Training includes held-out scores, with one thread. Windows a second: ONNX Runtime, one "
        "thread, the stream's largest batch, by processor time. Bundles without a TorchScript twin.",
    )


def flattering_table(summary: Summary, dataset: str) -> Grid:
    """F1 scores that must not be read alone."""
    columns = (
        ("point_adjusted_f1", "point-adjusted F1"),
        ("point_adjusted_f1_random_floor", "random flags"),
        ("affiliation_f1", "affiliation F1"),
        ("affiliation_f1_random_floor", "random flags"),
    )
    names = [name for name in _without_copies(summary, dataset) if not is_floor(name)]
    return Grid(
        f"{dataset}: F1 scores that flatter, beside what as many random flags reach",
        ["detector", *(heading for _, heading in columns)],
        [
            [
                _named(summary, dataset, name),
                *(_mean_text(summary.mean(dataset, name, metric)) for metric, _ in columns),
            ]
            for name in names
        ],
    )


def trouble_table(summary: Summary) -> Grid | None:
    """Jobs that were cut or did not give numbers; None where there are none."""
    rows: list[list[Cell]] = []
    for row in summary.rows:
        if row["role"] == "auto" or not (row["error"] or row["cut"]):
            continue
        budget = row.get("budget_s")
        what = row["error"] or f"training stopped at its budget of {duration(budget, '.1f') if budget else 'some time'}"
        rows.append([row["dataset"], row["entity"], shown_name(row["detector"]), row["seed"], what])
    if not rows:
        return None
    return Grid("", ["data set", "entity", "detector", "seed", "what happened"], rows, text_columns=5)


def _ordered(summary: Summary, dataset: str) -> list[str]:
    """Names of a data set by VUS-PR, best first; those without one last."""
    means = {name: summary.mean(dataset, name, "vus_pr") for name in summary.detectors(dataset)}
    names = [name for name in means if name != FLOOR_PREFIX.rstrip(":") + "s"]
    return sorted(names, key=lambda name: -(found.value if (found := means[name]) else -1.0))


def _without_copies(summary: Summary, dataset: str) -> list[str]:
    """Without 'auto', where every detector that it chose has a row of its own."""
    names = _ordered(summary, dataset)
    chosen = {row["chosen"] for row in summary.runs(dataset, AUTO)}
    return [name for name in names if name != AUTO or not chosen <= set(names)]


def _best_first(
    names: Sequence[str], whole: Callable[[str], float | None], parts: Callable[[str], list[float]]
) -> list[str]:
    def order(name: str) -> tuple[bool, float]:
        value, own = whole(name), parts(name)
        return value is None, -(value if value is not None else sum(own) / len(own) if own else -1.0)

    return sorted((name for name in names if parts(name) or not is_floor(name)), key=order)


def _named(summary: Summary, dataset: str, name: str) -> str:
    return auto_name(summary, dataset) if name == AUTO else shown_name(name)


def _labelled(summary: Summary, dataset: str) -> int:
    """Entities on which anything has a VUS-PR."""
    return len(
        {entity for name in summary.detectors(dataset) for entity in summary.per_entity(dataset, name, "vus_pr")}
    )


def _mean_text(mean: Mean | None, show: Show = "{:.3f}".format, *, partial_of: int | None = None) -> str | None:
    if mean is None:
        return None
    text = show(mean.value) if mean.deviation is None else f"{show(mean.value)} ± {show(mean.deviation)}"
    return f"{text} ({mean.entities})" if partial_of is not None and mean.entities < partial_of else text


def _with_deviation(value: float, deviation: float | None) -> str:
    return f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"


def _leak_text(summary: Summary, dataset: str, name: str) -> str | None:
    """The value with the leak and the difference to the honest one on the same entities and seed."""
    pairs = [
        (float(row["vus_pr_leak"]), float(row["vus_pr"]))
        for row in summary.runs(dataset, name)
        if row.get("vus_pr_leak") is not None and row.get("vus_pr") is not None
    ]
    if not pairs:
        return None
    leak, honest = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return f"{leak:.3f} ({leak - honest:+.3f})"


def _best_cells(names: Sequence[str], columns: Sequence[Sequence[float | None]]) -> frozenset[tuple[int, int]]:
    """The largest value of each column, floors and 'auto' left out; column 0 is the name."""
    found = set()
    for column, values in enumerate(columns, start=1):
        real = {
            row: value
            for row, (name, value) in enumerate(zip(names, values, strict=True))
            if value is not None and not is_floor(name) and name != AUTO
        }
        if real:
            found.add((max(real, key=lambda row: real[row]), column))
    return frozenset(found)


def _floors_of(names: Sequence[str]) -> frozenset[int]:
    return frozenset(row for row, name in enumerate(names) if is_floor(name))
