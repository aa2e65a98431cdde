"""MinHash signatures of texts, their bands and the similarity they estimate.

A text is compared as the set of its shingles: runs of units (words, or single Han characters) in
the normal form of `characters.folded`. The signature is the Fast Similarity Sketch of Dahlgaard,
Knudsen and Thorup (2017, arXiv 1704.04370, section 2): every shingle is thrown into one of k bins,
each bin keeps the smallest, and turns go on until no bin is empty. The share of equal bins is an
unbiased estimate of the Jaccard similarity, as with k independent hashes (Broder 1997), but costs
one hash a shingle instead of k, and k log k for short texts. Hashes have 64 bits; the low 32 bits
of each minimum are stored (Li and König 2010, arXiv 0910.3349): 2 in 10^10 bins agree by chance.
"""

import unicodedata
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.curate.characters import CodePoints
from tongwen.curate.folding import (
    POINTS_A_BYTE,
    FoldTables,
    fold_tables,
    fold_utf8,
    normal_tables,
)
from tongwen.curate.units import Hashes, fill_units, mix

Signatures = npt.NDArray[np.uint32]
SIGNATURE_BYTES = 4  # of one hash
MOST_HASHES = 2047  # two turns for each have to fit above the low 52 bits

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd and 3 modulo 4: swapped units change the low bits too
_HALF = np.uint64(32)
_MOST = np.uint64(0xFFFFFFFFFFFFFFFF)
_TURN_SHIFT = np.uint64(52)
_LOW = np.uint64((1 << 52) - 1)


@dataclass(frozen=True)
class Sketches:
    """What a batch of texts is compared by, row by row.

    Attributes:
        signatures: of shape (texts, hashes); zeros where a text has no units.
        units: how many units each text has.
        folded: the letters and digits of all texts in normal form, one after another.
        offsets: where each text's begin in `folded`, and the end.
    """

    signatures: Signatures
    units: npt.NDArray[np.int64]
    folded: CodePoints
    offsets: npt.NDArray[np.int64]


def sketch_texts(
    texts: pa.StringArray | pa.LargeStringArray,
    shingles: npt.NDArray[np.int64],
    *,
    hashes: int,
    seed: int,
) -> Sketches:
    """Fold and sketch a batch of texts without nulls.

    Args:
        texts: the batch; its buffers are read in place.
        shingles: units a shingle, for each text. A text shorter than that is one shingle.
        hashes: bins of a signature, 1 to `MOST_HASHES`.
        seed: another one gives independent signatures.
    """
    data, offsets = _buffers(texts)
    bytes_ = np.diff(offsets)
    signatures = np.zeros((len(texts), hashes), np.uint32)
    units = np.zeros(len(texts), np.int64)
    points = np.empty(int(bytes_.sum()) * POINTS_A_BYTE + 1, np.uint32)
    found = np.zeros(len(texts), np.int64)
    longest = int(bytes_.max(initial=0)) * POINTS_A_BYTE
    _sketch(
        data, offsets, shingles, np.uint64(seed), fold_tables(), longest,
        signatures, units, points, found,
    )  # fmt: skip
    whole = np.flatnonzero(found < 0)
    if not len(whole):
        return Sketches(signatures, units, points, np.concatenate(([0], np.cumsum(found))))
    return _with_normalised(texts, whole, shingles, seed, signatures, units, points, found)


def _with_normalised(
    texts: pa.StringArray | pa.LargeStringArray,
    whole: npt.NDArray[np.int64],
    shingles: npt.NDArray[np.int64],
    seed: int,
    signatures: Signatures,
    units: npt.NDArray[np.int64],
    points: CodePoints,
    found: npt.NDArray[np.int64],
) -> Sketches:
    """Put the rows `whole`, which the kernel left out, between the others."""
    normal = [unicodedata.normalize("NFKC", texts[row].as_py()).lower() for row in whole.tolist()]
    data, offsets = _buffers(pa.array(normal, pa.large_string()))
    rows = np.zeros((len(whole), signatures.shape[1]), np.uint32)
    row_units, row_found = np.zeros(len(whole), np.int64), np.zeros(len(whole), np.int64)
    row_points = np.empty(len(data) + 1, np.uint32)
    longest = int(np.diff(offsets).max())
    _sketch(
        data, offsets, shingles[whole], np.uint64(seed), normal_tables(), longest,
        rows, row_units, row_points, row_found,
    )  # fmt: skip
    signatures[whole], units[whole] = rows, row_units
    parts = np.split(points[: found[found > 0].sum()], np.cumsum(np.maximum(found, 0))[:-1])
    for row, part in zip(whole, np.split(row_points, np.cumsum(row_found))[:-1], strict=True):
        parts[row] = part
    found[whole] = row_found
    return Sketches(signatures, units, np.concatenate(parts), np.append(0, np.cumsum(found)))


def _buffers(
    texts: pa.StringArray | pa.LargeStringArray,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of an array of strings and where each begins in them; the end last."""
    dtype = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offset_buffer, data_buffer = texts.buffers()
    if offset_buffer is None or not len(texts):
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, dtype)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    return data, offsets.astype(np.int64)


@numba.njit(cache=True, nogil=True)
def _sketch(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    shingles: npt.NDArray[np.int64],
    seed: np.uint64,
    tables: FoldTables,
    longest: int,
    signatures: Signatures,
    unit_counts: npt.NDArray[np.int64],
    points: CodePoints,
    found: npt.NDArray[np.int64],
) -> None:
    """Sketch each text. Scratch space for one text stays in the nearest cache.

    `found` is the number of letters written to `points`, or -1 for a text that is left out because
    it must be normalised first (see `fold_utf8`).
    """
    folded = np.empty(longest, np.uint32)
    units = np.empty(longest, np.uint64)
    lengths = np.empty(longest, np.int64)
    values = np.empty(longest, np.uint64)
    bins = np.empty(signatures.shape[1], np.uint64)
    written = 0
    for row in range(len(signatures)):
        number = fold_utf8(data, offsets[row], offsets[row + 1], tables, folded)
        if number < 0:
            found[row] = -1
            continue
        begin = written
        for place in range(number):
            points[written] = folded[place]
            written += folded[place] != 0
        found[row] = written - begin
        unit_counts[row] = fill_units(folded[:number], units, lengths)
        if unit_counts[row] == 0:
            continue
        total = shingle_hashes(units[: unit_counts[row]], shingles[row], seed, values)
        fill_bins(values[:total], bins)
        for place in range(len(bins)):
            signatures[row, place] = np.uint32(bins[place] & np.uint64(0xFFFFFFFF))


@numba.njit(cache=True, nogil=True)
def shingle_hashes(units: Hashes, shingle: int, seed: np.uint64, out: Hashes) -> int:
    """A 64-bit hash of every run of `shingle` units, by a rolling polynomial; gives their number.

    All units make one shingle when there are fewer.
    """
    size = min(shingle, len(units))
    salt = mix(seed + _PRIME)
    power = np.uint64(1)
    value = np.uint64(0)
    for place in range(size):
        value = value * _BASE + units[place]
        power *= _BASE
    out[0] = mix(value ^ salt)
    for place in range(size, len(units)):
        value = value * _BASE + (units[place] - units[place - size] * power)
        out[place - size + 1] = mix(value ^ salt)
    return len(units) - size + 1


@numba.njit(cache=True, nogil=True)
def fill_bins(values: Hashes, bins: Hashes) -> None:
    """Fast Similarity Sketching of at least one element: each bin gets its smallest candidate.

    A candidate is the number of its turn above 52 bits of its hash, so a bin that an earlier turn
    filled is never taken by a later one, and the turns may end when all bins are full. Turns from
    `len(bins)` on throw all elements into one bin each, so none stays empty.
    """
    number = np.uint64(len(bins))
    bins[:] = _MOST
    for place in range(len(values)):
        value = values[place]
        chosen = ((value >> _HALF) * number) >> _HALF
        bins[chosen] = min(bins[chosen], value & _LOW)
    empty = (bins == _MOST).sum()
    turn = 0
    while empty:
        turn += 1
        mark = np.uint64(turn) << _TURN_SHIFT
        for place in range(len(values)):
            value = mix(values[place] + np.uint64(turn) * _PRIME)
            chosen = ((value >> _HALF) * number) >> _HALF
            if turn >= len(bins):
                chosen = np.uint64(turn - len(bins))
            empty -= bins[chosen] == _MOST
            bins[chosen] = min(bins[chosen], mark | (value & _LOW))


def band_keys(signatures: Signatures, bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """One key per document and band, of shape (documents, bands); equal rows give equal keys.

    Hashes past the last band are left out.
    """
    parts = signatures[:, : bands * rows].reshape(len(signatures), bands, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), parts.shape[:2]).copy()
    for row in range(rows):
        keys = (keys ^ parts[:, :, row]) * _PRIME
        keys ^= keys >> np.uint64(33)
    return keys


@numba.njit(cache=True, nogil=True)
def similarity(first: Signatures, second: Signatures) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of signatures, row by row."""
    shares = np.empty(len(first), np.float64)
    for pair in range(len(first)):
        equal = 0
        for place in range(first.shape[1]):
            equal += first[pair, place] == second[pair, place]
        shares[pair] = equal / first.shape[1]
    return shares
