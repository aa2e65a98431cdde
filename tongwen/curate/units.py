"""The units that n-grams and shingles are made of: words, and single characters where a script
writes no spaces.

So a Latin name in a Chinese text is one unit, not ten, and no word segmentation is needed.
"""

import numba
import numpy as np
import numpy.typing as npt

from tongwen.curate.characters import CodePoints

Hashes = npt.NDArray[np.uint64]
Lengths = npt.NDArray[np.int64]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)


@numba.njit(cache=True)
def mix(value: np.uint64) -> np.uint64:
    """A well-spread 64-bit number from any other (the finalizer of MurmurHash3)."""
    value = (value ^ (value >> _HALF)) * _MIX_1
    value = (value ^ (value >> _HALF)) * _MIX_2
    return value ^ (value >> _HALF)


@numba.njit(cache=True)
def units_of(folded: CodePoints) -> tuple[Hashes, Lengths]:
    """A 64-bit hash of every unit of a folded text (see `characters.folded`), and its length in
    characters. Han characters and kana are units of their own.
    """
    hashes = np.empty(len(folded), np.uint64)
    lengths = np.empty(len(folded), np.int64)
    number = 0
    value = np.uint64(0)
    length = 0
    for position in range(len(folded) + 1):
        point = folded[position] if position < len(folded) else np.uint32(0)
        is_single = (
            0x2E80 <= point < 0xAC00 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x33480
        )
        if length and (point == 0 or is_single):
            hashes[number] = mix(value)
            lengths[number] = length
            number += 1
            value = np.uint64(0)
            length = 0
        if is_single:
            hashes[number] = mix(np.uint64(point))
            lengths[number] = 1
            number += 1
        elif point != 0:
            value = (value + np.uint64(point)) * _PRIME
            value ^= value >> _HALF
            length += 1
    return hashes[:number], lengths[:number]
