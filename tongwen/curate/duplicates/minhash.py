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
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from tongwen.curate.text.characters import CodePoints
from tongwen.curate.text.folding import (
    POINTS_A_BYTE,
    FoldTables,
    fold_tables,
    fold_utf8,
    normal_tables,
)
from tongwen.curate.text.units import GOLDEN, SECOND, Hashes, Lengths, fill_units, mix
from tongwen.kernels import kernel

Signatures = npt.NDArray[np.uint32]
SIGNATURE_BYTES = 4  # of one hash
MOST_HASHES = 2047  # two turns for each have to fit above the low 52 bits

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
        digests: xxh3-128 of the letters and digits in normal form, the high half first; zeros
            where there are none.
    """

    signatures: Signatures
    units: npt.NDArray[np.int64]
    digests: Hashes


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
    found, is_left = _sketched(texts, shingles, hashes, seed, fold_tables())
    rows = np.flatnonzero(is_left)
    if len(rows):
        normal = [
            unicodedata.normalize("NFKC", texts[row].as_py()).lower() for row in rows.tolist()
        ]
        again = pa.array(normal, pa.large_string())
        part, _ = _sketched(again, shingles[rows], hashes, seed, normal_tables())
        found.signatures[rows] = part.signatures
        found.units[rows] = part.units
        found.digests[rows] = part.digests
    return found


def _sketched(
    texts: pa.StringArray | pa.LargeStringArray,
    shingles: npt.NDArray[np.int64],
    hashes: int,
    seed: int,
    tables: FoldTables,
) -> tuple[Sketches, npt.NDArray[np.bool_]]:
    """Sketch a batch, and say which texts are left out because they must be normalised first."""
    data, offsets = _buffers(texts)
    bytes_ = np.diff(offsets)
    found = Sketches(
        np.zeros((len(texts), hashes), np.uint32),
        np.zeros(len(texts), np.int64),
        np.zeros((len(texts), 2), np.uint64),
    )
    letters = np.zeros(len(texts), np.int64)
    scratch = _scratch(
        _room(int(bytes_.max(initial=0)) * POINTS_A_BYTE),
        _room(int(bytes_.sum()) * POINTS_A_BYTE + 1),
    )
    _sketch(
        data, offsets, shingles, np.uint64(seed), tables, scratch,
        found.signatures, found.units, letters,
    )  # fmt: skip
    end = 0
    for row, number in enumerate(letters.tolist()):
        if number > 0:
            part = scratch.letters[end : end + number].data
            found.digests[row] = divmod(xxhash.xxh3_128_intdigest(part), 1 << 64)
            end += number
    return found, letters < 0


class _Scratch(NamedTuple):
    """Space for one text at a time, and for the letters of a batch."""

    folded: CodePoints
    units: Hashes
    lengths: Lengths
    values: Hashes
    letters: CodePoints


def _room(number: int) -> int:
    """A power of two that holds so many, 2^16 at least."""
    return 1 << max(16, number.bit_length())


@lru_cache(maxsize=2)
def _scratch(longest: int, batch: int) -> _Scratch:
    """Kept from batch to batch: new memory costs more than what is written to it."""
    return _Scratch(
        np.empty(longest, np.uint32),
        np.empty(longest, np.uint64),
        np.empty(longest, np.int64),
        np.empty(longest, np.uint64),
        np.empty(batch, np.uint32),
    )


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
    data.flags.writeable = False  # some of Arrow's are, some not: two types for numba
    return data, offsets.astype(np.int64)


@kernel(allocates=True)
def _sketch(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    shingles: npt.NDArray[np.int64],
    seed: np.uint64,
    tables: FoldTables,
    scratch: _Scratch,
    signatures: Signatures,
    unit_counts: npt.NDArray[np.int64],
    letter_counts: npt.NDArray[np.int64],
) -> None:
    """Sketch each text. What is in hand of a text stays in the nearest cache.

    `letter_counts` is the number of letters written to `scratch.letters`, or -1 for a text that is
    left out because it must be normalised first (see `fold_utf8`).
    """
    folded, units, lengths, values, letters = scratch
    bins = np.empty(signatures.shape[1], np.uint64)
    written = 0
    for row in range(len(signatures)):
        number = fold_utf8(data, offsets[row], offsets[row + 1], tables, folded)
        if number < 0:
            letter_counts[row] = -1
            continue
        begin = written
        for place in range(number):
            letters[written] = folded[place]
            written += folded[place] != 0
        letter_counts[row] = written - begin
        unit_counts[row] = fill_units(folded[:number], units, lengths)
        if unit_counts[row] == 0:
            continue
        total = shingle_hashes(units[: unit_counts[row]], shingles[row], seed, values)
        fill_bins(values[:total], bins)
        for place in range(len(bins)):
            signatures[row, place] = np.uint32(bins[place] & np.uint64(0xFFFFFFFF))


@kernel
def shingle_hashes(units: Hashes, shingle: int, seed: np.uint64, out: Hashes) -> int:
    """A 64-bit hash of every run of `shingle` units, by a rolling polynomial; gives their number.

    All units make one shingle when there are fewer.
    """
    size = min(shingle, len(units))
    salt = mix(seed + GOLDEN)
    power = np.uint64(1)
    value = np.uint64(0)
    for place in range(size):
        value = value * SECOND + units[place]
        power *= SECOND
    out[0] = mix(value ^ salt)
    for place in range(size, len(units)):
        value = value * SECOND + (units[place] - units[place - size] * power)
        out[place - size + 1] = mix(value ^ salt)
    return len(units) - size + 1


@kernel(allocates=True)
def fill_bins(values: Hashes, bins: Hashes) -> None:
    """Fast Similarity Sketching of at least one element: each bin gets its smallest candidate.

    A candidate is the number of its turn above 52 bits of its hash, so a bin that an earlier turn
    filled is never taken by a later one, and the turns may end when all bins are full. Turns from
    `len(bins)` on throw all elements into one bin each, so none stays empty.
    """
    number = np.uint64(len(bins))
    for place in range(len(bins)):
        bins[place] = _MOST
    for place in range(len(values)):
        value = values[place]
        chosen = ((value >> _HALF) * number) >> _HALF
        bins[chosen] = min(bins[chosen], value & _LOW)
    empty = np.int64(0)
    for place in range(len(bins)):
        empty += bins[place] == _MOST
    turn = 0
    while empty:
        turn += 1
        mark = np.uint64(turn) << _TURN_SHIFT
        for place in range(len(values)):
            value = mix(values[place] + np.uint64(turn) * GOLDEN)
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
        keys = (keys ^ parts[:, :, row]) * GOLDEN
        keys ^= keys >> np.uint64(33)
    return keys


@kernel(allocates=True)
def similarity(first: Signatures, second: Signatures) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of signatures, row by row."""
    shares = np.empty(len(first), np.float64)
    for pair in range(len(first)):
        equal = 0
        for place in range(first.shape[1]):
            equal += first[pair, place] == second[pair, place]
        shares[pair] = equal / first.shape[1]
    return shares
