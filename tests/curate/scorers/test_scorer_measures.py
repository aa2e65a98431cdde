"""What scorers are measured and calibrated with, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.scorers.clusters import agreement
from tongwen.curate.scorers.logistic import fit_logistic, sigmoid
from tongwen.curate.scorers.measuring import auc, balanced, calibration, class_report


def test_auc_counts_pairs_and_ties_for_half() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    # Pairs (positive, negative): (.9, .5) and (.9, .1) right, (.5, .5) tied, (.5, .1) right.
    assert auc(scores, np.array([True, True, False, False])) == pytest.approx(3.5 / 4)
    assert auc(scores, np.array([True] * 4)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_ranked_rightly(rows: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    found = auc(np.array([float(score) for score, _ in rows]), np.array([x for _, x in rows]))
    if not positives or not negatives:
        assert found is None
        return
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_calibration_error_weighs_bins_by_their_examples() -> None:
    chances = np.array([0.95, 0.95, 0.95, 0.15])
    outcomes = np.array([1.0, 1.0, 0.0, 1.0])
    found = calibration(chances, outcomes)
    expected = 0.75 * abs(0.95 - 2 / 3) + 0.25 * abs(0.15 - 1)
    assert found["expected_calibration_error"] == pytest.approx(expected, abs=1e-4)
    assert found["brier"] == pytest.approx((2 * 0.05**2 + 0.95**2 + 0.85**2) / 4, abs=1e-4)
    assert [row["examples"] for row in found["reliability"]] == [1, 3]


def test_balanced_weights_give_both_classes_half() -> None:
    labels = np.array([True, False, False, False])
    weights = balanced(labels)
    assert weights[labels].sum() == pytest.approx(weights[~labels].sum()) == pytest.approx(2)


def test_platt_scaling_finds_the_slope_that_made_the_labels() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    logits = generator.normal(0, 2, 20_000)
    labels = generator.random(20_000) < sigmoid(1.5 * logits - 0.7)
    slope, constant = fit_logistic(logits[:, None], labels, np.ones(20_000))
    assert slope == pytest.approx(1.5, abs=0.1)
    assert constant == pytest.approx(-0.7, abs=0.1)


def test_platt_scaling_stays_finite_on_separable_classes() -> None:
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    found = fit_logistic(logits[:, None], logits > 0, np.ones(4))
    assert np.isfinite(found).all()
    assert 0 < found[0] < 10


def test_the_logistic_regression_is_that_of_newtons_method() -> None:
    first = [-0.8, -0.2, 1.1, -0.6, 0.7, 0.3, -1.0, 0.2, -0.1, -0.6, -0.7, -0.1]
    second = [-1.3, 0.4, 0.1, -0.8, 1.6, -1.2, 1.6, -1.7, -1.2, -0.5, 0.6, -0.6]
    is_positive = np.array([place in (1, 5, 7) for place in range(12)])
    weights = np.array([1.3, 0.8, 0.6, 1.2, 0.9, 1.3, 0.7, 0.8, 1.3, 1.0, 1.0, 0.7])
    found = fit_logistic(np.column_stack([first, second]), is_positive, weights, penalty=0.5)
    # From an implementation in NumPy whose penalty on the constant was 1e-6 instead of 0.
    assert found == pytest.approx([0.8186953, -0.41538738, -1.09105305], abs=2e-6)


def test_macro_f1_is_the_mean_over_classes() -> None:
    report = class_report(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["a", "b"])
    assert report["accuracy"] == 0.75
    assert report["classes"]["a"] == {"examples": 1, "precision": 0.5, "recall": 1.0, "f1": 0.6667}
    assert report["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-4)


def test_partitions_agree_fully_with_a_renaming_and_not_with_one_independent_of_them() -> None:
    first = np.array([0, 0, 1, 1, 2, 2])
    assert agreement(first, np.array([2, 2, 0, 0, 1, 1])) == pytest.approx(1)
    assert agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0)
