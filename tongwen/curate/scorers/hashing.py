"""One pass over a text that all scorers but perplexity share: its units as 64-bit hashes.

A unit is a word (a run of letters, digits and marks), a single Han character or kana, a punctuation
mark or symbol, or a line break. Letters are compared in lower case, full-width ones as narrow
ones, traditional characters as simplified ones, and every digit as 0. Numbers that differ are
one unit then, and marks stay: menus and prose differ more in those than in words.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

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
    MARK,
    NEWLINE,
    PUNCTUATION,
    SYMBOL,
    TABLE_SIZE,
    CodePoints,
    code_points,
    kinds,
    script_tables,
)
from tongwen.curate.text.units import GOLDEN, mix
from tongwen.kernels import inner, kernel

Hashes = npt.NDArray[np.uint64]
UnitKinds = npt.NDArray[np.uint8]

WORD, CHARACTER, SIGN, END, BREAK = range(5)
"""Kinds of units; END is a mark that ends a sentence, BREAK any number of line breaks."""

_SPACE_CLASS, _WORD_CLASS, _SINGLE_CLASS, _SIGN_CLASS, _BREAK_CLASS = range(5)
_CLASS_SHIFT = 24  # a code point has 21 bits: the class fits above it
_POINT_MASK = 0xFFFFFF
_PAIR_PRIME = np.uint64(0xC2B2AE3D27D4EB4F)
_TURN, _TURN_BACK = np.uint64(23), np.uint64(41)
_HALF = np.uint64(33)
_FULL_STOP = 0x2E


class Units(NamedTuple):
    """The units of one text: a hash and a kind for each."""

    hashes: Hashes
    kinds: UnitKinds


@cache
def class_table() -> npt.NDArray[np.uint32]:
    """For every code point of the table its class in the top byte and what it is compared as."""
    points = np.arange(TABLE_SIZE, dtype=np.uint32)
    kind = kinds(points)
    compared = script_tables()[0].copy()
    for point in np.flatnonzero(np.isin(kind, (LATIN, CYRILLIC, LETTER))).tolist():
        narrow = unicodedata.normalize("NFKC", chr(point)) if point >= 0xFF00 else chr(point)
        lower = narrow.lower()
        compared[point] = ord(lower) if len(lower) == 1 else point
    compared[kind == DIGIT] = ord("0")
    classes = np.full(TABLE_SIZE, _SPACE_CLASS, np.uint32)
    classes[np.isin(kind, (LATIN, CYRILLIC, LETTER, DIGIT, MARK, HANGUL))] = _WORD_CLASS
    classes[np.isin(kind, (HAN, KANA))] = _SINGLE_CLASS
    classes[np.isin(kind, (PUNCTUATION, SYMBOL))] = _SIGN_CLASS
    classes[kind == NEWLINE] = _BREAK_CLASS
    compared[classes == _SPACE_CLASS] = ord(" ")
    compared[classes == _BREAK_CLASS] = ord("\n")
    return (classes << np.uint32(_CLASS_SHIFT)) | compared


@inner
def _is_end(point: int, following: int) -> bool:
    if point == _FULL_STOP:  # not the one inside a number or a name
        return following == 0x20 or following == 0x0A or following == 0 or following == 0x22
    return point == 0x21 or point == 0x3F or point == 0x3002 or point == 0xFF01 or point == 0xFF1F


@kernel(allocates=True)
def _units(points: CodePoints, table: npt.NDArray[np.uint32]) -> tuple[Hashes, UnitKinds]:
    # One table look-up a character says class and what it is compared as; one turn past the end
    # closes the last word.
    hashes = np.empty(len(points) + 1, np.uint64)
    unit_kinds = np.empty(len(points) + 1, np.uint8)
    number = 0
    value = np.uint64(0)
    in_word = False
    for position in range(len(points) + 1):
        if position < len(points):
            raw = points[position]
            entry = table[raw] if raw < len(table) else np.uint32(_SIGN_CLASS << _CLASS_SHIFT) | raw
        else:
            entry = np.uint32(0)
        kind = entry >> np.uint32(_CLASS_SHIFT)
        point = np.uint64(entry & np.uint32(_POINT_MASK))
        if kind == _WORD_CLASS:
            value = (value + point) * GOLDEN
            value ^= value >> _HALF
            in_word = True
            continue
        if in_word:
            hashes[number] = mix(value)
            unit_kinds[number] = WORD
            number += 1
            value = np.uint64(0)
            in_word = False
        if kind == _SINGLE_CLASS:
            hashes[number] = mix(point)
            unit_kinds[number] = CHARACTER
            number += 1
        elif kind == _SIGN_CLASS:
            following = points[position + 1] if position + 1 < len(points) else np.uint32(0)
            hashes[number] = mix(point)
            unit_kinds[number] = END if _is_end(int(raw), int(following)) else SIGN
            number += 1
        elif kind == _BREAK_CLASS and number and unit_kinds[number - 1] != BREAK:
            hashes[number] = mix(point)
            unit_kinds[number] = BREAK
            number += 1
    return hashes[:number].copy(), unit_kinds[:number].copy()


def scorer_units(text: str) -> Units:
    """The units of `text`. Cost: one pass, about 10 ns a character."""
    return Units(*_units(code_points(text), class_table()))


@inner
def extended(value: np.uint64, unit: np.uint64) -> np.uint64:
    """The hash of an n-gram from that of its first n - 1 units and the last one."""
    turned = (value << _TURN) | (value >> _TURN_BACK)
    return (turned ^ unit) * _PAIR_PRIME


def joined(texts: list[Units]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The hashes of many texts one after another, and where each begins; one offset more at the
    end.
    """
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(units.hashes) for units in texts], out=offsets[1:])
    parts = [np.zeros(0, np.uint64), *(units.hashes for units in texts)]
    return np.concatenate(parts), offsets
