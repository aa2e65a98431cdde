"""Texts as points: hashed TF-IDF and its strongest directions, and k-means among them.

Latent semantic analysis (Deerwester et al. 1990) and k-means; both are scikit-learn's (the extra
`scorers`) and only training needs them.
"""

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.hashing import CHARACTER, WORD, Hashes, UnitKinds, Units, extended
from tongwen.kernels import kernel

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

# Halko et al. 2011 (section 4.2) advise 5 to 10; a quarter more of 64 costs little.
_OVERSAMPLING = 16
_POWER_STEPS = 3  # the singular values of text fall slowly; each step is two more passes
_MOST_ROUNDS = 40  # bounds the time; the centres hardly move by then


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
    # `counts` has a place for every bucket and comes in as zeros: clearing only the buckets in use
    # costs the length of the text, a fresh array of 2^bits would cost more than most texts.
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

    A bucket in all texts, or in only one, counts for nothing. The directions are the right singular
    vectors of the largest singular values, by scikit-learn.
    """
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

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
    weighted = np.concatenate(values) * importance[every]
    rows = normalize(csr_matrix((weighted, every, offsets), shape=(len(texts), 1 << bits)))
    svd = TruncatedSVD(
        min(dimensions, len(texts) - 1), n_iter=_POWER_STEPS, n_oversamples=_OVERSAMPLING,
        random_state=seed,
    )  # fmt: skip
    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        svd.fit(rows)
    return importance, np.ascontiguousarray(svd.components_.T, np.float32)


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
    """Centers of length 1, of shape (number, dimensions), by scikit-learn's k-means.

    Among points of length 1 the center at the smallest distance is all but always the one with the
    largest dot product, by which texts are assigned later.
    """
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums in one order, whatever the number of cores
        found = KMeans(number, n_init=1, max_iter=_MOST_ROUNDS, random_state=seed).fit(points)
    return np.ascontiguousarray(normalize(found.cluster_centers_), np.float32)
