"""What a character is to the rules, as bits in one table, so that a kernel asks once."""

from functools import cache

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import CodePoints, kinds, script_tables

TABLE_POINTS = 0x33480
"""Code points that have an entry of their own; those above share the last entry, all zero."""

SPACE = 1
"""What `str.isspace` says."""
ALPHABETIC = 2
"""What `str.isalpha` says."""
LINE_END = 4
"""Ends a line as a sentence, or as what stands before a list, does."""
SENTENCE_MARK = 8
BULLET = 16
CLOSER = 32
"""Quotes and brackets that may stand between a full stop and the space after it."""
STOP = 64
WIDE_STOP = 128
GBK_DEBRIS = 256
"""Characters that UTF-8 read as GBK gives, and no real text has."""
LOST_DEBRIS = 512
"""Characters that a sign of lost ones begins with."""
LATIN_1 = 1 << 10
LATIN_1_LETTER = 1 << 11
LATIN_1_TAIL = 1 << 12
"""What may stand after a Latin-1 letter in debris of any kind."""
INVISIBLE = 1 << 13
OTHER_LINE_BREAK = 1 << 14
ASCII_DIGIT = 1 << 15
WORD = 1 << 16
"""What `\\w` matches."""
UPPER = 1 << 17
CANTONESE = 1 << 18
TRADITIONAL = 1 << 19
SIMPLIFIED = 1 << 20
UTF8_LEAD = 1 << 21
"""First bytes of UTF-8, read as Latin-1 or cp1252."""
UTF8_TAIL = 1 << 22
"""Further bytes of it."""
TRAILING_SPACE = 1 << 23
NUMBER_SIGN = 1 << 24
"""Stands between the digits of numbers, dates and times."""
MARKDOWN_SIGN = 1 << 25
"""Stands before the words of headings, lists, quotations and menus."""

INVISIBLE_RANGES = (
    # C0 and C1 controls but tab and line feed, soft hyphen, zero-width space, word joiner,
    # direction marks, byte order mark, interlinear marks, tags, surrogates.
    # Zero-width joiner and variation selector 16 stay: emoji are made with them.
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x200B, 0x200C),
    (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB), (0xE0000, 0xE007F), (0xD800, 0xDFFF),
)  # fmt: skip

_CHARACTERS = {
    LINE_END: '.!?。！？；：…"”’』」）)》:;',
    SENTENCE_MARK: ".!?。！？",
    BULLET: "•-*·●○▪‣◦►※",
    CLOSER: "\"'”’)]",
    STOP: ".!?",
    WIDE_STOP: "。！？；",
    GBK_DEBRIS: "锛銆鈥",
    LOST_DEBRIS: "锟斤烫屯ï\ufffd□",
    OTHER_LINE_BREAK: "\r\u2028\u2029\x85",
    ASCII_DIGIT: "0123456789",
    TRAILING_SPACE: " \t\u00a0",
    NUMBER_SIGN: ".,:;/-()[]#%·、，。：年月日",
    MARKDOWN_SIGN: ">#*-+|•·●»›",
    # What only written Cantonese uses; 咁 乜 嘞 睇 are left out: dialect and old texts have them.
    CANTONESE: "嘅咗喺唔冇哋嚟啲嘢佢噉嗰嗮攞啱諗谂瞓㗎喎咩嘥揾搵畀嗌咁",
}


@cache
def trait_table() -> npt.NDArray[np.uint32]:
    """The bits of every code point below `TABLE_POINTS`, and one entry for all others."""
    table = np.zeros(TABLE_POINTS + 1, np.uint32)
    for point in range(TABLE_POINTS):
        character = chr(point)
        bits = SPACE * character.isspace() | ALPHABETIC * character.isalpha()
        table[point] = bits | WORD * (character.isalnum() or character == "_")
        if character.isupper():
            table[point] |= UPPER
    for bit, characters in _CHARACTERS.items():
        table[[ord(character) for character in characters]] |= bit
    for first, last in INVISIBLE_RANGES:
        table[first : last + 1] |= INVISIBLE
    table[0xA1:0x100] |= LATIN_1
    table[0xC0:0x100] |= LATIN_1_LETTER
    table[0x80:0xC0] |= LATIN_1_TAIL
    table[0x2013:0x2123] |= LATIN_1_TAIL
    table[0xC2:0xF5] |= UTF8_LEAD
    table[0x80:0xC0] |= UTF8_TAIL
    for character in bytes(range(0x80, 0xC0)).decode("cp1252", "ignore"):
        table[ord(character)] |= UTF8_TAIL
    sides = script_tables()[1]
    table[:TABLE_POINTS][sides[:TABLE_POINTS] > 0] |= TRADITIONAL
    table[:TABLE_POINTS][sides[:TABLE_POINTS] < 0] |= SIMPLIFIED
    return table


@cache
def kind_table() -> npt.NDArray[np.uint8]:
    """The kind (see `characters`) of every code point, as long as `trait_table`."""
    return kinds(np.arange(TABLE_POINTS + 1, dtype=np.uint32))


@cache
def lower_table() -> CodePoints:
    """Lower case by code point; 0 where it is more than one character."""
    lowered = [chr(point).lower() for point in range(TABLE_POINTS + 1)]
    return np.array([ord(low) if len(low) == 1 else 0 for low in lowered], np.uint32)
