"""Texts as points: hashed TF-IDF and its strongest directions, and k-means among them.

Latent semantic analysis (Deerwester et al. 1990) by randomised subspace iteration (Halko,
Martinsson and Tropp 2011, arXiv 0909.4061), spherical k-means (Dhillon and Modha 2001) begun by
k-means++ (Arthur and Vassilvitskii 2007). Everything adds up in one fixed order in this module's
own loops; only small dense factorisations go to LAPACK.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.hashing import CHARACTER, WORD, Hashes, UnitKinds, Units, extended
from tongwen.kernels import kernel

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_OVERSAMPLING = 16
_POWER_STEPS = 3
_MOST_ROUNDS = 40


class SparseRows(NamedTuple):
    """Rows of features: values and their columns, and where each row begins."""

    columns: Places
    values: Floats
    offsets: Places


@kernel(allocates=True)
def _features(
    hashes: Hashes, kinds: UnitKinds, shift: np.uint64, counts: npt.NDArray[np.int32]
) -> Places:
    """Counts words, and pairs of Han characters, in their buckets; gives the buckets in use. All
    of `counts` is 0 before, and the caller clears it.
    """
    used = np.empty(len(hashes), np.int64)
    number = 0
    for place in range(len(hashes)):
        if kinds[place] == WORD:
            bucket = hashes[place] >> shift
        elif kinds[place] == CHARACTER and place and kinds[place - 1] == CHARACTER:
            bucket = extended(hashes[place - 1], hashes[place]) >> shift
        else:
            continue
        if counts[bucket] == 0:
            used[number] = bucket
            number += 1
        counts[bucket] += 1
    return used[:number]


@kernel(allocates=True)
def _embed(
    hashes: Hashes,
    kinds: UnitKinds,
    shift: np.uint64,
    importance: Floats,
    directions: Floats,
    counts: npt.NDArray[np.int32],
) -> Floats:
    point = np.zeros(directions.shape[1], np.float32)
    for bucket in _features(hashes, kinds, shift, counts):
        value = np.float32(np.log(1.0 + counts[bucket])) * importance[bucket]
        counts[bucket] = 0
        if value != 0:
            for column in range(len(point)):
                point[column] += value * directions[bucket, column]
    norm = np.float32(0)
    for column in range(len(point)):
        norm += point[column] * point[column]
    if norm > 0:
        point /= np.sqrt(norm)
    return point


class Embedding:
    """Texts to unit vectors.

    Args:
        importance: inverse document frequency of every bucket.
        directions: of shape (buckets, dimensions).
    """

    def __init__(self, importance: Floats, directions: Floats) -> None:
        self._importance = np.array(importance)
        self._directions = directions
        self._shift = np.uint64(64 - (len(importance).bit_length() - 1))
        self._counts = np.zeros(len(importance), np.int32)

    def point(self, units: Units) -> Floats:
        """The text's direction, of length 1; all zero for a text without a known word."""
        found: Floats = _embed(
            units.hashes, units.kinds, self._shift, self._importance, self._directions,
            self._counts,
        )  # fmt: skip
        return found


def fit_embedding(
    texts: list[Units], *, bits: int, dimensions: int, seed: int
) -> tuple[Floats, Floats]:
    """Importance and directions, the arguments of `Embedding`, learned from texts.

    A bucket in all texts, or in only one, counts for nothing.
    """
    counts = np.zeros(1 << bits, np.int32)
    shift = np.uint64(64 - bits)
    columns, values = [], []
    for units in texts:
        used = _features(units.hashes, units.kinds, shift, counts)
        used.sort()
        columns.append(used)
        values.append(np.log1p(counts[used]).astype(np.float32))
        counts[used] = 0
    every = np.concatenate(columns)
    frequency = np.bincount(every, minlength=1 << bits)
    importance = np.log(len(texts) / np.maximum(frequency, 1)).astype(np.float32)
    importance[frequency < 2] = 0
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(item) for item in columns], out=offsets[1:])
    rows = SparseRows(every, np.concatenate(values) * importance[every], offsets)
    _normalise(*rows)
    return importance, _directions(rows, 1 << bits, min(dimensions, len(texts) - 1), seed)


@kernel(allocates=True)
def _normalise(columns: Places, values: Floats, offsets: Places) -> None:
    for row in range(len(offsets) - 1):
        norm = np.float32(0)
        for place in range(offsets[row], offsets[row + 1]):
            norm += values[place] * values[place]
        if norm > 0:
            for place in range(offsets[row], offsets[row + 1]):
                values[place] /= np.sqrt(norm)


@kernel(allocates=True)
def _times(columns: Places, values: Floats, offsets: Places, dense: Floats) -> Floats:
    """Sparse rows times a dense matrix."""
    result = np.zeros((len(offsets) - 1, dense.shape[1]), np.float32)
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            for column in range(dense.shape[1]):
                result[row, column] += values[place] * dense[columns[place], column]
    return result


@kernel(allocates=True)
def _transposed_times(
    columns: Places, values: Floats, offsets: Places, dense: Floats, size: int
) -> Floats:
    """The transpose of sparse rows times a dense matrix."""
    result = np.zeros((size, dense.shape[1]), np.float32)
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            for column in range(dense.shape[1]):
                result[columns[place], column] += values[place] * dense[row, column]
    return result


def _directions(rows: SparseRows, size: int, dimensions: int, seed: int) -> Floats:
    """The right singular vectors of the largest singular values, signs made definite."""
    generator = np.random.Generator(np.random.PCG64(seed))
    width = min(dimensions + _OVERSAMPLING, len(rows.offsets) - 1)
    guess = generator.standard_normal((size, width)).astype(np.float32)
    for _ in range(_POWER_STEPS):
        left = np.linalg.qr(_times(*rows, guess))[0]
        guess = np.linalg.qr(_transposed_times(*rows, left, size))[0]
    left = np.linalg.qr(_times(*rows, guess))[0]
    small = _transposed_times(*rows, left, size)
    vectors = np.linalg.svd(small, full_matrices=False)[0][:, :dimensions]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return np.ascontiguousarray(vectors * np.where(signs == 0, 1, signs), np.float32)


@kernel(allocates=True)
def nearest(points: Floats, centers: Floats) -> tuple[Places, Floats]:
    """The center with the largest dot product for each point, and that product."""
    places = np.zeros(len(points), np.int64)
    best = np.full(len(points), -2.0, np.float32)
    for row in range(len(points)):
        for center in range(len(centers)):
            product = np.float32(0)
            for column in range(points.shape[1]):
                product += points[row, column] * centers[center, column]
            if product > best[row]:
                best[row] = product
                places[row] = center
    return places, best


def k_means(points: Floats, number: int, seed: int) -> Floats:
    """Centers of length 1, of shape (number, dimensions)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    centers = points[[int(generator.integers(len(points)))]]
    closest = nearest(points, centers)[1]
    while len(centers) < number:
        distance = np.maximum(1 - closest.astype(np.float64), 0)
        total = distance.sum()
        chances = distance / total if total > 0 else np.full(len(points), 1 / len(points))
        chosen = points[[int(generator.choice(len(points), p=chances))]]
        centers = np.concatenate([centers, chosen])
        closest = np.maximum(closest, nearest(points, chosen)[1])
    places = np.full(len(points), -1, np.int64)
    for _ in range(_MOST_ROUNDS):
        before, (places, closest) = places, nearest(points, centers)
        if (before == places).all():
            break
        centers = _means(points, places, centers)
    return centers


@kernel(allocates=True)
def _means(points: Floats, places: Places, centers: Floats) -> Floats:
    """The mean direction of each cluster; one without points stays where it is."""
    sums = np.zeros_like(centers)
    for row in range(len(points)):
        sums[places[row]] += points[row]
    for center in range(len(centers)):
        norm = np.sqrt((sums[center] * sums[center]).sum())
        if norm > 0:
            sums[center] /= norm
        else:
            sums[center] = centers[center]
    return sums
