"""Byte-pair encoding of whole batches, compiled: the ids of SentencePiece, many times faster.

Two characters that are adjacent in no piece can never be merged, so a text can be split there into
segments that are encoded independently with the same result: words, numbers, runs of two or three
Chinese characters. Most segments come again and again, and their ids are looked up; the others are
merged, best piece first, leftmost first (Sennrich, Haddow and Birch 2016, arXiv:1508.07909, in the
order of google/sentencepiece). Unlike the pre-tokenization of other encoders the cuts follow from
the vocabulary alone and change no id.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.kernels import inner, kernel

KEY_BYTES = 16
"""Segments up to this length are looked up: 98.8 % of them in a bilingual mixture."""
SHORT = 256
"""Characters of a segment up to which the best pair is found by looking at all."""
_NO_RANK = np.int64(1) << np.int64(40)
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xC2B2AE3D27D4EB4F)
_THIRD = np.uint64(0x165667B19E3779F9)
_PLACE_BITS = np.int64(32)
# Slots that a segment may be in. A new one takes the last: what was met early, and so is frequent,
# stays; 64 MB/s for 48 with a table that is emptied when full (2026-11).
_WAYS = 4
_PLACES = np.int64((1 << 32) - 1)


class Rules(NamedTuple):
    """A vocabulary as arrays; `tongwen.tokenizer.bulk` makes it.

    Attributes:
        symbols: int32 [0x110000], piece of every character, -1 for one that is spelt in bytes.
        ascii_joins: bool [128 * 128], whether some piece has the one after the other.
        joins: int64 [power of two], hash table of the other such pairs, -1 where empty.
        merge_keys: int64 [power of two], hash table of left piece << 32 | right piece.
        merge_ranks: int64, same shape, rank of the union; 0 is the best.
        rank_pieces: int32 [merges], piece of a rank.
        byte_pieces: int32 [256], piece of every byte.
    """

    symbols: npt.NDArray[np.int32]
    ascii_joins: npt.NDArray[np.bool_]
    joins: npt.NDArray[np.int64]
    merge_keys: npt.NDArray[np.int64]
    merge_ranks: npt.NDArray[np.int64]
    rank_pieces: npt.NDArray[np.int32]
    byte_pieces: npt.NDArray[np.int32]


class Seen(NamedTuple):
    """Segments that were met, with their ids. A new one takes the place of another when full.

    Attributes:
        slots: uint64 [power of two, 4]: two words of bytes, length | ids << 8 (0: empty), and the
            ids themselves if there are at most two.
        ids: int32 [same, KEY_BYTES], ids of segments with more than two.
    """

    slots: npt.NDArray[np.uint64]
    ids: npt.NDArray[np.int32]


@inner(forceinline=True)
def _slot(key: Any, mask: Any) -> Any:
    """Where the search for a key of two numbers starts."""
    mixed = np.uint64(key) * _FIRST
    return np.int64((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(17)) & mask


@kernel
def fill(
    keys: npt.NDArray[np.int64],
    values: npt.NDArray[np.int64],
    table: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
) -> None:
    """Put keys and their values into a hash table that is empty (-1) and at most half full."""
    mask = len(table) - 1
    for number in range(len(keys)):
        slot = _slot(keys[number], mask)
        while table[slot] >= 0 and table[slot] != keys[number]:
            slot = (slot + 1) & mask
        table[slot] = keys[number]
        found[slot] = values[number]


@inner(forceinline=True)
def _rank(rules: Any, left: Any, right: Any) -> Any:
    """Rank of the union of two pieces, `_NO_RANK` when there is none."""
    key = np.int64(left) << np.int64(32) | np.int64(right)
    mask = len(rules.merge_keys) - 1
    slot = _slot(key, mask)
    while rules.merge_keys[slot] >= 0:
        if rules.merge_keys[slot] == key:
            return rules.merge_ranks[slot]
        slot = (slot + 1) & mask
    return _NO_RANK


@inner(forceinline=True)
def _joins(rules: Any, left: Any, right: Any) -> Any:
    """Whether some piece has these two characters side by side."""
    if left < 128 and right < 128:
        return rules.ascii_joins[left << 7 | right]
    key = np.int64(left) << np.int64(32) | np.int64(right)
    mask = len(rules.joins) - 1
    slot = _slot(key, mask)
    while rules.joins[slot] >= 0:
        if rules.joins[slot] == key:
            return True
        slot = (slot + 1) & mask
    return False


@inner(forceinline=True)
def _character(data: Any, place: Any) -> Any:
    """The character at a place of valid UTF-8, and the place after it."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, place + 1
    second = np.int64(data[place + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, place + 2
    third = np.int64(data[place + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, place + 3
    return (first & 7) << 18 | second << 12 | third << 6 | np.int64(
        data[place + 3]
    ) & 0x3F, place + 4


@inner
def _merge_short(rules: Any, pieces: Any, ranks: Any, count: Any) -> Any:
    """Merge the first `count` of `pieces` in place; how many are left."""
    for number in range(count - 1):
        ranks[number] = _rank(rules, pieces[number], pieces[number + 1])
    while count > 1:
        best = 0
        for number in range(1, count - 1):
            if ranks[number] < ranks[best]:
                best = number
        if ranks[best] == _NO_RANK:
            break
        pieces[best] = rules.rank_pieces[ranks[best]]
        count -= 1
        for number in range(best + 1, count):
            pieces[number] = pieces[number + 1]
            ranks[number - 1] = ranks[number]
        if best > 0:
            ranks[best - 1] = _rank(rules, pieces[best - 1], pieces[best])
        if best + 1 < count:
            ranks[best] = _rank(rules, pieces[best], pieces[best + 1])
    return count


@inner
def _merge_segment(
    rules: Any, data: Any, start: Any, end: Any, pieces: Any, ranks: Any, out: Any, filled: Any
) -> Any:
    """Write the ids of `data[start:end]` to `out` from `filled` on; the place after them.

    -1, and nothing is written, when it has more characters than `SHORT`.
    """
    count = 0
    place = start
    while place < end and count < SHORT:
        character, place = _character(data, place)
        pieces[count] = rules.symbols[character]
        count += 1
    if place < end:
        return -1
    count = _merge_short(rules, pieces, ranks, count)
    for number in range(count):
        out[filled + number] = pieces[number]
    return filled + count


@inner
def _merge_and_remember(
    rules: Any, seen: Any, data: Any, start: Any, end: Any, pieces: Any, ranks: Any, out: Any,
    filled: Any, slot: Any,
) -> Any:  # fmt: skip
    """As `_merge_segment`, and put the segment into a slot."""
    stop = _merge_segment(rules, data, start, end, pieces, ranks, out, filled)
    count = stop - filled
    seen.slots[slot, 0], seen.slots[slot, 1] = _words(data, start, end)
    seen.slots[slot, 2] = np.uint64(end - start) | np.uint64(count) << np.uint64(8)
    if count > 2:
        for number in range(count):
            seen.ids[slot, number] = out[filled + number]
    else:
        packed = np.uint64(out[filled])
        if count == 2:
            packed |= np.uint64(out[filled + 1]) << np.uint64(32)
        seen.slots[slot, 3] = packed
    return stop


@inner(forceinline=True)
def _words(data: Any, start: Any, end: Any) -> Any:
    """The bytes of a segment as two numbers."""
    first = second = np.uint64(0)
    for number in range(min(8, end - start)):
        first |= np.uint64(data[start + number]) << np.uint64(8 * number)
    for number in range(8, end - start):
        second |= np.uint64(data[start + number]) << np.uint64(8 * (number - 8))
    return first, second


@inner(forceinline=True)
def _look_up_segment(
    rules: Any, seen: Any, data: Any, start: Any, end: Any, pieces: Any, ranks: Any, out: Any,
    filled: Any,
) -> Any:  # fmt: skip
    """As `_merge_segment` for a segment of at most `KEY_BYTES`, which it need not merge twice."""
    first, second = _words(data, start, end)
    mixed = (first ^ (second * _SECOND)) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _THIRD
    home = np.int64(mixed >> np.uint64(24)) & (len(seen.slots) - 1)
    length = np.uint64(end - start)
    slot = home
    for way in range(_WAYS):
        slot = home ^ way
        found = seen.slots[slot, 2]
        if found == 0:
            break
        if (
            seen.slots[slot, 0] == first
            and seen.slots[slot, 1] == second
            and found & np.uint64(0xFF) == length
        ):
            count = np.int64(found >> np.uint64(8))
            if count <= 2:
                packed = seen.slots[slot, 3]
                out[filled] = np.int32(packed & np.uint64(0xFFFFFFFF))
                out[filled + 1] = np.int32(packed >> np.uint64(32))
            else:
                for number in range(count):
                    out[filled + number] = seen.ids[slot, number]
            return filled + count
    return _merge_and_remember(rules, seen, data, start, end, pieces, ranks, out, filled, slot)


@inner(forceinline=True)
def _segment_end(rules: Any, data: Any, place: Any, stop: Any, character: Any) -> Any:
    """The first place from `place` on, `character` before it, that no piece can reach across."""
    while place < stop:
        following, beyond = _character(data, place)
        if not _joins(rules, character, following):
            break
        character, place = following, beyond
    return place


@kernel
def encode_texts(
    rules: Any,
    seen: Any,
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    end_id: int,
    scratch: Any,
    out: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
) -> bool:
    """Write the ids of many texts to `out`, one after the other. False: a long segment is next.

    Args:
        rules: the vocabulary.
        seen: segments met so far; grows.
        data: uint8 [bytes], valid UTF-8.
        offsets: int64 [texts + 1], where the texts start and end in `data`.
        end_id: put after every text, unless it is -1.
        scratch: int32 [SHORT] and int64 [SHORT], overwritten.
        out: int32 [bytes of the texts + texts] or more, to be written.
        starts: int64 [texts + 1], to be written: where the ids of the texts start and end.
        state: int64 [4], where to continue: text, place in `data`, ids written. After False the
            fourth is the place where the long segment ends; it starts at the second.
    """
    pieces, ranks = scratch
    text, place, filled = state[0], state[1], state[2]
    while text + 1 < len(offsets):
        stop = offsets[text + 1]
        while place < stop:
            start = place
            character, place = _character(data, place)
            symbol = rules.symbols[character]
            if symbol < 0:
                for number in range(start, place):
                    out[filled] = rules.byte_pieces[data[number]]
                    filled += 1
                continue
            single = place
            place = _segment_end(rules, data, place, stop, character)
            if place == single:
                out[filled] = symbol
                filled += 1
            elif place - start <= KEY_BYTES:
                filled = _look_up_segment(
                    rules, seen, data, start, place, pieces, ranks, out, filled
                )
            else:
                after = _merge_segment(rules, data, start, place, pieces, ranks, out, filled)
                if after < 0:
                    state[0], state[1], state[2], state[3] = text, start, filled, place
                    return False
                filled = after
        if end_id >= 0:
            out[filled] = end_id
            filled += 1
        text += 1
        starts[text] = filled
    state[2] = filled
    return True


@inner
def _push(heap: Any, size: Any, pair: Any) -> None:
    """Put a pair into a binary heap of `size` pairs."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] <= pair:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = pair


@inner
def _sift(heap: Any, size: Any, place: Any) -> None:
    """Move the pair at `place` down to where it belongs in a heap of `size` pairs."""
    pair = heap[place]
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if pair <= heap[below]:
            break
        heap[place] = heap[below]
        place = below
    heap[place] = pair


@inner
def _all_pairs(rules: Any, pieces: Any, count: Any, heap: Any) -> Any:
    """Make a heap of all pairs that can be merged; how many they are."""
    size = 0
    for left in range(count - 1):
        rank = _rank(rules, pieces[left], pieces[left + 1])
        if rank != _NO_RANK:
            heap[size] = rank << _PLACE_BITS | left
            size += 1
    for number in range(size // 2 - 1, -1, -1):
        _sift(heap, size, number)
    return size


@kernel
def merge_long(
    rules: Any,
    data: npt.NDArray[np.uint8],
    pieces: npt.NDArray[np.int32],
    before: npt.NDArray[np.int32],
    after: npt.NDArray[np.int32],
    heap: npt.NDArray[np.int64],
) -> int:
    """Write the ids of one segment to `pieces`; how many they are. Takes n log n steps.

    Args:
        rules: the vocabulary.
        data: uint8 [bytes] of the segment.
        pieces: int32 [bytes], to be written.
        before: int32 [bytes], overwritten.
        after: int32 [bytes], overwritten.
        heap: int64 [2 * bytes], overwritten. Holds the pairs; a merge takes one away and adds two
            at most.
    """
    count = place = 0
    while place < len(data):
        character, place = _character(data, place)
        pieces[count] = rules.symbols[character]
        before[count] = count - 1
        after[count] = count + 1
        count += 1
    size = _all_pairs(rules, pieces, count, heap)
    while size > 0:
        pair = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sift(heap, size, 0)
        left, rank = pair & _PLACES, pair >> _PLACE_BITS
        right = np.int64(after[left])
        if pieces[left] < 0 or right >= count:
            continue
        if _rank(rules, pieces[left], pieces[right]) != rank:
            continue  # one of the two has grown since
        pieces[left] = rules.rank_pieces[rank]
        pieces[right] = -1
        following = np.int64(after[right])
        after[left] = following
        if following < count:
            before[following] = left
            rank = _rank(rules, pieces[left], pieces[following])
            if rank != _NO_RANK:
                _push(heap, size, rank << _PLACE_BITS | left)
                size += 1
        if before[left] >= 0:
            rank = _rank(rules, pieces[before[left]], pieces[left])
            if rank != _NO_RANK:
                _push(heap, size, rank << _PLACE_BITS | np.int64(before[left]))
                size += 1
    left = kept = 0
    while left < count:
        pieces[kept] = pieces[left]
        kept += 1
        left = after[left]
    return kept
