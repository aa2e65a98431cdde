"""Free answers: what is taken from them, how texts are compared, and when an answer is right.

Comparison works on copies; what the model said is reported as it was said.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

_CJK = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_SPACE_BESIDE_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")
_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_SMALL_UNITS = {"十": 10, "百": 100, "千": 1_000}
_LARGE_UNITS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_NUMERALS = "".join((*_DIGITS, *_SMALL_UNITS, *_LARGE_UNITS))
_NUMERAL_RUN = re.compile(f"[{_NUMERALS}]+")
_NUMBER = re.compile(rf"(?<![\w.])-?(?:\d+(?:\.\d+)?)[万萬亿億]?(?!\d)|[{_NUMERALS}]+", re.ASCII)


def comparable(text: str, language: str) -> str:
    """A copy of `text` in which equal answers are equal.

    Width and case are folded (NFKC), punctuation and symbols become spaces, thousands
    separators go, decimal points and minus signs stay. English also loses its articles
    (Rajpurkar et al. 2016, arXiv:1606.05250); Chinese the spaces beside its characters.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\b(?:[a-z]\.){2,}", lambda found: found.group().replace(".", ""), text)
    text = re.sub(r"(?<=[^\W\d])['’](?=[^\W\d])", "", text)
    characters = []
    for index, character in enumerate(text):
        if unicodedata.category(character)[0] in "PSZC" and not _is_in_number(text, index):
            character = " "
        characters.append(character)
    text = "".join(characters)
    if not language.startswith("zh"):
        text = re.sub(r"\b(?:a|an|the)\b", " ", text)
    return _SPACE_BESIDE_CJK.sub("", " ".join(text.split()))


def _is_in_number(text: str, index: int) -> bool:
    """Whether the character is a decimal point, or a minus sign at a number's start."""
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if not (after.isascii() and after.isdigit()):
        return False
    if text[index] == ".":
        return before.isascii() and before.isdigit()
    return text[index] == "-" and not before.isalnum()


def parse_number(text: str) -> Fraction | None:
    """The value of a text that is one number: `1,234.5`, `$18`, `3/4`, `五百二十`, `3万`."""
    text = unicodedata.normalize("NFKC", text).strip().replace("\u2212", "-").replace(",", "")
    text = text.strip(" $€£¥%.。元").replace("\u2044", "/")
    if text and all(character in _NUMERALS for character in text):
        value = chinese_number(text)
        return None if value is None else Fraction(value)
    unit = _LARGE_UNITS.get(text[-1:], 1)
    text = text.rstrip("".join(_LARGE_UNITS)) if unit != 1 else text
    if not re.fullmatch(r"[-+]?\d+(?:\.\d+|/\d*[1-9]\d*)?", text, re.ASCII):
        return None
    return Fraction(text) * unit


def chinese_number(text: str) -> int | None:
    """The value of Chinese numerals: `二〇二四`, `十五`, `三万零五十`; None when they say none."""
    if not text:
        return None
    if all(character in _DIGITS for character in text):
        return int("".join(str(_DIGITS[character]) for character in text))
    total = section = 0
    digit: int | None = None
    unit = 1
    for character in text:
        if character in _DIGITS:
            if digit:
                return None
            digit = _DIGITS[character]
            unit = unit if digit else 10  # after a spoken zero a last digit means ones
        elif character in _SMALL_UNITS:
            if digit is None and (character != "十" or section % 100):
                return None
            unit = _SMALL_UNITS[character]
            section += (1 if digit is None else digit) * unit
            digit = None
        else:
            section += digit or 0
            if not section and not total:
                return None
            unit = _LARGE_UNITS[character]
            if character in "亿億":
                total, section = (total + section) * unit, 0
            else:
                total, section = total + section * unit, 0
            digit = None
    # 三百五 is 350 and 一万二 is 12,000: a last digit counts in the next lower unit.
    return total + section + (digit or 0) * max(unit // 10, 1)


def extract(text: str, patterns: Sequence[str]) -> tuple[str, bool]:
    """What is judged of a text, and whether a pattern found it.

    The first pattern that fits decides; of its matches the last one, its first group. Without
    patterns the whole text is judged.
    """
    for pattern in patterns:
        found = [match.group(1) for match in re.finditer(pattern, text) if match.group(1)]
        if found:
            return found[-1].strip(), True
    return text.strip(), not patterns


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    ends = [text.find(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


def exact_match(text: str, accepted: Sequence[str], language: str) -> bool:
    """Whether the text is an accepted answer and nothing else."""
    said = comparable(text, language)
    return any(said == comparable(answer, language) for answer in accepted)


def number_match(text: str, accepted: Sequence[str]) -> bool:
    """Whether the text is a number equal to an accepted one."""
    said = parse_number(text)
    return said is not None and any(said == parse_number(answer) for answer in accepted)


def f1(text: str, accepted: Sequence[str], language: str) -> float:
    """Overlap of words with the nearest accepted answer, 0 to 1; a Chinese character is a word.

    The measure of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250), and of XQuAD and MLQA in
    Chinese; CMRC's own script counts the longest common substring instead and gives less.
    """
    return max(_f1(_words(text, language), _words(answer, language)) for answer in accepted)


def _words(text: str, language: str) -> list[str]:
    return re.findall(f"[{_CJK}]|[^{_CJK}\\s]+", comparable(text, language))


def _f1(said: list[str], right: list[str]) -> float:
    shared = sum((Counter(said) & Counter(right)).values())
    if not said or not right:
        return float(said == right)
    return 2 * shared / (len(said) + len(right))


def contains(text: str, accepted: Sequence[str], others: Sequence[str], language: str) -> bool:
    """Whether an accepted answer stands in the text as whole words, and none of the others does.

    A text that names the right answer and a wrong one has not answered. Where one candidate is
    part of another ("Harbour", "New Harbour"), the longer one takes the place. An accepted
    number is found in any notation: `1,500`, `1500`, `一千五百`.
    """
    said = comparable(text, language)
    right = {comparable(answer, language) for answer in accepted}
    wrong = {comparable(answer, language) for answer in others} - right
    taken: list[tuple[int, int]] = []
    found: set[str] = set()
    for candidate in sorted(right | wrong, key=lambda item: (-len(item), item)):
        for start, end in _places(said, candidate):
            if not any(start < other_end and other_start < end for other_start, other_end in taken):
                taken.append((start, end))
                found.add(candidate)
    return bool(found & right) and not found & wrong


def stands_in(text: str, candidate: str, language: str) -> bool:
    """Whether the candidate stands in the text as whole words, or as a number of equal value."""
    return bool(_places(comparable(text, language), comparable(candidate, language)))


def _places(text: str, candidate: str) -> list[tuple[int, int]]:
    """Where a candidate stands as whole words, or as a number of equal value."""
    if not candidate:
        return []
    value = parse_number(candidate)
    if value is not None:
        return [
            found.span() for found in _NUMBER.finditer(text) if parse_number(found.group()) == value
        ]
    places = []
    start = text.find(candidate)
    while start >= 0:
        end = start + len(candidate)
        if _is_boundary(text, start) and _is_boundary(text, end):
            places.append((start, end))
        start = text.find(candidate, start + 1)
    return places


def _is_boundary(text: str, index: int) -> bool:
    """Whether a word may end or begin before `text[index]`; beside a Chinese character it may."""
    if index in (0, len(text)):
        return True
    before, after = text[index - 1], text[index]
    if _CJK_CHARACTER.match(before) or _CJK_CHARACTER.match(after):
        is_unit = after in _SMALL_UNITS or after in _LARGE_UNITS
        return not (before.isascii() and before.isdigit() and is_unit)
    return not (before.isalnum() or before in ".-") or not (after.isalnum() or after == ".")
