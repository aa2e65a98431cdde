"""MinHash signatures (Broder 1997) and their bands, 64 bits a hash.

A text is compared as the set of its shingles: runs of units (words, or single Han characters) in
the normal form of `characters.folded`. Compiled by numba; no Python object per word or shingle.
"""

from functools import cache

import numba
import numpy as np
import numpy.typing as npt

from tongwen.curate.characters import CodePoints
from tongwen.curate.units import mix, units_of

Signature = npt.NDArray[np.uint64]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(33)
_MOST = np.uint64(0xFFFFFFFFFFFFFFFF)


@numba.njit(cache=True)
def _minima(units: Signature, shingle: int, factors: Signature, terms: Signature) -> Signature:
    signature = np.full(len(factors), _MOST, np.uint64)
    size = min(shingle, len(units))
    if size == 0:
        return signature
    for start in range(len(units) - size + 1):
        value = np.uint64(0)
        for offset in range(size):
            value = (value ^ units[start + offset]) * _PRIME
        value = mix(value)
        for row in range(len(factors)):
            candidate = factors[row] * value + terms[row]
            if candidate < signature[row]:
                signature[row] = candidate
    return signature


@cache
def hash_family(number: int, seed: int) -> tuple[Signature, Signature]:
    """Odd factors and terms of `number` multiply-add hashes modulo 2^64."""
    generator = np.random.Generator(np.random.PCG64(seed))
    factors = generator.integers(0, 2**64, number, np.uint64) | np.uint64(1)
    return factors, generator.integers(0, 2**64, number, np.uint64)


def signature(folded: CodePoints, *, shingle: int, hashes: int, seed: int) -> Signature | None:
    """The MinHash signature of a folded text: `hashes` unsigned 64-bit minima; None without units.

    A text shorter than a shingle counts as one shingle.
    """
    factors, terms = hash_family(hashes, seed)
    units = units_of(folded)[0]
    if len(units) == 0:
        return None
    minima: Signature = _minima(units, shingle, factors, terms)
    return minima


def band_keys(signatures: npt.NDArray[np.uint64], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """One key per document and band, of shape (documents, bands); equal rows give equal keys."""
    parts = signatures.reshape(len(signatures), bands, rows)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), parts.shape[:2]).copy()
    for row in range(rows):
        keys = (keys ^ parts[:, :, row]) * _PRIME
        keys ^= keys >> _HALF
    return keys


def similarity(
    first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]
) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of signatures, row by row."""
    equal: npt.NDArray[np.float64] = (first == second).mean(axis=1)
    return equal
