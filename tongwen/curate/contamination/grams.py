"""Finding known n-grams in texts: one pass over characters, compiled, with places in the text.

Units are those of `units`: words, and single characters where a script writes no spaces. They are
compared without case, punctuation, diacritics and script variant. Unlike `characters.folded` the
fold goes character by character, so that a unit knows where it stands in the text as it is.
"""

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import (
    CYRILLIC,
    DIGIT,
    HAN,
    HANGUL,
    KANA,
    LATIN,
    LETTER,
    CodePoints,
    code_points,
    kinds,
    script_tables,
)
from tongwen.curate.text.units import GOLDEN, SECOND, Hashes, mix
from tongwen.kernels import inner, kernel

Places = npt.NDArray[np.int64]

_HALF = np.uint64(33)
_SKIPPED = np.uint32(0xFFFFFFFF)
_EXPANDED = np.uint32(0x80000000)
_SINGLE = np.uint32(0x40000000)
# Three are set: under 1 in 100 other n-grams passes; with 8 bits 1 in 30 would.
_FILTER_BITS_A_GRAM = 16
_FIRST_HITS = 64  # it doubles when full; most texts have none
_LAST_BIT = 63  # of a uint64; all further lengths share it


class Units(NamedTuple):
    """The units of one text.

    Attributes:
        hashes: 64 bits a unit.
        starts: place of each unit's first character.
        ends: place after its last one.
        singles: how many are characters of a script without spaces.
    """

    hashes: Hashes
    starts: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.uint32]
    singles: int


@cache
def _fold_tables() -> tuple[npt.NDArray[np.uint32], Places, npt.NDArray[np.uint32]]:
    """What a character becomes: 0 for a separator, one character (marked where it is a unit of its
    own), nothing, or a place in a list of expansions; where each expansion starts; the expansions.
    """
    simplified = script_tables()[0]
    size = len(simplified)
    points = np.arange(size, dtype=np.uint32)
    is_text = np.isin(kinds(points), (DIGIT, LATIN, HAN, KANA, HANGUL, CYRILLIC, LETTER))
    table = np.where(is_text, simplified, np.uint32(0))
    starts, expansions = [0], list[int]()
    for point in range(0x41, size):
        if 0xAC00 <= point < 0xD7A4 or 0xD800 <= point < 0xE000:
            continue  # Hangul syllables stay whole, surrogates separate
        character = chr(point)
        kind = unicodedata.category(character)
        if kind[0] == "M" or kind == "Cf":
            table[point] = _SKIPPED
            continue
        if not is_text[point] and not unicodedata.decomposition(character):
            continue
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).lower())
        kept = [
            int(simplified[ord(part)]) for part in plain if ord(part) < size and is_text[ord(part)]
        ]
        if len(kept) == 1:
            table[point] = kept[0]
        elif len(kept) > 1:
            table[point] = _EXPANDED | np.uint32(len(starts) - 1)
            expansions += kept
            starts.append(len(expansions))
    is_single = (table >= 0x2E80) & (table < 0xAC00)
    is_single |= (table >= 0xF900) & (table < 0xFB00)
    is_single |= (table >= 0x20000) & (table < size)
    table[is_single] |= _SINGLE
    return table, np.array(starts, np.int64), np.array(expansions, np.uint32)


def units_of_text(text: str) -> Units:
    """The units of a text and where they stand in it."""
    table, starts, expansions = _fold_tables()
    points = code_points(text)
    units = Units(*_units(points, table))
    if units.singles >= 0:
        return units
    points, origins = _expanded(points, table, starts, expansions)
    units = Units(*_units(points, table))
    return units._replace(starts=origins[units.starts], ends=origins[units.ends - 1] + 1)


def has_letter(text: str, units: Units) -> npt.NDArray[np.bool_]:
    """Which units of a text are more than digits."""
    letters = np.isin(kinds(code_points(text)), (LATIN, HAN, KANA, HANGUL, CYRILLIC, LETTER))
    before = np.concatenate(([0], np.cumsum(letters)))
    return np.asarray(before[units.ends] > before[units.starts])


@kernel(allocates=True)
def _units(points: CodePoints, table: CodePoints) -> Any:
    """The fields of `Units`; singles is -1 when there is a character to expand first."""
    capacity = len(points) + 1
    hashes = np.empty(capacity, np.uint64)
    firsts = np.empty(capacity, np.uint32)
    lasts = np.empty(capacity, np.uint32)
    number, singles, first, last = 0, 0, -1, 0
    value = np.uint64(0)
    for position in range(len(points)):
        code = points[position]
        folded = table[code] if code < len(table) else np.uint32(0)
        if folded == _SKIPPED:
            continue
        if folded >= _EXPANDED:
            return hashes[:0], firsts[:0], lasts[:0], -1
        if 0 < folded < _SINGLE:
            if first < 0:
                first = position
                value = np.uint64(0)
            value = (value + np.uint64(folded)) * SECOND
            value ^= value >> _HALF
            last = position + 1
            continue
        if first >= 0:
            hashes[number] = mix(value)
            firsts[number], lasts[number] = first, last
            number += 1
            first = -1
        if folded:
            hashes[number] = mix(np.uint64(folded))
            firsts[number], lasts[number] = position, position + 1
            number += 1
            singles += 1
    if first >= 0:
        hashes[number] = mix(value)
        firsts[number], lasts[number] = first, last
        number += 1
    return hashes[:number], firsts[:number], lasts[:number], singles


@kernel(allocates=True)
def _expanded(points: CodePoints, table: CodePoints, starts: Places, expansions: CodePoints) -> Any:
    """The text with ligatures and the like written out, and where each character was before."""
    number = 0
    for write in (False, True):
        if write:
            written = np.empty(number, np.uint32)
            origins = np.empty(number, np.uint32)
            number = 0
        for position in range(len(points)):
            code = points[position]
            folded = table[code] if code < len(table) else np.uint32(0)
            if folded < _EXPANDED or folded == _SKIPPED:
                if write:
                    written[number], origins[number] = code, position
                number += 1
                continue
            place = np.int64(folded - _EXPANDED)
            for part in range(starts[place], starts[place + 1]):
                if write:
                    written[number], origins[number] = expansions[part], position
                number += 1
    return written, origins


@inner
def _key(value: np.uint64, units: int) -> np.uint64:
    """The hash under which a run of units is known, from its polynomial."""
    return mix(value + np.uint64(units) * SECOND)


@kernel(allocates=True)
def gram_keys(hashes: Hashes, starts: Places, sizes: Places, units: Places, anchor: int) -> Any:
    """Keys of all n-grams of some passages, and of the first `anchor` units of each.

    Args:
        hashes: units of all passages, one after another.
        starts: first unit of each passage.
        sizes: units of each passage.
        units: length of a passage's n-grams.
        anchor: smallest of these lengths.

    Returns:
        Keys and anchor keys, passage by passage.
    """
    number = 0
    for passage in range(len(starts)):
        number += sizes[passage] - units[passage] + 1
    keys = np.empty(number, np.uint64)
    anchors = np.empty(number, np.uint64)
    filled = 0
    for passage in range(len(starts)):
        for offset in range(sizes[passage] - units[passage] + 1):
            value = np.uint64(0)
            for unit in range(units[passage]):
                value = value * GOLDEN + hashes[starts[passage] + offset + unit]
                if unit + 1 == anchor:
                    anchors[filled] = mix(value)
            keys[filled] = _key(value, units[passage])
            filled += 1
    return keys, anchors


@inner
def _pattern(anchor: np.uint64) -> np.uint64:
    """Three bits of a filter word. The word is chosen by the high half."""
    one = np.uint64(1)
    mask = np.uint64(63)
    return (
        (one << (anchor & mask))
        | (one << ((anchor >> np.uint64(6)) & mask))
        | (one << ((anchor >> np.uint64(12)) & mask))
    )


def _make_filter(anchors: Hashes) -> Hashes:
    """A Bloom filter of blocks of one word (Putze et al. 2007), so that a look-up costs one cache
    line: 16 bits an entry, three set.
    """
    words = 1 << 10
    while words * 64 < _FILTER_BITS_A_GRAM * len(anchors):
        words *= 2
    filled = np.zeros(words, np.uint64)
    _fill_filter(filled, anchors)
    return filled


@kernel
def _fill_filter(words: Hashes, anchors: Hashes) -> None:
    # The word comes from other bits than the pattern inside it (`_pattern` takes the low 18).
    for position in range(len(anchors)):
        anchor = anchors[position]
        words[np.int64((anchor >> np.uint64(20)) & np.uint64(len(words) - 1))] |= _pattern(anchor)


def make_table(keys: Hashes) -> npt.NDArray[np.int32]:
    """An open-addressing table over unique keys: each slot the number of a key, or -1."""
    slots = 16
    while slots < 2 * len(keys):
        slots *= 2
    table = np.full(slots, -1, np.int32)
    _fill_table(table, keys)
    return table


@kernel
def _fill_table(table: Any, keys: Hashes) -> None:
    # Keys are hashes and unique: their low bits are the slot, and no key is compared.
    mask = np.int64(len(table) - 1)
    for number in range(len(keys)):
        slot = np.int64(keys[number] & np.uint64(mask))
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = number


class Anchors(NamedTuple):
    """What may begin at a run of units.

    Attributes:
        words: Bloom filter of the anchors.
        table: slots of the anchors' keys, see `make_table`.
        keys: hashes of the first units of n-grams, each once.
        sizes: bit b is set where an n-gram with the b-th length begins so; bit 63 stands for all
            lengths from the 63rd on.
    """

    words: Hashes
    table: npt.NDArray[np.int32]
    keys: Hashes
    sizes: Hashes


def make_anchors(anchors: Hashes, length_numbers: Places) -> Anchors:
    """The anchors of some n-grams, given with the number of each n-gram's length."""
    keys, places = np.unique(anchors, return_inverse=True)
    sizes = np.zeros(len(keys), np.uint64)
    bits = np.uint64(1) << np.minimum(length_numbers, _LAST_BIT).astype(np.uint64)
    np.bitwise_or.at(sizes, places, bits)
    return Anchors(_make_filter(keys), make_table(keys), keys, sizes)


@inner
def _look_up(wanted: np.uint64, table: Any, keys: Hashes) -> Any:
    """The number of a key, -1 when it is not known."""
    mask = np.int64(len(table) - 1)
    slot = np.int64(wanted & np.uint64(mask))
    while table[slot] >= 0 and keys[table[slot]] != wanted:
        slot = (slot + 1) & mask
    return np.int64(table[slot])


@kernel(allocates=True)
def find_grams(hashes: Hashes, lengths: Places, anchors: Anchors, table: Any, keys: Hashes) -> Any:
    """Every known n-gram in the units of a text.

    Args:
        hashes: the text's units.
        lengths: lengths of known n-grams, ascending; the first is the anchor's.
        anchors: what n-grams begin with.
        table: slots of the n-grams' keys.
        keys: of the n-grams.

    Returns:
        int64 [hits, 3]: unit where the n-gram starts, its length, its number in `keys`.
    """
    hits = np.empty((_FIRST_HITS, 3), np.int64)
    found = 0
    anchor = lengths[0]
    if len(hashes) < anchor:
        return hits[:0]
    power = np.uint64(1)
    value = np.uint64(0)
    for unit in range(anchor - 1):
        power *= GOLDEN
        value = value * GOLDEN + hashes[unit]
    words = anchors.words
    last_word = np.uint64(len(words) - 1)
    for start in range(len(hashes) - anchor + 1):
        value = value * GOLDEN + hashes[start + anchor - 1]
        key = mix(value)
        pattern = _pattern(key)
        if words[np.int64((key >> np.uint64(20)) & last_word)] & pattern == pattern:
            number = _look_up(key, anchors.table, anchors.keys)
            sizes = anchors.sizes[number] if number >= 0 else np.uint64(0)
            longer = value
            units = anchor
            for place in range(len(lengths)):
                bit = np.uint64(1) << np.uint64(min(place, _LAST_BIT))
                if sizes < bit or start + lengths[place] > len(hashes):
                    break
                while units < lengths[place]:
                    longer = longer * GOLDEN + hashes[start + units]
                    units += 1
                if sizes & bit == 0:
                    continue
                number = _look_up(_key(longer, units), table, keys)
                if number >= 0:
                    if found == len(hits):
                        larger = np.empty((2 * found, 3), np.int64)
                        larger[:found] = hits
                        hits = larger
                    hits[found, 0], hits[found, 1], hits[found, 2] = start, units, number
                    found += 1
        value -= hashes[start] * power
    return hits[:found]
