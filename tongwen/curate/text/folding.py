"""The normal form of `characters.folded`, compiled: from the bytes of UTF-8 text by one table.

NFKC works on characters one by one but for those that join with what stands before them
(combining marks, Hangul jamo), and lower case but for the Greek sigma. Texts that hold any of
these are normalised as a whole first; the result is the same as that of `folded` for every text.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import TABLE_SIZE, CodePoints, fold_table
from tongwen.kernels import kernel

_WHOLE = np.uint32(1 << 31)
_SEVERAL = np.uint32(1 << 30)
_PLACE = np.uint32(0xFFFF)
_MOST_PARTS = 4  # longer compatibility forms (ﷺ) are left to the slow way: they bound the output
POINTS_A_BYTE = 2  # ½ has two bytes and gives 1⁄2: no character gives more, byte for byte


class FoldTables(NamedTuple):
    """How code points are folded.

    Attributes:
        single: by code point: what it becomes, 0 for nothing that counts; `_WHOLE` for a text that
            must be normalised first; `_SEVERAL` and a place in `several`.
        several: each time a length and that many folded characters.
    """

    single: CodePoints
    several: CodePoints


@cache
def fold_tables() -> FoldTables:
    """The tables for any text."""
    plain = fold_table()
    single = plain.copy()
    several: list[int] = []
    joining = _joining()
    for point in range(0x80, TABLE_SIZE):
        normal = unicodedata.normalize("NFKC", chr(point))
        low = normal.lower()
        if joining[point] or "Σ" in normal or len(low) > _MOST_PARTS:
            single[point] = _WHOLE
        elif len(low) == 1:
            single[point] = plain[min(ord(low), TABLE_SIZE - 1)]
        else:
            single[point] = int(_SEVERAL) | len(several)
            several += [len(low), *plain[[min(ord(part), TABLE_SIZE - 1) for part in low]].tolist()]
    assert len(several) <= _PLACE
    for point in range(0x41, 0x5B):
        single[point] = point + 0x20
    return FoldTables(single, np.array(several, np.uint32))


@cache
def normal_tables() -> FoldTables:
    """The tables for a text that is in NFKC and lower case."""
    return FoldTables(fold_table(), np.zeros(0, np.uint32))


def _joining() -> npt.NDArray[np.bool_]:
    """Which code points may join with the one before, or change places with it, under NFKC."""
    seconds = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    for point in range(TABLE_SIZE):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(int(parts[1], 16))
    joining = np.zeros(TABLE_SIZE, bool)
    for point in range(TABLE_SIZE):
        first = unicodedata.normalize("NFKD", chr(point))[0]
        joining[point] = unicodedata.combining(first) != 0 or ord(first) in seconds
    return joining


@kernel(allocates=True)
def fold_utf8(
    data: npt.NDArray[np.uint8], start: int, end: int, tables: FoldTables, out: CodePoints
) -> int:
    """Fold the valid UTF-8 in `data[start:end]` into `out`, which has room for `POINTS_A_BYTE`
    a byte. Gives the number of points written, -1 when the text must be normalised first.
    """
    single, several = tables
    last = np.uint32(len(single) - 1)
    number = 0
    place = start
    while place < end:
        point = np.uint32(data[place])
        if point < 0x80:
            place += 1
        elif point < 0xE0:
            point = (point & 0x1F) << 6 | (np.uint32(data[place + 1]) & 0x3F)
            place += 2
        elif point < 0xF0:
            point = (
                (point & 0x0F) << 12
                | (np.uint32(data[place + 1]) & 0x3F) << 6
                | (np.uint32(data[place + 2]) & 0x3F)
            )
            place += 3
        else:
            point = (
                (point & 0x07) << 18
                | (np.uint32(data[place + 1]) & 0x3F) << 12
                | (np.uint32(data[place + 2]) & 0x3F) << 6
                | (np.uint32(data[place + 3]) & 0x3F)
            )
            place += 4
        found = single[min(np.uint32(point), last)]
        if found < _SEVERAL:
            out[number] = found
            number += 1
        elif found & _WHOLE:
            return -1
        else:
            first = np.int64(found & _PLACE)
            for part in range(several[first]):
                out[number] = several[first + 1 + part]
                number += 1
    return number
