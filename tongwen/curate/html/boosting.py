"""Training of boosted trees on histograms, compiled.

Gradient boosting of log loss with trees that grow at their best leaf (Friedman 2001,
doi:10.1214/aos/1013203451; Ke et al. 2017, LightGBM). Each feature is cut into at most 127 bins at
its quantiles. One thread adds up in a fixed order, so that a seed gives the same bytes; that is why
no library is used, and 150 lines are enough.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from tongwen.curate.html.forest import Forest

Numbers = npt.NDArray[np.float32]
BINS = 128  # half of what a byte holds; twice as many would double the time of every split


@dataclass(frozen=True)
class Boosting:
    """How trees are grown.

    Attributes:
        trees, leaves: how many, and how many leaves each.
        rate: share of each tree's answer that is added.
        ridge: added to the curvature of a leaf, in rows of weight 1.
        leaf_weight: least curvature of a leaf.
        row_share, column_share: drawn for each tree.
    """

    trees: int = 200
    leaves: int = 31
    rate: float = 0.08
    ridge: float = 2.0
    leaf_weight: float = 0.5
    row_share: float = 0.7
    column_share: float = 0.4


def bins_of(rows: Numbers, most: int = BINS - 1) -> tuple[list[Numbers], npt.NDArray[np.uint8]]:
    """Where each column is cut, and the bin of each value: a row of bins for each column."""
    cuts, binned = [], np.empty((rows.shape[1], len(rows)), np.uint8)
    sample = rows[:: max(1, len(rows) // 50_000)]
    for column in range(rows.shape[1]):
        values = np.unique(sample[:, column])
        if len(values) > most:
            shares = np.linspace(0, 1, most + 1)[1:-1]
            values = np.unique(np.quantile(sample[:, column], shares).astype(np.float32))
        else:
            values = (values[1:] / 2 + values[:-1] / 2).astype(np.float32)
        cuts.append(values)
        binned[column] = np.searchsorted(values, rows[:, column], side="left")
    return cuts, binned


def train(
    cuts: list[Numbers], binned: npt.NDArray[np.uint8], labels: Numbers, weights: Numbers,
    how: Boosting, seed: int,
) -> Forest:  # fmt: skip
    """Trees for labels between 0 and 1. Weights have a mean of about 1."""
    generator = np.random.default_rng(seed)
    count, columns = len(labels), len(cuts)
    share = float((labels * weights).sum() / weights.sum())
    start = np.log(max(share, 1e-6) / max(1 - share, 1e-6))
    scores = np.full(count, start, np.float32)
    roots, features, values, lefts = [0], [np.array([-1])], [np.array([start])], [np.array([0])]
    at = 1
    usable = np.array([n for n in range(columns) if len(cuts[n])])
    for _ in range(how.trees):
        chances = 1 / (1 + np.exp(-scores.astype(np.float64)))
        gradients, curvatures = (chances - labels) * weights, chances * (1 - chances) * weights
        slopes = np.stack([gradients, curvatures], axis=1).astype(np.float32)
        drawn = np.flatnonzero(generator.random(count) < how.row_share).astype(np.int32)
        chosen = np.sort(
            generator.choice(usable, max(1, int(len(usable) * how.column_share)), False)
        )
        tree = _grow(binned, chosen, slopes, drawn, how.leaves, how.ridge, how.leaf_weight)
        feature, cut, left, value, nodes = tree
        value = (value * how.rate).astype(np.float32)
        _add(binned, feature, cut, left, value, scores)
        limits = np.array(
            [cuts[f][c] if f >= 0 else v for f, c, v in zip(feature, cut, value, strict=True)][
                :nodes
            ]
        )
        roots.append(at)
        features.append(feature[:nodes])
        values.append(limits)
        lefts.append(left[:nodes])
        at += nodes
    return Forest(
        np.array(roots, np.int32), np.concatenate(features).astype(np.int16),
        np.concatenate(values).astype(np.float32), np.concatenate(lefts).astype(np.uint16),
    )  # fmt: skip


@numba.njit(cache=True)
def _histogram(binned: Any, chosen: Any, slopes: Any, rows: Any, near: Any, out: Any) -> None:
    for n in range(len(rows)):  # side by side, for every column reads them
        near[n, 0], near[n, 1] = slopes[rows[n], 0], slopes[rows[n], 1]
    out[:] = 0.0
    for place in range(len(chosen)):
        column, bins = binned[chosen[place]], out[place]
        for n in range(len(rows)):
            value = column[rows[n]]
            bins[value, 0] += near[n, 0]
            bins[value, 1] += near[n, 1]


@numba.njit(cache=True)
def _best_splits(histogram: Any, sums: Any, ridge: float, least: float, out: Any) -> None:
    """For each column the gain of its best cut, and the cut."""
    total, curvature = sums[0], sums[1]
    whole = total * total / (curvature + ridge)
    for place in range(len(histogram)):
        out[place, 0], out[place, 1] = 0.0, 0.0
        left, left_curvature = 0.0, 0.0
        for cut in range(BINS - 1):
            left += histogram[place, cut, 0]
            left_curvature += histogram[place, cut, 1]
            right, right_curvature = total - left, curvature - left_curvature
            if left_curvature < least or right_curvature < least:
                continue
            gain = left * left / (left_curvature + ridge) - whole
            gain += right * right / (right_curvature + ridge)
            if gain > out[place, 0]:
                out[place, 0], out[place, 1] = gain, cut


@numba.njit(cache=True)
def _grow(
    binned: Any, chosen: Any, slopes: Any, rows: Any, leaves: int, ridge: float, least: float
) -> Any:
    """One tree: its columns, cuts, left nodes and values, and how many nodes it has."""
    most = 2 * leaves
    feature, cut = np.full(most, -1, np.int64), np.zeros(most, np.int64)
    left, value = np.zeros(most, np.int64), np.zeros(most)
    histograms = np.zeros((leaves + 1, len(chosen), BINS, 2))
    splits = np.zeros((leaves + 1, len(chosen), 2))
    sums = np.zeros((leaves + 1, 2))
    # A leaf is a stretch of `rows`, a place in `histograms` and a node.
    starts, ends = np.zeros(leaves + 1, np.int64), np.zeros(leaves + 1, np.int64)
    nodes = np.zeros(leaves + 1, np.int64)
    starts[0], ends[0] = 0, len(rows)
    for row in rows:
        sums[0] += slopes[row]
    near = np.empty((len(rows), 2), np.float32)
    _histogram(binned, chosen, slopes, rows, near, histograms[0])
    _best_splits(histograms[0], sums[0], ridge, least, splits[0])
    used, count = 1, 1
    spare = np.empty(len(rows), rows.dtype)
    while used < leaves:
        leaf, place, gain = -1, -1, 1e-9
        for n in range(used):
            for column in range(len(chosen)):
                if splits[n, column, 0] > gain:
                    leaf, place, gain = n, column, splits[n, column, 0]
        if leaf < 0:
            break
        where = np.int64(splits[leaf, place, 1])
        column = binned[chosen[place]]
        middle, behind = starts[leaf], 0
        for n in range(starts[leaf], ends[leaf]):
            row = rows[n]
            if column[row] <= where:
                rows[middle] = row
                middle += 1
            else:
                spare[behind] = row
                behind += 1
        for n in range(behind):
            rows[middle + n] = spare[n]
        node, new = nodes[leaf], used
        feature[node], cut[node], left[node] = chosen[place], where, count
        starts[new], ends[new] = middle, ends[leaf]
        ends[leaf] = middle
        nodes[leaf], nodes[new] = count, count + 1
        count += 2
        used += 1
        # The histogram of the smaller part is counted, that of the larger is what is left.
        small, large = (leaf, new)
        if ends[leaf] - starts[leaf] > ends[new] - starts[new]:
            small, large = new, leaf
        parent, parent_sums = histograms[leaf].copy(), sums[leaf].copy()
        members = rows[starts[small] : ends[small]]
        _histogram(binned, chosen, slopes, members, near, histograms[small])
        sums[small] = 0.0
        for row in members:
            sums[small] += slopes[row]
        histograms[large] = parent - histograms[small]
        sums[large] = parent_sums - sums[small]
        for n in (small, large):
            _best_splits(histograms[n], sums[n], ridge, least, splits[n])
    for n in range(used):
        value[nodes[n]] = -sums[n, 0] / (sums[n, 1] + ridge)
    return feature, cut, left, value, count


@numba.njit(cache=True)
def _add(binned: Any, feature: Any, cut: Any, left: Any, value: Any, scores: Any) -> None:
    for row in range(len(scores)):
        node = 0
        while feature[node] >= 0:
            node = left[node] + np.int64(binned[feature[node], row] > cut[node])
        scores[row] += value[node]
