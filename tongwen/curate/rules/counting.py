"""The passes over a text's code points that `measures` takes its values from."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import HAN, KINDS, LATIN, LETTER, CodePoints
from tongwen.curate.text.hash_table import find_slot, table_slots
from tongwen.curate.text.traits import (
    ALPHABETIC,
    BULLET,
    CLOSER,
    LATIN_1,
    LATIN_1_LETTER,
    LATIN_1_TAIL,
    LINE_END,
    SENTENCE_MARK,
    SPACE,
    STOP,
    WIDE_STOP,
)
from tongwen.curate.text.units import GOLDEN, mix
from tongwen.kernels import ZERO, inner, kernel

_SHORT_LINE_CHARACTERS = 30  # FineWeb's `short_line_length` (Penedo et al. 2024, arXiv:2406.17557)
_HALF = np.uint64(33)
_DOT, _WIDE_DOT, _ELLIPSIS, _HASH = (ord(character) for character in ".。…#")

(TRAITS, LATIN_PAIRS, SIGNS, SENTENCES, TOKENS, ALPHABETIC_TOKENS, FUNCTION_WORDS) = range(
    KINDS, KINDS + 7
)
"""Places in what `survey` gives, after the counts of the kinds."""

FUNCTION_WORD_LIST = ("the", "be", "to", "of", "and", "that", "have", "with")


class LineCounts(NamedTuple):
    """Counts over the lines that are not empty."""

    number: int
    characters: int
    terminal: int
    bullet: int
    ellipsis: int
    short: int
    duplicate: int
    duplicate_characters: int
    longest: int


@cache
def function_word_keys() -> npt.NDArray[np.uint32]:
    """The function words, four bytes each."""
    return np.array([_key(word) for word in FUNCTION_WORD_LIST], np.uint32)


def _key(word: str) -> int:
    return int.from_bytes(word.encode("ascii"), "big")


@kernel(allocates=True)
def survey(
    points: CodePoints,
    kinds: npt.NDArray[np.uint8],
    traits: npt.NDArray[np.uint32],
    words: npt.NDArray[np.uint32],
) -> npt.NDArray[np.int64]:
    """Counts of the kinds of characters, then what the constants of this module name.

    `TRAITS` has the bits of every character that occurs. `LATIN_PAIRS` are neighbours of which
    mojibake could be made; `SIGNS` are `#` and ellipses; `SENTENCES` their ends; tokens are what
    white space parts; `FUNCTION_WORDS` is the number of different `words`.
    """
    found = np.zeros(KINDS + 7, np.int64)
    last = np.uint32(len(traits) - 1)
    number = len(points)
    seen = 0
    previous = np.uint32(SPACE)
    is_alphabetic = False
    key, length = np.uint32(0), 0
    for place in range(number + 1):
        point = points[place] if place < number else np.uint32(32)
        trait = traits[min(point, last)]
        if place < number:
            found[kinds[min(point, last)]] += 1
            found[TRAITS] |= trait
        if (previous & LATIN_1 and trait & LATIN_1) or (
            previous & LATIN_1_LETTER and trait & LATIN_1_TAIL
        ):
            found[LATIN_PAIRS] += 1
        if not trait & SPACE:
            if previous & SPACE:
                found[TOKENS] += 1
                is_alphabetic = False
                key, length = np.uint32(0), 0
            length += 1
            low = point + np.uint32(32) if 65 <= point <= 90 else point
            key = key << np.uint32(8) | (low & np.uint32(255))
            if low > 127:
                length = 99
            if trait & ALPHABETIC and not is_alphabetic:
                is_alphabetic = True
                found[ALPHABETIC_TOKENS] += 1
        elif not previous & SPACE and 2 <= length <= 4:
            for word in range(len(words)):
                if words[word] == key:
                    seen |= 1 << word
        previous = trait
    for word in range(len(words)):
        found[FUNCTION_WORDS] += (seen >> word) & 1
    found[SIGNS] = _signs(points)
    found[SENTENCES] = _sentences(points, traits)
    return found


@inner
def _signs(points: CodePoints) -> int:
    """Number signs and ellipses; three dots or more are one."""
    signs = run = 0
    previous = np.uint32(0)
    for place in range(len(points)):
        point = points[place]
        if point in (_HASH, _ELLIPSIS):
            signs += 1
        run = run + 1 if point == previous else 1
        if run == 3 and point in (_DOT, _WIDE_DOT):
            signs += 1
        previous = point
    return signs


@inner
def _sentences(points: CodePoints, traits: npt.NDArray[np.uint32]) -> int:
    """Ends of sentences: ASCII marks, perhaps closing quotes, and white space; or wide marks."""
    last = np.uint32(len(traits) - 1)
    number = len(points)
    ends = place = 0
    while place < number:
        trait = traits[min(points[place], last)]
        place += 1
        if trait & STOP:
            while place < number and traits[min(points[place], last)] & STOP:
                place += 1
            while place < number and traits[min(points[place], last)] & CLOSER:
                place += 1
            if place == number or traits[min(points[place], last)] & SPACE:
                ends += 1
        elif trait & WIDE_STOP:
            while place < number and traits[min(points[place], last)] & WIDE_STOP:
                place += 1
            ends += 1
    return ends


@kernel
def han_letters(points: CodePoints, kinds: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Han characters, and all letters of the lines that have any: a line without is a name, a
    formula or code that is not marked as such.
    """
    last = np.uint32(len(kinds) - 1)
    han = letters = own_han = own_letters = ZERO
    for place in range(len(points) + 1):
        if place == len(points) or points[place] == 10:
            han += own_han
            letters += own_letters if own_han else ZERO
            own_han = own_letters = ZERO
            continue
        kind = kinds[min(points[place], last)]
        own_han += kind == HAN
        own_letters += LATIN <= kind <= LETTER
    return han, letters


@kernel(allocates=True)
def line_counts(
    points: CodePoints, traits: npt.NDArray[np.uint32], endings: CodePoints, ending_count: int
) -> Any:
    """The fields of `LineCounts` as an array.

    `endings` holds, in rows of five, the length and the reversed characters of what a line that is
    cut short ends with; the first `ending_count` rows count.
    """
    last = np.uint32(len(traits) - 1)
    found = np.zeros(9, np.int64)
    number = len(points)
    lines = 1
    for place in range(number):
        lines += points[place] == 10
    keys = np.zeros(table_slots(lines), np.uint64)
    start = 0
    while start < number:
        first, end = -1, -1
        value = stripped = np.uint64(0)
        place = start
        while place < number and points[place] != 10:
            point = points[place]
            is_space = traits[min(point, last)] & SPACE
            if first < 0 and not is_space:
                first = place
            if first >= 0:
                value = (value + np.uint64(point) + np.uint64(1)) * GOLDEN
                value ^= value >> _HALF
                if not is_space:
                    end, stripped = place, value
            place += 1
        start = place + 1
        if first < 0:
            continue
        length = end + 1 - first
        ending = traits[min(points[end], last)]
        found[0] += 1
        found[1] += length
        found[2] += (ending & LINE_END) != 0
        found[3] += bool(traits[min(points[first], last)] & BULLET) and not ending & SENTENCE_MARK
        found[4] += _ends_short(points, first, end, endings, ending_count)
        found[5] += length <= _SHORT_LINE_CHARACTERS
        found[8] = max(found[8], length)
        if _is_known(stripped ^ mix(np.uint64(length)), keys):
            found[6] += 1
            found[7] += length
    return found


@inner
def _is_known(value: np.uint64, keys: npt.NDArray[np.uint64]) -> bool:
    """Whether a hash is in the table; it is afterwards."""
    value = max(mix(value), np.uint64(1))
    slot = find_slot(keys, value, value)
    is_known = keys[slot] == value
    keys[slot] = value
    return bool(is_known)


@inner
def _ends_short(
    points: CodePoints, first: int, end: int, endings: CodePoints, ending_count: int
) -> bool:
    for row in range(ending_count):
        length = np.int64(endings[row * 5])
        if length > end + 1 - first:
            continue
        is_equal = True
        for place in range(length):
            if points[end - place] != endings[row * 5 + 1 + place]:
                is_equal = False
                break
        if is_equal:
            return True
    return False
