"""DCASE's metrics of clips, thresholds from normal clips, and whether blame falls where the fault is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from wheeltapper.training.judging.metrics.sound import (
    at_threshold,
    domain_metrics,
    harmonic_mean,
    partial_auc,
    patch_hit,
    threshold_of,
)


def test_partial_auc_is_the_area_up_to_a_tenth_scaled_by_mcclish() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 300)
    scores = labels * 0.7 + generator.standard_normal(300)
    # given the area by hand: the ROC curve up to a false positive rate of 0.1, between chance and perfect
    fpr, tpr, _ = roc_curve(labels, scores)
    within = fpr <= 0.1
    end = np.interp(0.1, fpr, tpr)
    area = np.trapezoid(np.append(tpr[within], end), np.append(fpr[within], 0.1))
    wanted = 0.5 * (1 + (area - 0.005) / (0.1 - 0.005))
    # when it is measured: then it is that, and what scikit-learn has
    assert partial_auc(labels, scores) == pytest.approx(wanted, abs=1e-9)
    assert partial_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-12)
    assert partial_auc(np.zeros(5), np.arange(5)) is None


def test_each_domain_has_its_normal_clips_against_all_anomalous_ones() -> None:
    # given source clips that are told apart, and target clips whose normal ones score as high as the anomalous ones
    labels = np.array([0, 0, 1, 0, 0, 1])
    scores = np.array([0.1, 0.2, 0.9, 0.8, 0.95, 0.7])
    domains = ["source"] * 3 + ["target"] * 3
    found = domain_metrics(labels, scores, domains)
    assert found.auc_source == 1.0
    assert found.auc_target == pytest.approx(1 / 4)
    assert found.auc == pytest.approx(5 / 8)
    assert found.official == pytest.approx(harmonic_mean([1.0, 0.25, found.pauc]))
    # without domains the harmonic mean is that of AUC and pAUC
    plain = domain_metrics(labels, scores, [""] * 6)
    assert plain.auc_source is None
    assert plain.official == pytest.approx(harmonic_mean([plain.auc, plain.pauc]))
    assert domain_metrics(np.zeros(3), np.arange(3), [""] * 3).official is None


def test_harmonic_mean_falls_with_the_worst() -> None:
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3)
    assert harmonic_mean([None, 0.8]) == pytest.approx(0.8)
    assert harmonic_mean([0.0, 1.0]) == pytest.approx(0.0, abs=1e-12)
    assert harmonic_mean([None]) is None


def test_the_threshold_comes_from_normal_scores_alone() -> None:
    held_out = np.arange(100.0)
    threshold = threshold_of(held_out, 0.1)
    assert (held_out > threshold).mean() <= 0.1
    assert (held_out >= threshold).mean() >= 0.1
    found = at_threshold(np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 3.0, 1.0]), 2.0)
    assert (found.precision, found.recall, found.f1, found.false_alarm_rate) == (0.5, 0.5, 0.5, 0.5)
    nobody = at_threshold(np.array([0, 0]), np.array([0.0, 0.0]), 1.0)
    assert (nobody.precision, nobody.recall, nobody.f1, nobody.false_alarm_rate) == (None, None, None, 0.0)


def test_a_patch_hit_is_the_share_of_blame_where_the_disturbance_was() -> None:
    # given four bands of 1 kHz and five seconds, disturbed from 1.5 to 2.5 s between 1 and 2 kHz
    bands = [(1000.0 * low, 1000.0 * (low + 1)) for low in range(4)]
    contribution = np.ones((4, 5))
    contribution[1, 1:3] = 4.0
    hit = patch_hit(contribution, bands, 5.0, [(1.5, 2.5, 1000.0, 2000.0)])
    # then two cells are touched, and hold 8 of 26
    assert hit is not None
    assert (hit.share, hit.area, hit.peak) == (pytest.approx(8 / 26), 0.1, True)
    # blame without a clue has the share of the area; blame elsewhere has none
    even = patch_hit(np.ones((4, 5)), bands, 5.0, [(1.5, 2.5, 1000.0, 2000.0)])
    assert even is not None
    assert even.share == pytest.approx(even.area)
    elsewhere = np.zeros((4, 5))
    elsewhere[3, 4] = 1.0
    missed = patch_hit(elsewhere, bands, 5.0, [(1.5, 2.5, 1000.0, 2000.0)])
    assert missed is not None
    assert (missed.share, missed.peak) == (0.0, False)
    assert patch_hit(contribution, bands, 5.0, [(7.0, 8.0, 1000.0, 2000.0)]) is None
    nothing = patch_hit(np.zeros((4, 5)), bands, 5.0, [(0.0, 5.0, 0.0, 4000.0)])
    assert nothing is not None
    assert (nothing.share, nothing.peak) == (0.0, False)
