"""Training with and without labels of the target, on windows that a line separates once they are scaled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wheeltapper.models.domain_adaptation.config import DomainAdaptationConfig, Method
from wheeltapper.models.domain_adaptation.network import TARGET
from wheeltapper.schemas.errors import InputError
from wheeltapper.training.detectors.domain_adaptation.domains import WindowDomain
from wheeltapper.training.detectors.domain_adaptation.fit import _Training, train_adapted
from wheeltapper.training.judging.metrics.ranking import auc_roc

TINY = DomainAdaptationConfig(
    window=8, channels=4, hidden=4, latent=16, pool=2, label_rows=8, iterations=40, batch_size=24, learning_rate=5e-3
)


GAINS = (3.0, 0.1, 3.0)


def windows(
    count: int, seed: int, gain: float | tuple[float, ...] = 1.0, offset: float = 0.0, name: str = "d"
) -> WindowDomain:
    """Noise; in every fifth window the second channel's last rows rise. Gain by channel and offset move the domain."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, 8, 3))
    labels = (np.arange(count) % 5 == 0).astype(np.int8)
    values[labels == 1, 3:, 1] += 2.5
    return WindowDomain(
        name, (offset + np.asarray(gain) * values).astype(np.float32), labels, order=8 * np.arange(count)
    )


SOURCE, TARGET_DOMAIN, TEST = windows(150, 1), windows(120, 2, GAINS, 20.0, "target"), windows(120, 3, GAINS, 20.0)


def adapted(method: Method, config: DomainAdaptationConfig = TINY, **more: object):  # type: ignore[no-untyped-def]
    labels = TARGET_DOMAIN.labels if method == "target-supervised" else None
    return train_adapted([SOURCE], TARGET_DOMAIN.unlabelled(), method, config, labels, **more)  # type: ignore[arg-type]


def test_domain_by_domain_scaling_finds_what_the_source_s_scaling_loses() -> None:
    # given a target where the channel that shows faults is a tenth as loud, and the others three times
    methods: tuple[Method, ...] = ("source-only", "adanorm", "coral", "target-supervised")
    config = replace(TINY, iterations=60)
    found = {method: auc_roc(TEST.labels, adapted(method, config).score(TEST.windows)) or 0.0 for method in methods}
    # then whatever is scaled by domain beats what is not
    assert min(found["adanorm"], found["coral"], found["target-supervised"]) > 0.85, found
    assert min(found["adanorm"], found["coral"]) > found["source-only"] + 0.1, found


@pytest.mark.parametrize("selection", ["last", "unlabelled"])
def test_labels_of_the_target_change_nothing_that_is_not_told_them(selection: str) -> None:
    # given a domain whose labels are turned round
    config = replace(TINY, iterations=20, selection=selection)  # type: ignore[arg-type]
    turned = replace(TARGET_DOMAIN, labels=(1 - TARGET_DOMAIN.labels).astype(np.int8))
    one = train_adapted([SOURCE], TARGET_DOMAIN.unlabelled(), "mmd", config)
    other = train_adapted([SOURCE], turned.unlabelled(), "mmd", config)
    # then the network that was kept, and its scores, are the same
    assert one.selected_at == other.selected_at
    np.testing.assert_array_equal(one.score(TEST.windows), other.score(TEST.windows))


def test_a_labelled_target_is_refused_where_it_must_be_unlabelled() -> None:
    with pytest.raises(InputError, match="carry labels"):
        train_adapted([SOURCE], TARGET_DOMAIN, "dann", TINY)
    with pytest.raises(InputError, match="no normal window"):
        train_adapted([SOURCE], TARGET_DOMAIN.unlabelled(), "target-supervised", TINY)


def test_selection_without_labels_keeps_the_best_of_its_checkpoints() -> None:
    model = adapted("coral", replace(TINY, selection="unlabelled"))
    assert len(model.checkpoints) == 10
    best = max(model.checkpoints, key=lambda item: item[1])
    assert model.selected_at == best[0]


def test_each_domain_is_scaled_by_itself_and_source_only_by_the_source() -> None:
    model, plain = adapted("mmd", replace(TINY, iterations=1)), adapted("source-only", replace(TINY, iterations=1))
    np.testing.assert_allclose(model.target_scaler.mean, TARGET_DOMAIN.windows.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(model.source_scalers[0].mean, SOURCE.windows.mean(axis=(0, 1)), atol=1e-4)
    assert plain.target_scaler is plain.source_scalers[0]
    np.testing.assert_allclose(plain.target_scaler.mean, SOURCE.windows.mean(axis=(0, 1)), atol=1e-4)


def test_the_graph_alone_holds_all_that_a_score_needs() -> None:
    # given a graph that is written to bytes and read into an empty one
    model = adapted("dann", replace(TINY, iterations=3))
    graph = model.graph()
    saved = {name: value.clone() for name, value in graph.state_dict().items()}
    other = adapted("dann", replace(TINY, iterations=1), seed=9).graph()
    other.load_state_dict(saved)
    # then raw windows score as before: scaler, reference error and statistics came along
    with torch.no_grad():
        found = other(torch.as_tensor(TEST.windows))[0].numpy()
    np.testing.assert_allclose(found, model.score(TEST.windows), rtol=1e-5)


def test_alignment_takes_presumed_normal_windows_alone() -> None:
    # given a training in which every strange window of the target scores high
    training = _Training([SOURCE], TARGET_DOMAIN.unlabelled(), replace(TINY, method="mmd"), None, None, 0, None, False)
    strange = torch.as_tensor(TARGET_DOMAIN.labels == 1)
    training._presuming_scores = lambda: strange.float() + 0.01 * torch.arange(len(strange)) / len(strange)  # type: ignore[method-assign]
    training._presume()
    aligned: list[torch.Tensor] = []
    training._alignment = lambda features, strength: aligned.append(features) or features.sum() * 0  # type: ignore[method-assign, func-returns-value]
    training.source_features = torch.zeros(4, 16)
    training.network.train()
    # when a step draws all windows of the target
    training.config = replace(training.config, batch_size=len(strange))
    training._target_loss(progress=0.9, adapting=True)
    # then a fifth of them, those that score highest, is left out, and these are the strange ones
    assert [len(part) for part in aligned] == [int((~strange).sum())]
    assert not training.presumed_normal[strange].any()


def test_known_labels_of_the_target_are_learnt_from_by_the_aligning_methods() -> None:
    # given a source whose faults look otherwise, and a few labels of the target
    values = SOURCE.windows.copy()
    values[SOURCE.labels == 1, 3:, 1] -= 5
    source = replace(SOURCE, windows=values)
    known = np.full(len(TARGET_DOMAIN), -1)
    known[:60] = TARGET_DOMAIN.labels[:60]
    config = replace(TINY, iterations=60)
    found = []
    for labels in (None, known):
        model = train_adapted([source], TARGET_DOMAIN.unlabelled(), "mmd", config, labels)
        with torch.no_grad(), model.network.of_domain(TARGET):
            features = torch.as_tensor(model.target_features(TEST.windows))
            found.append(auc_roc(TEST.labels, model.network.classifier(features)[:, 0].numpy()) or 0.0)
    # then the classifier knows the target's faults, which it took for normal before
    assert found[1] > found[0] + 0.1, found


def test_several_sources_are_scaled_one_by_one() -> None:
    far = windows(100, 4, 0.1, -50.0, "far")
    model = train_adapted([SOURCE, far], TARGET_DOMAIN.unlabelled(), "coral", replace(TINY, iterations=60))
    assert len(model.source_scalers) == 2
    np.testing.assert_allclose(model.source_scalers[1].mean, far.windows.mean(axis=(0, 1)), rtol=1e-3)
    assert (auc_roc(TEST.labels, model.score(TEST.windows)) or 0.0) > 0.8


def test_anomalous_windows_weigh_by_their_rarity() -> None:
    training = _Training([SOURCE], TARGET_DOMAIN.unlabelled(), TINY, None, None, 0, None, False)
    assert float(training.positive_weight) == 4  # 120 normal, 30 anomalous


def test_a_budget_ends_training() -> None:
    model = adapted("adanorm", replace(TINY, iterations=100_000), budget_s=0.2)
    assert model.cut
    assert 0 < model.iterations < 100_000


def test_windows_of_another_shape_are_refused() -> None:
    other = WindowDomain("other", np.zeros((20, 8, 4), np.float32), np.tile([0, 1], 10))
    with pytest.raises(InputError, match="expected the same"):
        train_adapted([other], TARGET_DOMAIN.unlabelled(), "mmd", TINY)
