import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tongwen.evaluate.statistics import (
    effective_items,
    estimate,
    holm,
    noise_floor,
    paired_difference,
    standard_error,
    student_p,
    student_quantile,
    unpaired_difference,
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


Draw = Callable[[np.random.Generator], tuple[NDArray[np.float64], NDArray[np.float64], list[str]]]
"""Scores of two models of equal skill on the same items, and the items' clusters."""


def independent(rng: np.random.Generator) -> Any:
    """300 items; one in five is answered differently."""
    first = (rng.random(300) < 0.6).astype(float)
    second = np.where(rng.random(300) < 0.4, rng.random(300) < 0.6, first)
    return first, second.astype(float), [str(n) for n in range(300)]


def rarely_different(rng: np.random.Generator) -> Any:
    """1,000 items; one in twenty-five is answered differently."""
    first = (rng.random(1000) < 0.5).astype(float)
    second = np.where(rng.random(1000) < 0.08, rng.random(1000) < 0.5, first)
    return first, second.astype(float), [str(n) for n in range(1000)]


def clustered(rng: np.random.Generator) -> Any:
    """80 passages with five questions each, which share their fate three times out of four."""
    draws = []
    for _ in range(2):
        fate = np.repeat(rng.random(80) < 0.6, 5)
        draws.append(np.where(rng.random(400) < 0.75, fate, rng.random(400) < 0.6).astype(float))
    return draws[0], draws[1], [str(n // 5) for n in range(400)]


def graded(rng: np.random.Generator) -> Any:
    """200 items with an F1 between 0 and 1, of mean 0.6."""
    skill = rng.beta(3, 2, 200)
    draws = [np.where(rng.random(200) < 0.5, skill, rng.beta(3, 2, 200)) for _ in range(2)]
    return draws[0], draws[1], [str(n) for n in range(200)]


def programs(rng: np.random.Generator) -> Any:
    """164 problems, pass@1 of ten samples each; a problem's chance is uniform, 0.6 in the mean."""
    chance = rng.beta(1.2, 0.8, 164)
    draws = [rng.binomial(10, chance) / 10 for _ in range(2)]
    return draws[0], draws[1], [str(n) for n in range(164)]


@pytest.mark.parametrize("draw", [independent, clustered, graded, programs])
def test_intervals_cover_the_truth_at_their_rate(draw: Draw) -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(800):
        scores, _, clusters = draw(rng)
        interval = estimate(scores.tolist(), clusters).interval
        assert interval is not None
        covered += interval[0] <= 0.6 <= interval[1]
    assert 0.93 <= covered / 800 <= 0.97


@pytest.mark.parametrize("draw", [independent, rarely_different, clustered, graded, programs])
def test_equal_models_are_called_different_at_the_level_of_the_test(draw: Draw) -> None:
    rng = np.random.default_rng(99)
    found = covered = 0
    for _ in range(800):
        first, second, clusters = draw(rng)
        difference = paired_difference(first.tolist(), second.tolist(), clusters)
        assert difference.p_value is not None
        assert difference.interval is not None
        found += difference.p_value < 0.05
        covered += difference.interval[0] <= 0 <= difference.interval[1]
    assert 0.04 <= found / 800 <= 0.06
    assert 0.93 <= covered / 800 <= 0.97


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    found, size = 0, 0.0
    for _ in range(400):
        first, second, clusters = graded(rng)
        detectable = paired_difference(first.tolist(), second.tolist(), clusters).detectable
        assert detectable is not None
        size = size or detectable
        moved = paired_difference(first.tolist(), (second + size).tolist(), clusters)
        assert moved.p_value is not None
        found += moved.p_value < 0.05
    assert 0.72 <= found / 400 <= 0.88


def test_few_differences_are_judged_by_every_way_their_signs_could_be() -> None:
    def p_value(up: int, down: int, same: int = 100) -> float | None:
        first = [0.0] * up + [1.0] * down + [1.0] * same
        second = [1.0] * up + [0.0] * down + [1.0] * same
        return paired_difference(first, second, [str(n) for n in range(len(first))]).p_value

    # McNemar's mid-p: twice the binomial tail, the seen value counted half.
    for up, down in ((1, 0), (5, 0), (6, 1), (3, 3), (10, 2)):
        n, seen = up + down, max(up, down)
        tail = sum(math.comb(n, k) for k in range(seen + 1, n + 1))
        wanted = (2 * tail + math.comb(n, seen) * (1 if 2 * seen != n else 0.5)) / 2**n
        assert p_value(up, down) == pytest.approx(wanted)
    assert p_value(0, 0) == 1.0
    assert p_value(8, 0) == p_value(0, 8)


def test_questions_of_one_passage_count_once() -> None:
    first, second = [0.0] * 40, [1.0] * 20 + [0.0] * 20
    apart = paired_difference(first, second, [str(n) for n in range(40)])
    together = paired_difference(first, second, [str(n // 20) for n in range(40)])
    assert apart.p_value is not None
    assert apart.p_value < 1e-4
    assert together.p_value == 0.5
    alone = paired_difference(first, second, ["a"] * 40)
    assert (alone.p_value, alone.interval, alone.detectable) == (None, None, None)


def test_student_equals_published_values() -> None:
    # Any table of Student's t: degrees of freedom, share, value.
    for freedom, share, value in (
        (1, 0.975, 12.7062), (4, 0.975, 2.7764), (10, 0.95, 1.8125), (30, 0.975, 2.0423),
        (1e6, 0.975, 1.95997), (5, 0.8, 0.9195),
    ):  # fmt: skip
        assert student_quantile(share, freedom) == pytest.approx(value, abs=6e-5)
        assert student_p(value, freedom) == pytest.approx(2 * (1 - share), abs=5e-5)
    assert student_p(0.0, 7) == 1.0


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_different_items_are_compared_without_pairs() -> None:
    value, interval = unpaired_difference([1, 2, 3, 4], list("abcd"), [2, 4, 6, 8], list("efgh"))
    # Welch: variances 5/3 and 20/3, error sqrt(25/12), 4.4118 degrees of freedom.
    reach = student_quantile(0.975, 4.411765) * math.sqrt(25 / 12)
    assert value == 2.5
    assert interval == pytest.approx((2.5 - reach, 2.5 + reach))
    assert unpaired_difference([1.0], ["a"], [0.0], ["b"]) == (-1.0, None)


def test_noise_is_what_is_left_of_a_trend() -> None:
    rng = np.random.default_rng(2)
    scores = np.linspace(0.2, 0.8, 400) + rng.normal(0, 0.03, 400)
    assert noise_floor(scores.tolist()) == pytest.approx(0.03, rel=0.1)
    assert noise_floor([0.1, 0.2]) is None


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
