"""The values that the rules look at: everything that is counted in one text.

`measure` gives a value for each rule of the text's language. Words are runs of letters, digits and
marks; Chinese is counted in characters. Shares lie between 0 and 1.
"""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.characters import (
    DIGIT,
    HAN,
    LATIN,
    LETTER,
    NEWLINE,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    code_points,
    folded,
    kind_counts,
    script_tables,
)
from tongwen.curate.repair import lost_characters, mojibake_characters
from tongwen.curate.repetition import repetition
from tongwen.curate.spam import spam_characters
from tongwen.curate.units import Hashes, Lengths, units_of

ENGLISH_TOP, ENGLISH_REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
CHINESE_TOP, CHINESE_REPEATED = (4, 6, 8), (10, 15, 20)
_FUNCTION_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_FUNCTION_CHARACTERS = "的是在和了不有为為之其而以"
_SIGN = re.compile(r"#|…|\.{3,}|。{3,}")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？；]+")
_TERMINAL = tuple('.!?。！？；：…"”’』」）)》:;')
_SENTENCE_MARKS = (".", "!", "?", "。", "！", "？")
_ELLIPSIS = ("...", "…", "。。。")
_ELLIPSIS_CHINESE = (*_ELLIPSIS, "更多", "展开", "展開", "全文", "[详细]")
_BULLET = tuple("•-*·●○▪‣◦►※")
_FENCED = re.compile(r"^ *```.*?(?:^ *```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_TABLE_FRAME = re.compile(
    r"^[ \t]*\|[ \t:|\-]*\|[ \t]*$|^[ \t]*\||\|[ \t]*$|(?<= )\|(?= )", re.MULTILINE
)
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_LEAST_PROSE_CHARACTERS = 20
_BRACKETS = re.compile(r"【[^】\n]{0,200}】")


class Lines(NamedTuple):
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


def measure(text: str, lang: str) -> dict[str, float]:
    """The values for a text in `lang`, those of all rules for it. Code and the frames of tables in
    a text that is not code itself are left out before anything is counted.

    Cost: about 6 million characters a second for Chinese, 4 million for English.
    """
    if lang != "code":
        text = prose(text)
    counts = kind_counts(code_points(text))
    characters = max(1, len(text) - int(counts[SPACE] + counts[NEWLINE]))
    lower = text.lower()
    lines = count_lines(text, is_chinese=lang.startswith("zh"))
    values: dict[str, float] = {
        "replaced_share": lost_characters(text) / characters,
        "mojibake_share": mojibake_characters(text) / characters,
        "symbol_share": int(counts[SYMBOL]) / characters,
        "digit_share": int(counts[DIGIT]) / characters,
        "punctuation_share": int(counts[PUNCTUATION]) / characters,
        "spam_share": spam_characters(lower, _simplified(lower)) / characters,
        "mean_line_characters": lines.characters / max(1, lines.number),
        "longest_line_characters": lines.longest,
        "terminal_line_share": lines.terminal / max(1, lines.number),
        "ellipsis_line_share": lines.ellipsis / max(1, lines.number),
        "duplicate_line_share": lines.duplicate / max(1, lines.number),
        "duplicate_line_character_share": lines.duplicate_characters / max(1, lines.characters),
    }
    if lang == "code":
        return values
    hashes, lengths = units_of(folded(text))
    if lang.startswith("zh"):
        values |= _chinese(text, counts, lines, characters)
        repeats = repetition(hashes, lengths, CHINESE_TOP, CHINESE_REPEATED)
    else:
        values |= _english(text, lower, lines, lengths)
        repeats = repetition(hashes, lengths, ENGLISH_TOP, ENGLISH_REPEATED)
    values["entropy_bits"] = entropy_bits(hashes)
    return values | repeats


def prose(text: str) -> str:
    """The text without fenced code, the frames of tables and the signs of headings, which no rule
    about prose fits; the whole text when hardly anything else is left.
    """
    rest = text
    if "```" in rest:
        rest = _FENCED.sub("\n", rest)
    if "|" in rest:
        rest = _TABLE_FRAME.sub(" ", rest)
    if "#" in rest:
        rest = _HEADING.sub("", rest)
    return rest if len(rest.strip()) >= _LEAST_PROSE_CHARACTERS else text


def _simplified(text: str) -> str:
    """With traditional characters replaced one by one."""
    if text.isascii():
        return text
    points = code_points(text)
    table = script_tables()[0]
    inside = points < len(table)
    return (
        np.where(inside, table[np.where(inside, points, 0)], points)
        .astype("<u4")
        .tobytes()
        .decode("utf-32-le", "surrogatepass")
    )


def count_lines(text: str, *, is_chinese: bool) -> Lines:
    """What the lines of a text look like. A bullet with a whole sentence counts as a sentence.

    A line ends in terminal punctuation when it does so after closing quotes are taken off, or ends
    in a colon, as a line before a list does.
    """
    ends = _ELLIPSIS_CHINESE if is_chinese else _ELLIPSIS
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    repeated = [(line, number) for line, number in Counter(lines).items() if number > 1]
    return Lines(
        number=len(lines),
        characters=sum(map(len, lines)),
        terminal=sum(1 for line in lines if line.endswith(_TERMINAL)),
        bullet=sum(
            1 for line in lines if line.startswith(_BULLET) and not line.endswith(_SENTENCE_MARKS)
        ),
        ellipsis=sum(1 for line in lines if line.endswith(ends)),
        short=sum(1 for line in lines if len(line) <= 30),
        duplicate=sum(number - 1 for _, number in repeated),
        duplicate_characters=sum(len(line) * (number - 1) for line, number in repeated),
        longest=max(map(len, lines), default=0),
    )


def _english(text: str, lower: str, lines: Lines, lengths: Lengths) -> dict[str, float]:
    number = max(1, len(lengths))
    return {
        "words": len(lengths),
        "mean_word_characters": int(lengths.sum()) / number,
        "symbols_per_word": len(_SIGN.findall(text)) / number,
        "bullet_line_share": lines.bullet / max(1, lines.number),
        "alphabetic_word_share": _alphabetic_share(text),
        "function_words": len(_FUNCTION_WORDS.intersection(lower.split())),
        "placeholders": lower.count("lorem ipsum"),
        "sentences": len(_SENTENCE_END.findall(text)),
        "short_line_share": lines.short / max(1, lines.number),
        "newlines_per_word": lines.number / number,
    }


def _chinese(
    text: str, counts: npt.NDArray[np.int64], lines: Lines, characters: int
) -> dict[str, float]:
    letters = int(counts[LATIN : LETTER + 1].sum())
    return {
        "han_share": int(counts[HAN]) / max(1, letters),
        "bracket_share": sum(map(len, _BRACKETS.findall(text))) / characters,
        "function_words": sum(1 for character in _FUNCTION_CHARACTERS if character in text),
        "newlines_per_character": lines.number / characters,
    }


def _alphabetic_share(text: str) -> float:
    """Share of the space-separated tokens that have a letter."""
    tokens = text.split()
    if not tokens:
        return 0.0
    return sum(1 for token in tokens if any(map(str.isalpha, token))) / len(tokens)


def entropy_bits(units: Hashes) -> float:
    """Shannon entropy of the units of a text, in bits. A text of n different units has log2 n."""
    if len(units) == 0:
        return 0.0
    numbers = np.unique(units, return_counts=True)[1]
    shares = numbers / len(units)
    return float(-(shares * np.log2(shares)).sum())
