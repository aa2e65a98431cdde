"""Means with honest error bars: clusters counted as what they are, intervals inside [0, 1]."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054  # 97.5 % point of the normal distribution


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
