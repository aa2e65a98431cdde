"""Means with honest error bars: clusters counted as what they are, intervals inside [0, 1]."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_Z = 1.959963984540054  # 97.5 % point of the normal distribution
_FEWEST_FOR_STUDENT = 17  # 2¹⁶ ways to flip the signs of 16 are quickly listed
_FEWEST_FOR_STUDENT_IF_WHOLE = 200  # whole sums meet: at most a few hundred totals, not 2²⁰⁰
_ROUNDING = 1e-9  # sums of scores such as 1/3 differ by less where they are equal


@dataclass(frozen=True)
class Estimate:
    """A mean over items.

    Attributes:
        n: number of items; clusters: of groups of items that depend on one another.
        value: the mean.
        standard_error: cluster-robust; None with a single cluster, where nothing can be said.
        interval: 95 % interval; None where the standard error is.
    """

    n: int
    clusters: int
    value: float
    standard_error: float | None
    interval: tuple[float, float] | None


def estimate(scores: Sequence[float], clusters: Sequence[str], *, highest: float = 1.0) -> Estimate:
    """The mean of `scores`, which lie between 0 and `highest`, with error and 95 % interval.

    Scores that are all 0 or 1 get Wilson's interval (Wilson 1927) on the effective number of
    items, others mean ± 1.96 standard errors, cut at what a mean can be.

    Raises:
        ValueError: there is no score.
    """
    if not scores:
        raise ValueError("no scores")
    mean = math.fsum(scores) / len(scores)
    count = len(set(clusters))
    error = standard_error(scores, clusters)
    is_share = all(score in (0, 1) for score in scores)
    if is_share:
        interval: tuple[float, float] | None = wilson_interval(
            mean, effective_items(scores, clusters)
        )
    elif error is None:
        interval = None
    else:
        interval = max(0.0, mean - _Z * error), min(highest, mean + _Z * error)
    return Estimate(len(scores), count, mean, error, interval)


def standard_error(scores: Sequence[float], clusters: Sequence[str]) -> float | None:
    """Cluster-robust standard error of the mean; None with fewer than two clusters.

    sqrt(G / (G - 1) * sum over clusters of (sum of deviations)²) / n, which is s / sqrt(n) when
    every item is its own cluster (Miller 2024, arXiv:2411.00640, section 2.2, with the
    small-sample factor).
    """
    mean = math.fsum(scores) / len(scores)
    deviations: defaultdict[str, list[float]] = defaultdict(list)
    for score, cluster in zip(scores, clusters, strict=True):
        deviations[cluster].append(score - mean)
    count = len(deviations)
    if count < 2:
        return None
    squares = math.fsum(math.fsum(cluster) ** 2 for cluster in deviations.values())
    return math.sqrt(count / (count - 1) * squares) / len(scores)


def effective_items(scores: Sequence[float], clusters: Sequence[str]) -> float:
    """Number of independent items that would be as informative as these clustered ones.

    n divided by the design effect (Kish 1965), which is never taken to be below 1; the number
    of clusters where no item differs from another, since nothing can be measured then.
    """
    apart = [str(index) for index in range(len(scores))]
    clustered, independent = standard_error(scores, clusters), standard_error(scores, apart)
    if clustered is None or not independent:
        return float(len(set(clusters)))
    return len(scores) / max(1.0, (clustered / independent) ** 2)


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); stays inside [0, 1] and never has width zero."""
    squared = _Z * _Z
    centre = (share + squared / (2 * n)) / (1 + squared / n)
    half = _Z / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Difference:
    """Of the second's mean from the first's, over the same items.

    Attributes:
        n: items; clusters: of them.
        value: second minus first.
        standard_error: cluster-robust; None with a single cluster.
        interval: 95 % interval; None where the standard error is.
        p_value: two-sided, of no difference; None where the standard error is.
        detectable: size of a difference that would be found in four of five tries (power 80 % at
            the 5 % level); None where nothing differed or nothing can be said.
    """

    n: int
    clusters: int
    value: float
    standard_error: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    detectable: float | None


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[str]
) -> Difference:
    """How much higher `second` scores than `first` on the same items, and whether that is chance.

    The test is Student's on cluster-robust errors with clusters - 1 degrees of freedom (Miller
    2024, arXiv:2411.00640, sections 2.2 and 4.2). Where fewer than 17 clusters differ at all, or
    fewer than 200 by whole points, its approximation is coarse, and signs are flipped instead,
    every way there is, ties counted half (mid-p, which keeps the level; Fagerland et al. 2013). For
    items that are right or wrong and independent that is McNemar's mid-p test.

    Raises:
        ValueError: there is no score, or not as many of one as of the other.
    """
    if not first:
        raise ValueError("no scores")
    differences = [after - before for before, after in zip(first, second, strict=True)]
    value = math.fsum(differences) / len(differences)
    count = len(set(clusters))
    error = standard_error(differences, clusters)
    if error is None:
        return Difference(len(differences), count, value, None, None, None, None)
    sums = _cluster_sums(differences, clusters)
    if len(sums) < _FEWEST_FOR_STUDENT or _is_counted(sums):
        p_value = _sign_flip_p(sums)
    else:
        p_value = student_p(value / error, count - 1) if error else 0.0
    reach = student_quantile(0.975, count - 1) * error
    power = student_quantile(0.8, count - 1) * error
    return Difference(
        n=len(differences),
        clusters=count,
        value=value,
        standard_error=error,
        interval=(value - reach, value + reach),
        p_value=p_value,
        detectable=reach + power or None,
    )


def unpaired_difference(
    first: Sequence[float],
    first_clusters: Sequence[str],
    second: Sequence[float],
    second_clusters: Sequence[str],
) -> tuple[float, tuple[float, float] | None]:
    """Second mean minus first, over different items, with its 95 % interval (Welch 1947)."""
    value = math.fsum(second) / len(second) - math.fsum(first) / len(first)
    errors = (standard_error(first, first_clusters), standard_error(second, second_clusters))
    if errors[0] is None or errors[1] is None:
        return value, None
    squares = [error * error for error in errors if error is not None]
    total = math.fsum(squares)
    if total == 0:
        return value, (value, value)
    counts = (len(set(first_clusters)), len(set(second_clusters)))
    parts = [square * square / (n - 1) for square, n in zip(squares, counts, strict=True)]
    reach = student_quantile(0.975, total * total / math.fsum(parts)) * math.sqrt(total)
    return value, (value - reach, value + reach)


def _cluster_sums(differences: Sequence[float], clusters: Sequence[str]) -> list[float]:
    """Sum of the differences of every cluster where it is not zero."""
    sums: defaultdict[str, list[float]] = defaultdict(list)
    for difference, cluster in zip(differences, clusters, strict=True):
        sums[cluster].append(difference)
    totals = (math.fsum(values) for values in sums.values())
    return [total for total in totals if abs(total) > _ROUNDING]


def _is_counted(sums: Sequence[float]) -> bool:
    """Whether all ways to flip the signs can be counted quickly: their totals are whole numbers."""
    return len(sums) < _FEWEST_FOR_STUDENT_IF_WHOLE and all(total.is_integer() for total in sums)


def _sign_flip_p(sums: Sequence[float]) -> float:
    """Two-sided mid-p of a sum when each of its terms could as well have had the other sign."""
    ways: dict[float, int] = {0.0: 1}
    for term in sums:
        grown: defaultdict[float, int] = defaultdict(int)
        for total, count in ways.items():
            grown[round(total + term, 12)] += count
            grown[round(total - term, 12)] += count
        ways = grown
    seen = abs(math.fsum(sums))
    farther = sum(count for total, count in ways.items() if abs(total) > seen + _ROUNDING)
    equal = sum(count for total, count in ways.items() if abs(abs(total) - seen) <= _ROUNDING)
    return float((farther + equal / 2) / 2 ** len(sums)) if sums else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values for the whole family of tests: the chance of any false one stays below the level.

    Holm 1979, step-down; in the order of `p_values`.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def student_p(t: float, freedom: float) -> float:
    """Chance that Student's t with so many degrees of freedom is as far from 0 as `t`."""
    return _beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


@lru_cache(maxsize=1024)
def student_quantile(share: float, freedom: float) -> float:
    """The value below which Student's t is in this share of cases; 0.5 < share < 1."""
    low, high = 0.0, 1.0
    while 1 - student_p(high, freedom) / 2 < share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if 1 - student_p(middle, freedom) / 2 < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction.

    Press et al., Numerical Recipes, section 6.4, with Lentz's method; error below 1e-12.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logarithm + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _beta_fraction(1 - x, b, a) / b
    return front * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    d = 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    c, value = 1.0, d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or tiny)
            c = (1 + numerator / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def noise_floor(scores: Sequence[float]) -> float | None:
    """Spread of a checkpoint's score around its trend; None of fewer than three.

    The root mean square of successive differences over √2 (von Neumann 1941), which a trend
    hardly touches: the standard deviation would take progress for noise.
    """
    if len(scores) < 3:
        return None
    steps = [after - before for before, after in pairwise(scores)]
    return math.sqrt(math.fsum(step * step for step in steps) / (2 * len(steps)))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of `k` samples passes, without bias from `samples` draws.

    1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv:2107.03374, equation 1). Items are
    independent, so the mean over items has the interval of any other mean.

    Raises:
        ValueError: there are fewer samples than k.
    """
    if not 0 < k <= samples or not 0 <= passed <= samples:
        raise ValueError(f"pass@{k} of {samples} samples, {passed} passed")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)
