"""Mend what encodings, editors and markup did to a text, and leave its characters alone otherwise.

The output is NFC, never NFKC: full-width punctuation, digits and letters stay as they are.
"""

import html
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import CodePoints, code_points
from tongwen.curate.text.traits import (
    INVISIBLE,
    INVISIBLE_RANGES,
    OTHER_LINE_BREAK,
    TRAILING_SPACE,
    UTF8_LEAD,
    UTF8_TAIL,
    trait_table,
)
from tongwen.kernels import kernel

_CP1252 = {
    byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)
}
_TO_BYTE = {character: byte for byte, character in _CP1252.items()}
_TO_BYTE.update({chr(byte): byte for byte in range(0x80, 0xA0)})  # read as latin-1
_TAIL = "[" + re.escape("".join(c for c, byte in _TO_BYTE.items() if byte < 0xC0)) + "]"
_MOJIBAKE = re.compile(
    f"(?:[\u00c2-\u00df]{_TAIL}|[\u00e0-\u00ef]{_TAIL}{{2}}|[\u00f0-\u00f4]{_TAIL}{{3}})+"
)
_FEWEST_SEQUENCES = 2  # one alone can be meant, as in a text about encodings
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,5});")
_MARKUP_ENTITIES = {"&lt;", "&gt;", "&amp;"}
_INVISIBLE = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in INVISIBLE_RANGES) + "]"
)
_NO_BYTES = re.compile("(?![\x80-\x9f\xad])" + _INVISIBLE.pattern)
_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x85]")
_TRAILING_SPACE = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
DEBRIS = re.compile("锟斤拷|锟斤|斤拷|烫烫烫|屯屯屯|ï¿½|[\ufffd□]")
"""Signs of characters that are lost: the replacement character itself, and its bytes read again as
GBK or Latin-1."""


_MOJIBAKE_PAIR, _LINE_BREAK, _HIDDEN, _AMPERSAND, _SPACING = 1, 2, 4, 8, 16
_TAGS = 0xE0000  # planes 14 to 16: tags, variation selectors, private use; nothing a reader sees


@dataclass(frozen=True)
class Repaired:
    """A mended text.

    Attributes:
        text: in NFC.
        mended_sequences: runs of UTF-8 read as Latin-1 or cp1252 that were read again rightly.
        removed_characters: controls and other invisible ones taken out.
    """

    text: str
    mended_sequences: int
    removed_characters: int


def repair(text: str, *, is_markup_free: bool = True) -> Repaired:
    """Mend mojibake, left-over HTML entities, invisible characters, line ends and blank lines.

    `is_markup_free` is false for source code, where entities and blank lines are content.
    """
    damage = _damage(code_points(text), trait_table())
    mended = 0
    before = len(text)
    if damage & _HIDDEN:
        text = _NO_BYTES.sub("", text)  # what parts the bytes of one character
        damage |= _damage(code_points(text), trait_table())
    removed = before - len(text)
    if damage & _MOJIBAKE_PAIR and _MOJIBAKE.search(text):
        text, mended = _mend_mojibake(text)
        damage = _damage(code_points(text), trait_table())
    if damage & _LINE_BREAK:
        text = _LINE_ENDS.sub("\n", text)
    if damage & _HIDDEN:
        before = len(text)
        text = _INVISIBLE.sub("", text)
        removed += before - len(text)
    if is_markup_free:
        if damage & _AMPERSAND:
            text = _ENTITY.sub(_entity, text)
        if damage:
            text = _BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", text))
        text = text.strip("\n \t\u3000\u00a0")
    return Repaired(unicodedata.normalize("NFC", text), mended, removed)


@kernel
def _damage(points: CodePoints, traits: npt.NDArray[np.uint32]) -> int:
    """Which of the constants below there is something to do for."""
    last = np.uint32(len(traits) - 1)
    damage = newlines = 0
    previous = np.uint32(0)
    for place in range(len(points)):
        point = points[place]
        trait = traits[min(point, last)] if point < _TAGS else np.uint32(INVISIBLE)
        if trait & (OTHER_LINE_BREAK | INVISIBLE):
            damage |= _LINE_BREAK if trait & OTHER_LINE_BREAK else _HIDDEN
        if previous & UTF8_LEAD and trait & UTF8_TAIL:
            damage |= _MOJIBAKE_PAIR
        if point == 10:
            newlines += 1
            if previous & TRAILING_SPACE or newlines > 2:
                damage |= _SPACING
        else:
            newlines = 0
            if point == 38:
                damage |= _AMPERSAND
        previous = trait
    if previous & TRAILING_SPACE:
        damage |= _SPACING
    return damage


def _entity(match: re.Match[str]) -> str:
    found = match.group()
    if found in _MARKUP_ENTITIES:
        return found  # a text about HTML may mean them
    character = html.unescape(found)
    return found if _INVISIBLE.search(character) else character


def _mend_mojibake(text: str) -> tuple[str, int]:
    """Read runs that are UTF-8 taken for Latin-1 or cp1252 again as UTF-8."""
    mended = 0

    def mend(match: re.Match[str]) -> str:
        nonlocal mended
        try:
            whole = bytes(_TO_BYTE[character] for character in match.group()).decode("utf-8")
        except (UnicodeDecodeError, KeyError):
            return match.group()
        mended += 1
        return whole

    result = _MOJIBAKE.sub(mend, text)
    if mended < _FEWEST_SEQUENCES and len(_MOJIBAKE.findall(text)) < _FEWEST_SEQUENCES:
        if any(len(found) >= 6 for found in _MOJIBAKE.findall(text)):
            return result, mended
        return text, 0
    return result, mended


def lost_characters(text: str) -> int:
    """Characters of `text` that stand for lost ones."""
    return sum(len(found) for found in DEBRIS.findall(text))


_LATIN_RUN = re.compile("[\u00a1-\u00ff]{4,}|[\u00c0-\u00ff][\u0080-\u00bf\u2013-\u2122]{1,3}")
_LATIN_LETTER = re.compile("[\u00c0-\u00ff]")
# Chinese in UTF-8 read as GBK: the lead bytes E3 to EF give these characters again and again. The
# first three stand for 。，“ and are in no real text; the others alone prove nothing.
_GBK_SURE = re.compile("[锛銆鈥]")
_GBK_RUN = re.compile("[锛銆鈥涓鍦鏄浜鐨鍜绗鎴鏂鍙缁闂鏈瀛绋杩欎粬][\u4e00-\u9fff€]")


def mojibake_characters(text: str) -> int:
    """Characters of `text` in sequences that are another encoding's bytes."""
    if text.isascii():
        return 0
    latin = [run for run in _LATIN_RUN.findall(text) if _LATIN_LETTER.search(run)]
    found = _GBK_RUN.findall(text) if _GBK_SURE.search(text) else []
    return sum(map(len, latin)) + sum(map(len, found))
