import math
import random

import pytest

from tongwen.evaluate.statistics import (
    effective_items,
    estimate,
    standard_error,
    wilson_interval,
)


def test_without_clusters_the_error_is_the_usual_one() -> None:
    # s / sqrt(n) of 1, 2, 3, 4: s² = 5/3.
    assert standard_error([1, 2, 3, 4], list("abcd")) == pytest.approx(math.sqrt(5 / 3 / 4))


def test_clusters_add_up_before_they_are_squared() -> None:
    # Mean 0.5; cluster sums of deviations: a: 0.5 + 0.5 = 1, b: -0.5 - 0.5 = -1.
    # sqrt(2 / 1 * (1 + 1)) / 4 = 0.5.
    assert standard_error([1, 1, 0, 0], list("aabb")) == pytest.approx(0.5)
    # Clusters that cancel inside leave no error: a: 0, b: 0.
    assert standard_error([1, 0, 1, 0], list("aabb")) == pytest.approx(0.0)


def test_a_single_cluster_says_nothing_about_the_error() -> None:
    assert standard_error([1, 0, 1], ["a"] * 3) is None
    result = estimate([0.5, 0.25], ["a", "a"])
    assert (result.standard_error, result.interval) == (None, None)


def test_wilson_equals_published_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=5e-5)


def test_perfect_duplicates_do_not_narrow_the_interval() -> None:
    rng = random.Random(5)
    scores = [float(rng.random() < 0.7) for _ in range(60)]
    once = estimate(scores, [str(n) for n in range(60)])
    thrice = estimate(scores * 3, [str(n) for n in range(60)] * 3)
    assert once.interval is not None
    assert thrice.interval == pytest.approx(once.interval, abs=3e-3)
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert (thrice.n, thrice.clusters) == (180, 60)


def test_clusters_never_count_for_more_than_their_items() -> None:
    assert effective_items([1, 0, 1, 0], list("aabb")) == 4
    assert effective_items([1, 1, 1, 1], list("aabb")) == 2


def test_intervals_cover_the_truth_at_their_rate() -> None:
    rng = random.Random(11)
    covered = 0
    for _ in range(400):
        scores, clusters = [], []
        for cluster in range(60):  # items of a cluster share their fate four times out of five
            fate = float(rng.random() < 0.6)
            for _ in range(5):
                scores.append(fate if rng.random() < 0.8 else float(rng.random() < 0.6))
                clusters.append(str(cluster))
        interval = estimate(scores, clusters).interval
        assert interval is not None
        covered += interval[0] <= 0.6 <= interval[1]
    assert 0.92 <= covered / 400 <= 0.98


def test_no_scores_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no scores"):
        estimate([], [])


def test_an_interval_holds_only_what_a_mean_can_be() -> None:
    low = estimate([0.0, 0.0, 0.3], list("abc")).interval
    high = estimate([1.0, 1.0, 0.7], list("abc")).interval
    bits = estimate([1.0, 1.0, 0.7], list("abc"), highest=math.inf).interval
    assert low is not None
    assert high is not None
    assert bits is not None
    assert (low[0], high[1]) == (0.0, 1.0)
    assert bits[1] > 1.0
