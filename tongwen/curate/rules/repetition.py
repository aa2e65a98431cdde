"""How much of a text repeats itself: one compiled pass for every n-gram size.

An n-gram can only occur twice where the shorter one that it begins with does, so each size looks
only at the places that the size before left over: few, in a text that says something.
"""

from typing import Any

import numpy as np

from tongwen.curate.text.hash_table import table_slots
from tongwen.curate.text.units import GOLDEN, Hashes, Lengths, mix
from tongwen.kernels import ZERO, inner, kernel


def repetition(
    hashes: Hashes, lengths: Lengths, top: tuple[int, ...], repeated: tuple[int, ...]
) -> dict[str, float]:
    """How much of a text its n-grams repeat (Rae et al. 2021, arXiv 2112.11446, appendix A1.1),
    and the entropy of its units in bits.

    `top_N_gram_share`: characters in occurrences of the most frequent n-gram, of all characters;
    0 when every n-gram occurs once. `repeated_N_gram_share`: characters inside n-grams that
    occurred before, overlaps counted once. `entropy_bits`: a text of n different units has log2 n.
    The sizes ascend, those of `repeated` after those of `top`. A text may have 2^31 units.
    """
    sizes = np.array([*top, *repeated], np.int64)
    assert np.all(np.diff(sizes) >= 0)
    shares = repetition_shares(hashes, lengths, sizes, len(top))
    return dict(zip(repetition_names(top, repeated), shares.tolist(), strict=True))


def repetition_names(top: tuple[int, ...], repeated: tuple[int, ...]) -> list[str]:
    """The names of what `repetition_shares` gives."""
    names = ["entropy_bits", *(f"top_{size}_gram_share" for size in top)]
    return names + [f"repeated_{size}_gram_share" for size in repeated]


@kernel(allocates=True)
def repetition_shares(hashes: Hashes, lengths: Lengths, sizes: Lengths, tops: int) -> Any:
    """The entropy, then a share for each size, the first `tops` of them of most frequent ones."""
    number = len(hashes)
    shares = np.zeros(len(sizes) + 1)
    if number == 0:
        return shares
    total = ZERO
    for place in range(number):
        total += lengths[place]
    total = max(1, total)
    capacity = table_slots(number)
    keys = np.empty(capacity, np.uint64)
    counts = np.zeros(capacity, np.int32)
    grams = np.empty(number, np.uint64)
    starts = np.empty(number, np.int64)
    slots = np.empty(number, np.int64)
    for place in range(number):
        grams[place], starts[place] = hashes[place], place
        slots[place] = _count(grams[place], keys, counts, capacity)
    shares[0] = _entropy_bits(counts, number)
    active = _keep_repeated(grams, starts, slots, counts, number)
    reached = ZERO + 1
    for level in range(len(sizes)):
        size = sizes[level]
        active = _extend(grams, starts, active, hashes, reached, size)
        reached = size
        capacity = table_slots(active)
        for slot in range(capacity):
            counts[slot] = 0
        most, characters, covered_to = 1, 0, 0
        for place in range(active):
            slot = _count(grams[place], keys, counts, capacity)
            slots[place] = slot
            times = counts[slot]
            start = starts[place]
            if times == 1:
                continue
            if level >= tops:
                for unit in range(max(start, covered_to), start + size):
                    characters += lengths[unit]
                covered_to = start + size
            elif times >= most:
                own = ZERO
                for unit in range(start, start + size):
                    own += lengths[unit]
                own *= times
                characters = own if times > most else max(characters, own)
                most = times
        shares[level + 1] = min(1.0, characters / total)
        active = _keep_repeated(grams, starts, slots, counts, active)
    return shares


@inner
def _extend(
    grams: Hashes, starts: Lengths, active: int, hashes: Hashes, reached: int, size: int
) -> int:
    """Make the n-grams longer, in place; those past the end of the text fall away."""
    kept = 0
    for place in range(active):
        start = starts[place]
        if start + size > len(hashes):
            break
        gram = grams[place]
        for offset in range(reached, size):
            gram = (gram * GOLDEN) ^ hashes[start + offset]
        grams[kept] = gram
        starts[kept] = start
        kept += 1
    return kept


@inner
def _count(gram: np.uint64, keys: Hashes, counts: Any, capacity: int) -> Any:
    """Count an n-gram in the open-addressing table; its place there."""
    mask = np.int64(capacity - 1)
    slot = np.int64(mix(gram) & np.uint64(mask))
    while counts[slot] != 0 and keys[slot] != gram:
        slot = (slot + 1) & mask
    keys[slot] = gram
    counts[slot] += 1
    return slot


@inner
def _keep_repeated(grams: Hashes, starts: Lengths, slots: Lengths, counts: Any, active: int) -> int:
    """Keep, in place and in order, the n-grams that occur more than once."""
    kept = 0
    for place in range(active):
        if counts[slots[place]] > 1:
            grams[kept] = grams[place]
            starts[kept] = starts[place]
            kept += 1
    return kept


@inner
def _entropy_bits(counts: Any, number: int) -> Any:
    weighted = 0.0
    for slot in range(len(counts)):
        if counts[slot] > 1:
            weighted += counts[slot] * np.log2(counts[slot])
    return np.log2(number) - weighted / number
