"""The values that the rules look at: everything that is counted in one text.

`measure` gives a value for each rule of the text's language. Words are runs of letters, digits and
marks; Chinese is counted in characters. Shares lie between 0 and 1.
"""

import re
from functools import cache
from math import nan

import numpy as np

from tongwen.curate.extract.repair import lost_characters, mojibake_characters
from tongwen.curate.rules.counting import (
    ALPHABETIC_TOKENS,
    FUNCTION_WORDS,
    LATIN_PAIRS,
    SENTENCES,
    SIGNS,
    TOKENS,
    TRAITS,
    LineCounts,
    function_word_keys,
    han_letters,
    line_counts,
    survey,
)
from tongwen.curate.rules.repetition import repetition_names, repetition_shares
from tongwen.curate.rules.spam import spam_characters
from tongwen.curate.text.characters import (
    DIGIT,
    NEWLINE,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    CodePoints,
    code_points,
    folded,
)
from tongwen.curate.text.folding import POINTS_A_BYTE, fold_tables, fold_utf8
from tongwen.curate.text.prose import running_text
from tongwen.curate.text.traits import GBK_DEBRIS, LOST_DEBRIS, kind_table, trait_table
from tongwen.curate.text.units import Lengths, units_of

ENGLISH_TOP, ENGLISH_REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
CHINESE_TOP, CHINESE_REPEATED = (4, 6, 8), (10, 15, 20)
_ENGLISH_SIZES = np.array([*ENGLISH_TOP, *ENGLISH_REPEATED], np.int64)
_CHINESE_SIZES = np.array([*CHINESE_TOP, *CHINESE_REPEATED], np.int64)
_ENGLISH_NAMES = repetition_names(ENGLISH_TOP, ENGLISH_REPEATED)
_CHINESE_NAMES = repetition_names(CHINESE_TOP, CHINESE_REPEATED)
_FUNCTION_CHARACTERS = "的是在和了不有为為之其而以"
_ELLIPSIS = ("...", "…", "。。。")
_ELLIPSIS_CHINESE = (*_ELLIPSIS, "更多", "展开", "展開", "全文", "[详细]")
_OF_SENTENCES = frozenset((
    "mean_line_characters", "longest_line_characters", "terminal_line_share",
    "ellipsis_line_share", "duplicate_line_share", "duplicate_line_character_share",
    "bullet_line_share", "sentences", "short_line_share", "newlines_per_word",
    "newlines_per_character", "punctuation_share", "function_words",
    "digit_share",
))  # fmt: skip
_BRACKETS = re.compile(r"【[^】\n]{0,200}】")


def measure(text: str, lang: str) -> dict[str, float]:
    """The values for a text in `lang`, those of all rules for it.

    Of a text that is not code itself only the running text is counted, without code, formulas, rows
    of tables and lines of logs; but `words` are those of the whole text. Where that is less than
    half of the whole, nothing about lines, sentences and function words is measured.

    Cost: about 9 million characters a second on a busy core.
    """
    whole = text
    is_little = False
    if lang != "code":
        text, is_little = running_text(text)
    points = code_points(text)
    found = survey(points, kind_table(), trait_table(), function_word_keys()).tolist()
    characters = max(1, len(text) - found[SPACE] - found[NEWLINE])
    is_chinese = lang.startswith("zh")
    lines = count_lines(text, is_chinese=is_chinese, points=points)
    number = max(1, lines.number)
    is_lost = found[TRAITS] & LOST_DEBRIS
    is_mojibake = found[LATIN_PAIRS] or found[TRAITS] & GBK_DEBRIS
    values: dict[str, float] = {
        "replaced_share": lost_characters(text) / characters if is_lost else 0.0,
        "mojibake_share": mojibake_characters(text) / characters if is_mojibake else 0.0,
        "symbol_share": found[SYMBOL] / characters,
        "digit_share": found[DIGIT] / characters,
        "punctuation_share": found[PUNCTUATION] / characters,
        "spam_share": spam_characters(points) / characters,
        "mean_line_characters": lines.characters / number,
        "longest_line_characters": lines.longest,
        "terminal_line_share": lines.terminal / number,
        "ellipsis_line_share": lines.ellipsis / number,
        "duplicate_line_share": lines.duplicate / number,
        "duplicate_line_character_share": lines.duplicate_characters / max(1, lines.characters),
    }
    if lang == "code":
        return values
    hashes, lengths = units_of(_folded(text))
    if is_chinese:
        values |= _chinese(text, points, lines, characters)
        shares = repetition_shares(hashes, lengths, _CHINESE_SIZES, len(CHINESE_TOP))
        names = _CHINESE_NAMES
    else:
        values |= _english(text, found, lines, lengths)
        if text is not whole:
            values["words"] = len(units_of(_folded(whole))[0])
        shares = repetition_shares(hashes, lengths, _ENGLISH_SIZES, len(ENGLISH_TOP))
        names = _ENGLISH_NAMES
    values.update(zip(names, shares.tolist(), strict=True))
    if is_little:
        values |= dict.fromkeys(_OF_SENTENCES & values.keys(), nan)
    return values


def _folded(text: str) -> CodePoints:
    """What `characters.folded` gives, by one table where that is possible."""
    data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    points = np.empty(POINTS_A_BYTE * len(data), np.uint32)
    number = fold_utf8(data, 0, len(data), fold_tables(), points)
    return folded(text) if number < 0 else points[:number]


@cache
def _endings() -> CodePoints:
    """What lines that are cut short end with, as `line_counts` wants it."""
    table = np.zeros((len(_ELLIPSIS_CHINESE), 5), np.uint32)
    for row, ending in zip(table, _ELLIPSIS_CHINESE, strict=True):
        row[0] = len(ending)
        row[1 : 1 + len(ending)] = code_points(ending[::-1])
    return table.ravel()


def count_lines(text: str, *, is_chinese: bool, points: CodePoints | None = None) -> LineCounts:
    """What the lines of a text look like. A bullet with a whole sentence counts as a sentence.

    A line ends in terminal punctuation when it does so after closing quotes are taken off, or ends
    in a colon, as a line before a list does. `points` are the text's, when they are at hand.
    """
    points = code_points(text) if points is None else points
    endings = len(_ELLIPSIS_CHINESE if is_chinese else _ELLIPSIS)
    return LineCounts(*line_counts(points, trait_table(), _endings(), endings).tolist())


def _english(text: str, found: list[int], lines: LineCounts, lengths: Lengths) -> dict[str, float]:
    number = max(1, len(lengths))
    return {
        "words": len(lengths),
        "mean_word_characters": int(lengths.sum()) / number,
        "symbols_per_word": found[SIGNS] / number,
        "bullet_line_share": lines.bullet / max(1, lines.number),
        "alphabetic_word_share": found[ALPHABETIC_TOKENS] / max(1, found[TOKENS]),
        "function_words": found[FUNCTION_WORDS],
        "placeholders": text.lower().count("lorem ipsum"),
        "sentences": found[SENTENCES],
        "short_line_share": lines.short / max(1, lines.number),
        "newlines_per_word": lines.number / number,
    }


def _chinese(text: str, points: CodePoints, lines: LineCounts, characters: int) -> dict[str, float]:
    han, letters = han_letters(points, kind_table())
    bracketed = _BRACKETS.findall(text) if "【" in text else []
    return {
        "han_share": han / max(1, letters),
        "bracket_share": sum(map(len, bracketed)) / characters,
        "function_words": sum(1 for character in _FUNCTION_CHARACTERS if character in text),
        "newlines_per_character": lines.number / characters,
    }
