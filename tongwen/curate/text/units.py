"""The units that n-grams and shingles are made of: words, and single characters where a script
writes no spaces.

So a Latin name in a Chinese text is one unit, not ten, and no word segmentation is needed.
"""

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import CodePoints
from tongwen.kernels import inner, kernel

Hashes = npt.NDArray[np.uint64]
Lengths = npt.NDArray[np.int64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd: multiples of it are far apart (Knuth 1998, The Art of
Computer Programming 3, section 6.4). Odd is all that is asked of a multiplier modulo 2^64."""
SECOND = np.uint64(0xD6E8FEB86659FD93)
"""An odd multiplier for a second, independent hash; 3 modulo 4, so that in a polynomial with powers
of it two units that change places change the low bits too."""
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)


@inner
def mix(value: np.uint64) -> np.uint64:
    """A well-spread 64-bit number from any other (the finalizer of MurmurHash3)."""
    value = (value ^ (value >> _HALF)) * _MIX_1
    value = (value ^ (value >> _HALF)) * _MIX_2
    return value ^ (value >> _HALF)


@inner
def fill_units(folded: CodePoints, hashes: Hashes, lengths: Lengths) -> int:
    """Write a hash of every unit of a folded text, and its length; gives their number.

    Both arrays have room for one unit a point. The loop has no branches: where words end is what a
    CPU cannot predict, and it was half the time.
    """
    number = 0
    value = np.uint64(0)
    length = 0
    was_single = False
    for position in range(len(folded)):
        point = folded[position]
        is_single = (
            (point - np.uint32(0x2E80) < np.uint32(0x7D80))
            | (point - np.uint32(0xF900) < np.uint32(0x200))
            | (point - np.uint32(0x20000) < np.uint32(0x13480))
        )
        is_new = is_single | was_single | (point == 0)
        number += is_new & (length > 0)
        value = (np.uint64(0) if is_new else value * GOLDEN) + np.uint64(point)
        length = (0 if is_new else length) + (point != 0)
        hashes[number] = value
        lengths[number] = length
        was_single = is_single
    number += length > 0
    for unit in range(number):
        hashes[unit] = mix(hashes[unit])
    return number


@kernel(allocates=True)
def units_of(folded: CodePoints) -> tuple[Hashes, Lengths]:
    """A 64-bit hash of every unit of a folded text (see `characters.folded`), and its length in
    characters. Han characters and kana are units of their own.
    """
    hashes = np.empty(len(folded), np.uint64)
    lengths = np.empty(len(folded), np.int64)
    number = fill_units(folded, hashes, lengths)
    return hashes[:number], lengths[:number]
