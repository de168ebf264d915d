"""Measures every method on pairs of domains, seed by seed: target metrics, and how far apart the domains are.

Target labels meet a model in two places alone: 'target-supervised' is trained on those of the adaptation windows, and
those of the test windows make the numbers, once, when training is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from wheeltapper.models.domain_adaptation.config import METHODS, DomainAdaptationConfig, Method
from wheeltapper.training.detectors.domain_adaptation.adapted import AdaptedModel
from wheeltapper.training.detectors.domain_adaptation.fit import train_adapted
from wheeltapper.training.judging.metrics.ranking import auc_pr, auc_roc, vus_by_ranks
from wheeltapper.training.lab.domain_pairs import Pair

METRICS = ("auc_pr", "auroc", "vus_pr")
_FOLDS = 2
# A smaller gap is noise, and a share of it says nothing.
_LEAST_GAP = 0.01


@dataclass(frozen=True)
class Outcome:
    """One training, judged on the target's test windows.

    Attributes:
        auc_pr, auroc, vus_pr: of the score.
        classifier_auroc: of the classifier's logit alone.
        a_distance: proxy A-distance of the features of source and target.
        iterations: steps taken; fewer than wanted where `cut`.
    """

    group: str
    pair: str
    method: str
    seed: int
    auc_pr: float
    auroc: float
    vus_pr: float
    classifier_auroc: float
    a_distance: float
    iterations: int
    cut: bool


def run_pair(
    pair: Pair,
    config: DomainAdaptationConfig,
    methods: Sequence[Method] = METHODS,
    seeds: Sequence[int] = (0,),
    *,
    budget_s: float | None = None,
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Every method with every seed.

    Args:
        kept: file of one JSON object a line; what stands there is not measured again, what is measured is added.
    """
    config = replace(config, window=pair.window)
    known = {_key(item): item for item in _read(kept)}
    found = []
    for seed in seeds:
        for method in methods:
            key = (pair.group, pair.name, method, seed)
            if key not in known:
                progress(f"{pair.group}, {pair.name}: {method}, seed {seed}")
                known[key] = judge(fit(pair, method, config, seed, budget_s), pair, method, seed)
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    with kept.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(known[key])) + "\n")
            found.append(known[key])
    return found


def fit(
    pair: Pair, method: Method, config: DomainAdaptationConfig, seed: int, budget_s: float | None = None
) -> AdaptedModel:
    """Labels of the target go to 'target-supervised' and to no other method."""
    labels = pair.target.labels if method == "target-supervised" else None
    return train_adapted(pair.sources, pair.target.unlabelled(), method, config, labels, seed=seed, budget_s=budget_s)


def judge(model: AdaptedModel, pair: Pair, method: str, seed: int) -> Outcome:
    """The one time that labels of the test windows are read."""
    order = np.lexsort((pair.test.order, pair.test.recording))
    test = pair.test.take(order)
    scores = model.score(test.windows)
    with torch.no_grad():
        logits = model.network.classifier(torch.as_tensor(model.target_features(test.windows)))[:, 0].numpy()
    source = np.concatenate(
        [model.source_features(domain.windows, index) for index, domain in enumerate(pair.sources)]
        if method != "target-supervised"
        else [model.target_features(domain.windows) for domain in pair.sources]
    )
    volume, _ = vus_by_ranks(test.labels, scores, pair.vus_buffer)
    return Outcome(
        group=pair.group,
        pair=pair.name,
        method=method,
        seed=seed,
        auc_pr=_defined(auc_pr(test.labels, scores)),
        auroc=_defined(auc_roc(test.labels, scores)),
        vus_pr=_defined(volume),
        classifier_auroc=_defined(auc_roc(test.labels, logits)),
        a_distance=proxy_a_distance(source, model.target_features(pair.target.windows), seed),
        iterations=model.iterations,
        cut=model.cut,
    )


def proxy_a_distance(source: np.ndarray, target: np.ndarray, seed: int = 0) -> float:
    """2 (1 - 2 err) of [n, D] and [m, D]: 0 where nothing tells the domains apart, 2 where a line does (Ben-David, 2010).

    err is the balanced error of a logistic regression on features in standard deviations, by two-fold cross-validation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    features = np.concatenate([source, target]).astype(np.float64)
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    labels = np.repeat([0, 1], [len(source), len(target)])
    guess = cross_val_predict(
        LogisticRegression(max_iter=500, class_weight="balanced"),
        features,
        labels,
        cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=seed),
    )
    error = float(np.mean([np.mean(guess[labels == label] != label) for label in (0, 1)]))
    return 2 * (1 - 2 * min(error, 0.5))


def gap_closed(outcomes: Sequence[Outcome], method: str, metric: str) -> float | None:
    """(method - source-only) / (target-supervised - source-only), of means over pairs and seeds; None without a gap."""
    low, high, reached = (mean_of(outcomes, name, metric) for name in ("source-only", "target-supervised", method))
    return (reached - low) / (high - low) if high - low > _LEAST_GAP else None


def mean_of(outcomes: Sequence[Outcome], method: str, metric: str) -> float:
    return float(np.mean([getattr(item, metric) for item in outcomes if item.method == method]))


def deviation_of(outcomes: Sequence[Outcome], method: str, metric: str) -> float:
    """Between seeds, of the mean over pairs."""
    chosen = [item for item in outcomes if item.method == method]
    seeds = sorted({item.seed for item in chosen})
    return float(np.std([np.mean([getattr(item, metric) for item in chosen if item.seed == seed]) for seed in seeds]))


def _defined(value: float | None) -> float:
    return float("nan") if value is None else value


def _key(item: Outcome) -> tuple[str, str, str, int]:
    return item.group, item.pair, item.method, item.seed


def _read(kept: Path | None) -> list[Outcome]:
    if kept is None or not kept.is_file():
        return []
    return [Outcome(**json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines() if line]
