"""Lines and units of a text with their places in it, compiled by numba.

Texts are compared by their letters: the folded form of every letter, digit and mark, character by
character, so that each keeps its place; all else counts as 0. Case, width, spacing, punctuation
and script variant make no difference.
"""

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import TABLE_SIZE, CodePoints, code_points, fold_table
from tongwen.curate.text.units import GOLDEN, SECOND, Hashes, mix
from tongwen.kernels import ZERO, inner, kernel

Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_HALF = np.uint64(33)
_NEWLINE = np.uint32(10)
_FENCE = np.uint32(ord("`"))
_BAR = np.uint32(ord("|"))
_FENCE_CHARACTERS = 3


class Lines(NamedTuple):
    """The lines of a text, without the space around them.

    Attributes:
        starts, ends: in characters, [lines].
        keys: two independent 64-bit hashes of the letters, [lines, 2].
        weights: number of letters, those of scripts without spaces counted twice.
        is_prose: whether the line is neither fenced code nor a row of a table.
    """

    starts: Places
    ends: Places
    keys: npt.NDArray[np.uint64]
    weights: Places
    is_prose: Flags


class Units(NamedTuple):
    """The units of a text: 64-bit hashes, and the characters they span.

    Those of prose are words and single characters, as in `units`. A block of fenced code and a
    table are one unit each, so that they are equal as a whole or not at all.
    """

    hashes: Hashes
    starts: Places
    ends: Places


@cache
def letter_table() -> CodePoints:
    """What each code point is compared as: its NFKC lower-case simplified form where that is one
    character, the character itself where it is several, 0 where it is no letter, digit or mark.
    """
    folds = fold_table()
    table = folds.copy()
    for point in range(0x41, TABLE_SIZE):
        folded = unicodedata.normalize("NFKC", chr(point)).lower()
        if len(folded) == 1 and ord(folded) < TABLE_SIZE:
            table[point] = folds[ord(folded)]
    return table


def letters_of(text: str) -> CodePoints:
    """The letter that stands at each character of `text`, 0 where there is none."""
    return letter_table()[np.minimum(code_points(text), TABLE_SIZE - 1)]


def lines_of(text: str) -> Lines:
    """The lines of a text."""
    return Lines(*_lines(code_points(text), letter_table()))


def placed_units(text: str) -> Units:
    """The units of a text and where they stand in it."""
    return Units(*_units(code_points(text), letter_table()))


@inner
def is_single(point: np.uint32) -> Any:
    """Whether a character belongs to a script without spaces, and so is a unit of its own."""
    return 0x2E80 <= point < 0xAC00 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x33480


@inner
def _is_space(point: np.uint32) -> Any:
    return point <= 0x20 or point == 0xA0 or point == 0x3000


@inner
def _is_fence(points: CodePoints, start: int, end: int) -> Any:
    if end - start < _FENCE_CHARACTERS:
        return False
    after = start + _FENCE_CHARACTERS
    while start < after and points[start] == _FENCE:
        start += 1
    return start == after


@inner
def _line_end(points: CodePoints, start: int) -> int:
    end = start
    while end < len(points) and points[end] != _NEWLINE:
        end += 1
    return end


@kernel(allocates=True)
def _lines(points: CodePoints, table: CodePoints) -> Any:
    # Lines are counted first, so that arrays are made once. Two hashes of 64 bits a line: among
    # ten billion lines one of 64 bits alone is expected to make a few strangers equal.
    number = 1
    for place in range(len(points)):
        if points[place] == _NEWLINE:
            number += 1
    starts, ends = np.empty(number, np.int64), np.empty(number, np.int64)
    keys = np.zeros((number, 2), np.uint64)
    weights = np.zeros(number, np.int64)
    is_prose = np.empty(number, np.bool_)
    last = np.uint32(len(table) - 1)
    is_code = False
    following = ZERO
    for line in range(number):
        start = following
        end = _line_end(points, start)
        following = end + 1
        while start < end and _is_space(points[start]):
            start += 1
        while end > start and _is_space(points[end - 1]):
            end -= 1
        is_fence = _is_fence(points, start, end)
        is_prose[line] = not (is_code or is_fence or (end > start and points[start] == _BAR))
        is_code ^= is_fence
        first, second = np.uint64(0), np.uint64(0)
        weight = 0
        for place in range(start, end):
            letter = table[min(points[place], last)]
            if letter:
                first = (first + np.uint64(letter)) * GOLDEN
                first ^= first >> _HALF
                second = (second ^ np.uint64(letter)) * SECOND
                second ^= second >> _HALF
                weight += 2 if is_single(letter) else 1
        starts[line], ends[line] = start, end
        keys[line, 0], keys[line, 1] = mix(first), mix(second + np.uint64(weight))
        weights[line] = weight
    return starts, ends, keys, weights, is_prose


@kernel(allocates=True)
def _units(points: CodePoints, table: CodePoints) -> Any:
    # A block of code and a run of table rows are one unit each: a span never begins or ends inside
    # of them, so no cut leaves half a program behind.
    hashes = np.empty(len(points), np.uint64)
    starts = np.empty(len(points), np.int64)
    ends = np.empty(len(points), np.int64)
    last = np.uint32(len(table) - 1)
    number = 0
    is_code = is_block = False
    value = np.uint64(0)
    following = ZERO
    while following < len(points):
        start = following
        end = _line_end(points, start)
        following = end + 1
        bare = start
        while bare < end and _is_space(points[bare]):
            bare += 1
        is_fence = _is_fence(points, bare, end)
        is_prose = not (is_code or is_fence or (end > bare and points[bare] == _BAR))
        is_code ^= is_fence
        if is_block and is_prose:
            number += 1
            is_block = False
        if not is_prose:
            if not is_block:
                starts[number] = start
                value = np.uint64(1)
            for place in range(start, end):
                value = value * GOLDEN + np.uint64(table[min(points[place], last)])
                value ^= value >> _HALF
            hashes[number], ends[number] = mix(value), end
            is_block = not (is_fence and not is_code)
            number += not is_block
            continue
        place = start
        while place < end:
            letter = table[min(points[place], last)]
            if letter == 0:
                place += 1
                continue
            starts[number] = place
            word = np.uint64(letter)
            place += 1
            if not is_single(letter):
                while place < end:
                    letter = table[min(points[place], last)]
                    if letter == 0 or is_single(letter):
                        break
                    word = word * GOLDEN + np.uint64(letter)
                    word ^= word >> _HALF
                    place += 1
            hashes[number] = mix(word)
            ends[number] = place
            number += 1
    number += is_block
    return hashes[:number].copy(), starts[:number].copy(), ends[:number].copy()
