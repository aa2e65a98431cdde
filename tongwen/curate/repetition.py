"""How much of a text repeats itself, one compiled pass for every n-gram size."""

from typing import Any

import numba
import numpy as np

from tongwen.curate.units import Hashes, Lengths, mix

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def repetition(
    hashes: Hashes, lengths: Lengths, top: tuple[int, ...], repeated: tuple[int, ...]
) -> dict[str, float]:
    """How much of a text its n-grams repeat (Rae et al. 2021, arXiv 2112.11446, appendix A1.1).

    `top_N_gram_share`: characters in occurrences of the most frequent n-gram, of all characters;
    0 when every n-gram occurs once. `repeated_N_gram_share`: characters inside n-grams that
    occurred before, overlaps counted once. A text may have 2^31 units.
    """
    sizes = np.array([*top, *repeated], np.int64)
    shares = _shares(hashes, lengths, sizes, len(top))
    names = [f"top_{size}_gram_share" for size in top]
    names += [f"repeated_{size}_gram_share" for size in repeated]
    return dict(zip(names, shares.tolist(), strict=True))


@numba.njit(cache=True)
def _shares(hashes: Hashes, lengths: Lengths, sizes: Lengths, tops: int) -> Any:
    total = max(1, lengths.sum())
    shares = np.zeros(len(sizes))
    capacity = 16
    while capacity < 2 * len(hashes):
        capacity *= 2
    keys = np.empty(capacity, np.uint64)
    counts = np.empty(capacity, np.int32)
    for place in range(len(sizes)):
        size = sizes[place]
        counts[:] = 0
        if place < tops:
            shares[place] = min(1.0, _top(hashes, lengths, size, keys, counts) / total)
        else:
            shares[place] = _repeated(hashes, lengths, size, keys, counts) / total
    return shares


@numba.njit(cache=True)
def _count(hashes: Hashes, start: int, size: int, keys: Hashes, counts: Any) -> int:
    """Count the n-gram at `start` in the open-addressing table; how often it has occurred."""
    gram = hashes[start]
    for offset in range(1, size):
        gram = (gram * _MULTIPLIER) ^ hashes[start + offset]
    mask = np.uint64(len(keys) - 1)
    slot = np.int64(mix(gram) & mask)
    while counts[slot] != 0 and keys[slot] != gram:
        slot = (slot + 1) & np.int64(mask)
    keys[slot] = gram
    counts[slot] += 1
    return int(counts[slot])


@numba.njit(cache=True)
def _top(hashes: Hashes, lengths: Lengths, size: int, keys: Hashes, counts: Any) -> int:
    most, characters = 1, 0
    for start in range(len(hashes) - size + 1):
        number = _count(hashes, start, size, keys, counts)
        if number > 1 and number >= most:
            own = lengths[start : start + size].sum() * number
            characters = own if number > most else max(characters, own)
            most = number
    return int(characters)


@numba.njit(cache=True)
def _repeated(hashes: Hashes, lengths: Lengths, size: int, keys: Hashes, counts: Any) -> int:
    characters, covered_to = 0, 0
    for start in range(len(hashes) - size + 1):
        if _count(hashes, start, size, keys, counts) > 1:
            for unit in range(max(start, covered_to), start + size):
                characters += lengths[unit]
            covered_to = start + size
    return int(characters)
