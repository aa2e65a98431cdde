"""Characters as numbers: their kind, and the normal form in which two texts are compared.

Texts become arrays of code points, so that counting and folding are table look-ups in numpy.
"""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

CodePoints = npt.NDArray[np.uint32]

(OTHER, SPACE, NEWLINE, DIGIT, LATIN, HAN, KANA, HANGUL, CYRILLIC, LETTER, MARK, PUNCTUATION,
 SYMBOL, LOST) = range(14)  # fmt: skip
KINDS = 14  # of the line above

TABLE_SIZE = 0x33481
"""One more than the last Han character that Unicode may hold; what lies above counts as its last
entry, which is no character."""

_RANGES = (
    (HAN, 0x3005, 0x3007),
    (HAN, 0x3400, 0x4DBF),
    (HAN, 0x4E00, 0x9FFF),
    (HAN, 0xF900, 0xFAFF),
    (HAN, 0x20000, 0x3347F),
    (KANA, 0x3041, 0x3096),
    (KANA, 0x30A1, 0x30FA),
    (KANA, 0x30FC, 0x30FE),
    (KANA, 0x31F0, 0x31FF),
    (KANA, 0xFF66, 0xFF9D),
    (HANGUL, 0x1100, 0x11FF),
    (HANGUL, 0x3131, 0x318E),
    (HANGUL, 0xAC00, 0xD7A3),
    (CYRILLIC, 0x0400, 0x052F),
    (LATIN, 0x00C0, 0x00D6),
    (LATIN, 0x00D8, 0x00F6),
    (LATIN, 0x00F8, 0x024F),
    (LATIN, 0x1E00, 0x1EFF),
    (LATIN, 0xFF21, 0xFF3A),
    (LATIN, 0xFF41, 0xFF5A),
    (LATIN, 0x41, 0x5A),
    (LATIN, 0x61, 0x7A),
)
_BY_CATEGORY = {"L": LETTER, "M": MARK, "N": DIGIT, "P": PUNCTUATION, "S": SYMBOL, "Z": SPACE}


def code_points(text: str) -> CodePoints:
    """The code points of `text`; lone surrogates count as themselves."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _kind_table() -> npt.NDArray[np.uint8]:
    table = np.fromiter(
        (
            _BY_CATEGORY.get(unicodedata.category(chr(point))[0], OTHER)
            for point in range(TABLE_SIZE)
        ),
        np.uint8,
        TABLE_SIZE,
    )
    for kind, first, last in _RANGES:
        table[first : last + 1] = kind
    table[[0x09, 0x0B, 0x0C]] = SPACE
    table[[0x0A, 0x0D]] = NEWLINE
    table[[0xFFFD, 0x25A1]] = LOST
    table[0x2500:0x2580] = OTHER  # lines and corners that tables are drawn with
    return table


def kinds(points: CodePoints) -> npt.NDArray[np.uint8]:
    """The kind of every character, one of the constants of this module."""
    return _kind_table()[np.minimum(points, TABLE_SIZE - 1)]


def kind_counts(points: CodePoints) -> npt.NDArray[np.int64]:
    """How many characters of each kind there are, indexed by the constants of this module."""
    return np.bincount(kinds(points), minlength=KINDS)


@cache
def script_tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int8]]:
    """Traditional to simplified by character, and +1 for characters written only in traditional
    text, -1 for those written only in simplified text.

    Both come from OpenCC's dictionaries. A character that either script uses counts for none:
    后 is 後 simplified, and a traditional word of its own.
    """
    import opencc

    points = [point for first, last in ((0x3400, 0x9FFF), (0x20000, 0x2FFFF))
              for point in range(first, last + 1)]  # fmt: skip
    lines = "\n".join(map(chr, points))
    simple = opencc.OpenCC("t2s").convert(lines).split("\n")
    traditional = opencc.OpenCC("s2t").convert(lines).split("\n")
    to_simplified = np.arange(TABLE_SIZE, dtype=np.uint32)
    sides = np.zeros(TABLE_SIZE, np.int8)
    for point, short, long in zip(points, simple, traditional, strict=True):
        if len(short) == 1 and ord(short) != point:
            to_simplified[point] = ord(short)
            sides[point] = 1 if long == chr(point) else 0
        elif long != chr(point):
            # It is traditional too when the round trip from another character leads to it.
            sides[point] = -1
    for (
        shared
    ) in "后里面只台云余丑谷斗系表板才出千干征致制种周准咸克冬于向吁听回松胡游家几布占杯升当卷志":
        sides[ord(shared)] = 0
    return to_simplified, sides


def script_balance(points: CodePoints) -> tuple[int, int]:
    """How many characters are written so only in simplified, and only in traditional Chinese."""
    sides = script_tables()[1][np.minimum(points, TABLE_SIZE - 1)]
    return int((sides < 0).sum()), int((sides > 0).sum())


@cache
def fold_table() -> CodePoints:
    """What each code point of a text in NFKC and lower case becomes, see `folded`."""
    table = script_tables()[0].copy()
    kept = _kind_table()
    table[~np.isin(kept, (DIGIT, LATIN, HAN, KANA, HANGUL, CYRILLIC, LETTER, MARK))] = 0
    return table


def folded(text: str) -> CodePoints:
    """The text as compared for duplicates: NFKC, lower case, traditional characters simplified;
    0 stands for every character that is no letter, digit or mark.
    """
    points = code_points(unicodedata.normalize("NFKC", text).lower())
    return fold_table()[np.minimum(points, TABLE_SIZE - 1)]
