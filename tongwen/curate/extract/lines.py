"""Lines that belong to a page's frame, not to its text: cookies, sharing, log-in, copyright.

The line rules of RefinedWeb (Penedo et al. 2023, arXiv 2306.01116, appendix G.2) and DCLM (Li et
al. 2024, arXiv 2406.11794) for English, and a list of our own for Chinese. A compiled pass picks
the lines that a pattern could match at all; only those are looked at closely.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.extract.frame_patterns import (
    CHINESE,
    CHINESE_SIGNS,
    COUNTER,
    ENGLISH_HEADS,
    INSIDE_ENGLISH,
    INSIDE_SIGNS,
    MENU,
    MENU_SIGNS,
    NOTICE,
    WHOLE_ENGLISH,
)
from tongwen.curate.names import LINE_REASONS
from tongwen.curate.text.automaton import Automaton, automaton_of
from tongwen.curate.text.characters import CodePoints, code_points
from tongwen.curate.text.hash_table import find_slot, table_slots
from tongwen.curate.text.traits import (
    ALPHABETIC,
    ASCII_DIGIT,
    MARKDOWN_SIGN,
    NUMBER_SIGN,
    SPACE,
    UPPER,
    lower_table,
    trait_table,
)
from tongwen.curate.text.units import GOLDEN, mix
from tongwen.kernels import inner, kernel

REASONS = LINE_REASONS
"""Why a line is cut: a link or button, `3 likes`, a cookie or copyright notice, a row of menu
words, a short line that stood there twice before, capitals mostly, digits only."""

LINE_CUT = np.dtype([("start", "<u4"), ("end", "<u4"), ("reason", "u1")])
"""A line to cut with the line feed after it; `reason` is a place in `REASONS`."""

_LONGEST_ENGLISH_WORDS = 12  # longer lines are sentences that mention a cookie or a share
_LONGEST_ENGLISH_CHARACTERS = 120  # for lines without spaces, such as addresses
_LONGEST_CHINESE_CHARACTERS = 40  # says about as much as 120 letters
_LONGEST_MENU_CHARACTERS = 200  # a row of links became one line; a paragraph is longer
# Names, dates and buttons repeat; longer lines that do are quotes or refrains.
_LONGEST_SIGNATURE = 40
_FEWEST_REPEATS = 3  # twice happens in honest texts
_FEWEST_CAPITALS = 10  # letters: "HTTP API" is a heading, not shouting
_FEWEST_MENU_WORDS = 4  # fewer of them meet in a sentence by chance
_MENU_SHARE = 0.6  # of the letters, so that a sentence with menu words stays
_MARKDOWN = re.compile(r"^[\s>#*\-+|•·●»›]+")
_SENTENCE_ENDS = (".", "。", "!", "！", "?", "？")
_CHINESE_SIGN, _INSIDE_SIGN, _MENU_SIGN = 1, 2, 4
_MAY_BE_CHINESE, _MAY_BE_ENGLISH, _MAY_BE_MENU, _IS_REPEATED, _IS_UPPER, _IS_NUMBERS = (
    1, 2, 4, 8, 16, 32,
)  # fmt: skip
_BAR, _HASH = ord("|"), ord("#")
_FIRST_WIDE = 0x2E80  # CJK begins here; it has no capitals


@dataclass(frozen=True)
class CleanedLines:
    """A text without boilerplate lines, and what went.

    Attributes:
        text: the lines that stay.
        lines, characters: number of lines taken out and of characters in them.
        reasons: lines taken out for each reason.
    """

    text: str
    lines: int
    characters: int
    reasons: dict[str, int]


def boilerplate_reason(line: str) -> str | None:
    """Why a line is part of the page's frame, None when it is not. Long lines never are."""
    bare = _MARKDOWN.sub("", line).strip()
    if not bare:
        return None
    if len(bare) <= _LONGEST_CHINESE_CHARACTERS and CHINESE.search(bare):
        return _kind(bare)
    if _is_menu(bare):
        return "menu"
    if (
        len(bare.split()) > _LONGEST_ENGLISH_WORDS
        or len(bare) > _LONGEST_ENGLISH_CHARACTERS
        or not (WHOLE_ENGLISH.fullmatch(bare) or INSIDE_ENGLISH.search(bare))
    ):
        return None
    return _kind(bare)


def is_boilerplate(line: str) -> bool:
    """Whether a line is part of the page's frame by its words."""
    return boilerplate_reason(line) is not None


def _kind(bare: str) -> str:
    if COUNTER.search(bare):
        return "counter"
    return "notice" if NOTICE.search(bare) else "button"


def _is_menu(line: str) -> bool:
    """Whether a line is mostly the words of menus, as when a row of links became one line."""
    if len(line) > _LONGEST_MENU_CHARACTERS or line.endswith(_SENTENCE_ENDS):
        return False
    words = MENU.findall(line)
    letters = sum(1 for character in line if character.isalnum())
    found = sum(1 for word in words for character in word if character.isalnum())
    return len(words) >= _FEWEST_MENU_WORDS and found >= _MENU_SHARE * letters


def line_cuts(text: str, reasons: frozenset[str] = frozenset(REASONS)) -> npt.NDArray[Any]:
    """The lines of the page's frame as an array of `LINE_CUT`, in order: those that patterns know,
    all but the first of a short line that stands there three times (buttons and signatures beside
    every comment), lines of capitals and lines of digits.

    Lines inside fenced code blocks stay; rows of tables and headings may be capitals or digits.
    """
    rows = _survey(
        code_points(text), trait_table(), lower_table(), _signs(), _sign_groups(), _heads()
    )
    cuts = []
    for start, end, flags in rows.tolist():
        reason = _reason(text[start:end], flags)
        if reason in reasons:
            cuts.append((start, min(end + 1, len(text)), REASONS.index(reason)))
    return np.array(cuts, LINE_CUT)


def _reason(line: str, flags: int) -> str | None:
    if flags & (_MAY_BE_CHINESE | _MAY_BE_ENGLISH | _MAY_BE_MENU):
        found = boilerplate_reason(line)
        if found is not None:
            return found
    if flags & _IS_REPEATED:
        return "repeated"
    if flags & _IS_UPPER:
        return "uppercase"
    return "numbers" if flags & _IS_NUMBERS else None


def remove_boilerplate(text: str, reasons: frozenset[str] = frozenset(REASONS)) -> CleanedLines:
    """Take the lines that `line_cuts` names out of a text, for some of its reasons or all."""
    cuts = line_cuts(text, reasons)
    if not len(cuts):
        return CleanedLines(text, 0, 0, {})
    pieces = []
    position = characters = 0
    for start, end, _ in cuts.tolist():
        pieces.append(text[position:start])
        characters += end - start - (text[end - 1] == "\n")
        position = end
    pieces.append(text[position:])
    cleaned = re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip("\n")
    counted = Counter(REASONS[reason] for reason in cuts["reason"].tolist())
    return CleanedLines(cleaned, len(cuts), characters, dict(counted))


@cache
def _sign_terms() -> dict[str, int]:
    groups: dict[str, int] = {}
    for terms, group in (
        (CHINESE_SIGNS, _CHINESE_SIGN), (INSIDE_SIGNS, _INSIDE_SIGN), (MENU_SIGNS, _MENU_SIGN)
    ):  # fmt: skip
        for term in terms:
            groups[term] = groups.get(term, 0) | group
    return groups


@cache
def _signs() -> Automaton:
    return automaton_of(list(_sign_terms()), lower_table())


@cache
def _sign_groups() -> npt.NDArray[np.uint8]:
    return np.array(list(_sign_terms().values()), np.uint8)


@cache
def _heads() -> npt.NDArray[np.bool_]:
    """Which first two ASCII characters an English line of the frame can have, lower case."""
    table = np.zeros(128 * 128, np.bool_)
    for head in ENGLISH_HEADS:
        table[ord(head[0]) * 128 + ord(head[1])] = True
    return table


@kernel(allocates=True)
def _survey(
    points: CodePoints,
    traits: npt.NDArray[np.uint32],
    lower: CodePoints,
    signs: Automaton,
    groups: npt.NDArray[np.uint8],
    heads: npt.NDArray[np.bool_],
) -> Any:
    """Start, end and flags of the lines that may have to go; what is in code is left out."""
    number = len(points)
    total = 1
    for place in range(number):
        total += points[place] == 10
    lines = np.zeros((total, 5), np.int64)  # start, end, first and last character, is repeated
    rows = np.empty((total, 3), np.int64)
    _split(points, traits, lines)
    _mark_repeated(points, lines)
    kept = 0
    is_code = False
    for line in range(total):
        start, end, first, final = lines[line, 0], lines[line, 1], lines[line, 2], lines[line, 3]
        if first > final:
            continue
        if final - first >= 2 and _is_fence(points, first):
            is_code = not is_code
        if is_code:
            continue
        flags = _IS_REPEATED if lines[line, 4] else 0
        bare = first
        last = np.uint32(len(traits) - 1)
        while bare <= final and traits[min(points[bare], last)] & (MARKDOWN_SIGN | SPACE):
            bare += 1
        if bare <= final:
            flags |= _line_flags(
                points, bare, final, points[first], traits, lower, signs, groups, heads
            )
        if flags:
            rows[kept, 0], rows[kept, 1], rows[kept, 2] = start, end, flags
            kept += 1
    return rows[:kept]


@inner
def _is_fence(points: CodePoints, first: int) -> bool:
    return bool(points[first] == 96 and points[first + 1] == 96 and points[first + 2] == 96)


@inner
def _split(points: CodePoints, traits: npt.NDArray[np.uint32], lines: Any) -> None:
    """Fill in start and end of every line, and its first and last character that is no space."""
    last = np.uint32(len(traits) - 1)
    start = 0
    for line in range(len(lines)):
        end = start
        first, final = -1, -2
        while end < len(points) and points[end] != 10:
            if not traits[min(points[end], last)] & SPACE:
                if first < 0:
                    first = end
                final = end
            end += 1
        lines[line, 0], lines[line, 1], lines[line, 2], lines[line, 3] = start, end, first, final
        start = end + 1


@inner(allocates=True)
def _mark_repeated(points: CodePoints, lines: Any) -> None:
    """Mark, outside of code, all but the first of a short line that stands there three times."""
    capacity = table_slots(len(lines))
    keys = np.zeros(capacity, np.uint64)
    counts = np.zeros(capacity, np.int32)
    seen = np.zeros(capacity, np.int32)
    slots = np.full(len(lines), -1)
    for line in range(len(lines)):
        first, final = lines[line, 2], lines[line, 3]
        is_short = first <= final and final + 1 - first <= _LONGEST_SIGNATURE
        if not is_short or points[first] == 124 or points[first] == 96:
            continue
        value = np.uint64(final + 1 - first)
        for place in range(first, final + 1):
            value = (mix(value) + np.uint64(points[place])) * GOLDEN
        value = max(mix(value), np.uint64(1))
        slot = find_slot(keys, value, value)
        keys[slot] = value
        counts[slot] += 1
        slots[line] = slot
    is_code = False
    for line in range(len(lines)):
        first, final = lines[line, 2], lines[line, 3]
        if final - first >= 2 and _is_fence(points, first):
            is_code = not is_code
        slot = slots[line]
        if not is_code and slot >= 0 and counts[slot] >= _FEWEST_REPEATS:
            lines[line, 4] = seen[slot]
            seen[slot] = 1


@inner
def _line_flags(
    points: CodePoints,
    first: int,
    final: int,
    opening: np.uint32,
    traits: npt.NDArray[np.uint32],
    lower: CodePoints,
    signs: Automaton,
    groups: npt.NDArray[np.uint8],
    heads: npt.NDArray[np.bool_],
) -> int:
    """What one line may be. `opening` is its first character, before Markdown is taken off."""
    length = final + 1 - first
    if length > _LONGEST_MENU_CHARACTERS:
        return 0
    last = np.uint32(len(traits) - 1)
    words, upper, letters, wide, digits, others = 1, 0, 0, 0, 0, 0
    seen, menu_words, state = 0, 0, 0
    for place in range(first, final + 1):
        point = min(points[place], last)
        trait = traits[point]
        if trait & SPACE and not traits[min(points[place - 1], last)] & SPACE:
            words += 1
        upper += (trait & UPPER) != 0
        letters += (trait & ALPHABETIC) != 0
        wide += point >= _FIRST_WIDE
        if trait & ASCII_DIGIT:
            digits += 1
        elif not trait & (SPACE | NUMBER_SIGN):
            others += 1
        letter = signs.letters[point]
        if letter == 0:
            state = 0
            continue
        state = signs.steps[state, letter]
        term = signs.longest[state]
        while term >= 0:
            seen |= groups[term]
            menu_words += (groups[term] & _MENU_SIGN) != 0
            term = signs.shorter[term]
    flags = 0
    if seen & _CHINESE_SIGN and length <= _LONGEST_CHINESE_CHARACTERS:
        flags |= _MAY_BE_CHINESE
    if menu_words >= _FEWEST_MENU_WORDS:
        flags |= _MAY_BE_MENU
    if length <= _LONGEST_ENGLISH_CHARACTERS and words <= _LONGEST_ENGLISH_WORDS:
        head, second = lower[min(points[first], last)], np.uint32(0)
        if length > 1:
            second = lower[min(points[first + 1], last)]
        is_head = head < 128 and second < 128 and heads[head * 128 + second]
        if seen & _INSIDE_SIGN or is_head or traits[min(points[first], last)] & ASCII_DIGIT:
            flags |= _MAY_BE_ENGLISH
    if opening in (_BAR, _HASH):
        return flags
    if others == 0 and digits:
        flags |= _IS_NUMBERS
    if letters >= _FEWEST_CAPITALS and words > 1 and 2 * upper > letters and not wide:
        flags |= _IS_UPPER
    return flags
