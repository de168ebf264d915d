"""The report of an adaptation, one HTML file: what moved, what was tried, and what the gate saw."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from wheeltapper.schemas.bundle import Bundle
from wheeltapper.schemas.clock import iso_from_micros
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.adaptation.attempts import Attempt, LadderResult
from wheeltapper.training.adaptation.recent import WindowSource, reference_windows
from wheeltapper.training.fitting.calibration import bounded_sample

TEMPLATE = "report.html.j2"
SHOWN_CHANNELS = 16
# t-SNE takes seconds for some hundred points, minutes for thousands.
EMBEDDED_WINDOWS = 120
_SMALLEST = 1e-3


def write_report(parent: Bundle, result: LadderResult, path: Path) -> None:
    """Write it.

    Raises:
        InputError: the file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wheeltapper.training.adaptation", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    best = result.taken or next((each for each in reversed(result.attempts) if each.bundle is not None), None)
    figures = [("Scores of held-out recent windows", _scores(result, best))]
    figures.append(("Recall of disturbances by kind, at a level as quiet as asked", _recall(best)))
    figures.append(("Channels that moved", _channels(parent, result)))
    figures += _embeddings(parent, result, best)
    text = environment.get_template(TEMPLATE).render(
        parent=parent.manifest,
        result=result,
        best=best,
        attempts=result.attempts,
        timeline=_timeline(parent, result),
        channels=_channel_rows(parent, result),
        figures=[(title, image) for title, image in figures if image],
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the report cannot be written ({error.strerror}); choose another place") from error


def _timeline(parent: Bundle, result: LadderResult) -> list[tuple[str, str]]:
    held_out = result.evidence.held_out.times
    found = [(parent.manifest.created_at, f"the parent bundle {parent.manifest.bundle_id} was made")]
    if len(held_out):
        found.append((iso_from_micros(int(held_out[0])), "first recent row that was held out"))
        found.append((iso_from_micros(int(held_out[-1])), "last recent row"))
    if result.child is not None:
        found.append((result.child.manifest.created_at, f"the child bundle {result.child.manifest.bundle_id} was made"))
    return found


def _channel_rows(parent: Bundle, result: LadderResult) -> list[dict[str, Any]]:
    """The channels that moved most."""
    moved = result.channel_map
    effect = np.maximum(np.abs(moved.shift), np.abs(moved.spread))
    order = np.argsort(-effect, kind="stable")[:SHOWN_CHANNELS]
    return [
        {
            "name": parent.manifest.channels[index].name,
            "unit": parent.manifest.channels[index].unit,
            "shift": float(moved.shift[index]),
            "spread": float(np.exp(moved.spread[index])),
            "mapped": bool(moved.moved[index]),
        }
        for index in order
        if effect[index] > 0
    ]


def _figure(draw: Callable[[Any, Any], None], width: float = 7.5, height: float = 3.2) -> str:
    """A figure as a data URI; '' where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    draw(figure, figure.subplots())
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _scores(result: LadderResult, best: Attempt | None) -> str:
    def draw(figure: Any, axes: Any) -> None:
        sets = [("old bundle", result.parent_scores.recent, "#b00020")]
        if best is not None and best.scores is not None:
            sets.append((f"new bundle ({best.step})", best.scores.recent, "#1f4e79"))
        for name, scores, colour in sets:
            shown = np.maximum(np.nan_to_num(scores, nan=0.0), _SMALLEST)
            bins = np.geomspace(_SMALLEST, max(10.0, float(shown.max())), 60)
            axes.hist(shown, bins=bins, histtype="stepfilled", alpha=0.45, color=colour, label=name)
        axes.axvline(1.0, color="black", linewidth=1, linestyle="--", label="alarm level")
        axes.set(xscale="log", xlabel="calibrated score", ylabel="windows")
        axes.legend(fontsize=8)

    return _figure(draw) if len(result.parent_scores.recent) else ""


def _recall(best: Attempt | None) -> str:
    if best is None or "recall_by_kind" not in best.verdict.figures:
        return ""
    by_kind = best.verdict.figures["recall_by_kind"]

    def draw(figure: Any, axes: Any) -> None:
        places = np.arange(len(by_kind))
        for shift, key, name, colour in (
            (-0.2, "today", "old bundle", "#b00020"),
            (0.2, "new", "new bundle", "#1f4e79"),
        ):
            axes.bar(
                places + shift, [found[key] for found in by_kind.values()], 0.38, label=name, color=colour, alpha=0.8
            )
        axes.set_xticks(places, list(by_kind))
        axes.set(ylim=(0, 1), ylabel="share of disturbed windows told")
        axes.legend(fontsize=8)

    return _figure(draw)


def _channels(parent: Bundle, result: LadderResult) -> str:
    rows = _channel_rows(parent, result)
    if not rows:
        return ""

    def draw(figure: Any, axes: Any) -> None:
        places = np.arange(len(rows))
        colours = ["#1f4e79" if row["mapped"] else "#9bb3c9" for row in rows]
        axes.barh(places, [row["shift"] for row in rows], color=colours)
        axes.set_yticks(places, [row["name"] for row in rows], fontsize=8)
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel="move of the mean, in standard deviations of the reference")

    return _figure(draw, height=0.9 + 0.22 * len(rows))


def _embeddings(parent: Bundle, result: LadderResult, best: Attempt | None) -> list[tuple[str, str]]:
    """Reference and recent windows in the old and the new bundle's own space, by PCA and t-SNE."""
    if importlib.util.find_spec("sklearn") is None:
        return []
    recent = WindowSource(parent, result.evidence.held_out).windows()
    reference = reference_windows(parent)
    recent, reference = (part[bounded_sample(len(part), EMBEDDED_WINDOWS)] for part in (recent, reference))
    if min(len(recent), len(reference)) < 10:
        return []
    found = []
    for name, bundle in (("old", parent), ("new", None if best is None else best.bundle)):
        if bundle is None or "embedding" not in {output.name for output in bundle.manifest.outputs}:
            continue
        graph = bundle.open_graph(device="cpu")
        parts = [graph.run(windows).embedding for windows in (reference, recent)]
        assert parts[0] is not None
        assert parts[1] is not None
        image = _embedding_figure(parts[0], parts[1])
        found.append((f"Embeddings of the {name} bundle: reference and recent windows", image))
    return found


def _embedding_figure(reference: np.ndarray, recent: np.ndarray) -> str:
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    values = np.nan_to_num(np.concatenate([reference, recent]).astype(np.float64))
    scale = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    if values.shape[1] < 2:
        values = np.column_stack([values, np.zeros(len(values))])
    planes = [("PCA", PCA(2, random_state=0).fit_transform(values))]
    perplexity = min(30.0, (len(values) - 1) / 3)
    # Its threads wait for each other by spinning: beside other work on the machine two of them take minutes where one takes seconds.
    with threadpool_limits(1):
        planes.append(("t-SNE", TSNE(2, random_state=0, perplexity=perplexity, init="pca").fit_transform(values)))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (title, plane) in zip(figure.subplots(1, 2), planes, strict=True):
        axes.scatter(*plane[: len(reference)].T, s=7, color="#9bb3c9", label="reference")
        axes.scatter(*plane[len(reference) :].T, s=7, color="#d1495b", label="recent")
        axes.set(title=title, xticks=[], yticks=[])
        axes.legend(fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
