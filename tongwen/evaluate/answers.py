"""Free answers: what is taken from them, how texts are compared, and when an answer is right.

Comparison works on copies; what the model said is reported as it was said.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tongwen.evaluate.numbers import (
    LARGE_UNITS,
    NUMERALS,
    SMALL_UNITS,
    parse_number,
    read_number,
)

_CJK = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_SPACE_BESIDE_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")
_NUMBER = re.compile(rf"(?<![\w.])-?(?:\d+(?:\.\d+)?)[万萬亿億]?(?!\d)%?|[{NUMERALS}]+", re.ASCII)
_ARTICLES = frozenset({"a", "an", "the"})
_SUFFIX = re.compile(r"(?<=[a-z])[+#\u266f\u266d]{1,3}(?![a-z0-9+#])")
_MINUS_AFTER_LETTERS = re.compile(r"(?<![a-z0-9-])[a-z]{1,2}-(?![a-z0-9-])")
_BRACKETED_LETTER = re.compile(r"\(\s?([a-z])\s?\)")
_BRACKETED_LETTERS = re.compile(r"(?:[\s,;]*\(\s?[A-Za-z]\s?\))+\s*")
_ARTICLE_BEFORE_WORD = re.compile(
    r"\b[Aa]\s+(?=[a-z])"
    r"(?!(?:and|are|as|because|best|but|fits|for|has|is|not|or|says|seems|since|was|will|would)\b)"
)
_LABEL = re.compile(r"[^\W\d]{1,12}\s?[:：]\s*")


@dataclass(frozen=True)
class Form:
    """What a comparison keeps because the accepted answers consist of it.

    Attributes:
        letter_a: "A" is a letter unless a word follows it.
        articles: an accepted answer is nothing but articles (the band "The The").
        brackets: the accepted answers are letters in brackets; "(A)" is not "A".
    """

    letter_a: bool = False
    articles: bool = False
    brackets: bool = False


def form_of(answers: Sequence[str], language: str) -> Form:
    """How texts are compared with these answers."""
    words = [comparable(answer, language, Form(articles=True)).split() for answer in answers]
    has_letters = any(
        found and all(_is_letter(word) or word in ("and", "or") for word in found)
        for found in words
    )
    has_articles = any(found and _ARTICLES.issuperset(found) for found in words)
    return Form(
        letter_a=has_letters or any(found[-1:] == ["a"] for found in words),
        articles=has_articles and not has_letters,
        brackets=any(
            _BRACKETED_LETTERS.fullmatch(unicodedata.normalize("NFKC", answer))
            for answer in answers
        ),
    )


def is_letter_answer(text: str) -> bool:
    """Whether an answer is a single letter, alone or in brackets."""
    return _is_letter(comparable(text, "en", Form(articles=True)))


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isascii() and word.isalpha()


def comparable(text: str, language: str, form: Form = Form()) -> str:
    """A copy of `text` in which equal answers are equal.

    Width and case are folded (NFKC), punctuation and symbols become spaces, thousands
    separators go. What tells answers apart stays: decimal points, minus signs, a percent sign
    after a number, the signs of `C++`, `C#`, `O-`. English also loses its articles (Rajpurkar et
    al. 2016, arXiv:1606.05250) as far as `form` lets it; Chinese the spaces beside its characters.
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    is_chinese = language.startswith("zh")
    if form.letter_a and not is_chinese:
        text = _ARTICLE_BEFORE_WORD.sub(" ", text)
    text = text.casefold()
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d) (?=%)", "", text)
    text = re.sub(r"\b(?:[a-z]\.){2,}", lambda found: found.group().replace(".", ""), text)
    text = re.sub(r"(?<=[^\W\d])['’](?=[^\W\d])", "", text)
    if form.brackets:
        text = _BRACKETED_LETTER.sub(r"(\1)", text)
    kept = _kept_signs(text, form)
    characters = []
    for index, character in enumerate(text):
        if (
            unicodedata.category(character)[0] in "PSZC"
            and index not in kept
            and not _is_in_number(text, index)
        ):
            character = " "
        characters.append(character)
    text = "".join(characters)
    if not is_chinese and not form.articles:
        text = re.sub(r"\b(?:an|the)\b" if form.letter_a else r"\b(?:a|an|the)\b", " ", text)
    return _SPACE_BESIDE_CJK.sub("", " ".join(text.split()))


def _kept_signs(text: str, form: Form) -> set[int]:
    """Places of signs that belong to a name: `c++`, `f#`, `o-`, and `(a)` where brackets count."""
    kept = {place for found in _SUFFIX.finditer(text) for place in range(*found.span())}
    kept |= {found.end() - 1 for found in _MINUS_AFTER_LETTERS.finditer(text)}
    if form.brackets:
        for found in _BRACKETED_LETTER.finditer(text):
            kept |= {found.start(), found.end() - 1}
    return kept


def _is_in_number(text: str, index: int) -> bool:
    """Whether a sign is part of a number: its point, the minus before it, the percent after it."""
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if text[index] == "%":
        return before.isascii() and before.isdigit()
    if not (after.isascii() and after.isdigit()):
        return False
    if text[index] == ".":
        return before.isascii() and before.isdigit()
    return text[index] == "-" and not before.isalnum()


def without_question(text: str, prompts: Sequence[str]) -> str:
    """An answer without a repetition of the question at its start.

    A question names numbers and words of its answer; a model that only repeats it says nothing.
    Whole lines are compared, in the order of the prompt, with or without their label.
    """
    lines = text.split("\n")
    asked = [[_folded(line) for line in prompt.split("\n") if line.strip()] for prompt in prompts]
    start, end = 0, -1
    while start != end:
        end, start = start, max(_after_repeated(lines, start, prompt) for prompt in asked)
    return "\n".join(lines[start:]) if start else text


def _after_repeated(lines: Sequence[str], start: int, asked: Sequence[str]) -> int:
    """Number of the line after those that repeat the beginning of a prompt."""
    end, matched = start, 0
    for index in range(start, len(lines)):
        line = _folded(lines[index])
        if not line:
            continue
        if matched == len(asked) or line not in (asked[matched], _LABEL.sub("", asked[matched], 1)):
            break
        end, matched = index + 1, matched + 1
    return end


def _folded(line: str) -> str:
    return " ".join(line.casefold().split())


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
    """Whether the text is an accepted answer and nothing else.

    Answers of which nothing is left to compare (`] ) }`) must be equal as they are written.
    """
    return any(_is_same(text, answer, form_of([answer], language), language) for answer in accepted)


def _is_same(text: str, answer: str, form: Form, language: str) -> bool:
    right = comparable(answer, language, form)
    if not right:
        return text.split() == answer.split()
    return comparable(text, language, form) == right


def is_empty(text: str) -> bool:
    """Whether nothing is left of a text when it is compared."""
    return not comparable(text, "en", Form(articles=True))


def number_match(text: str, accepted: Sequence[str]) -> bool:
    """Whether the text is a number equal to an accepted one."""
    said = parse_number(text)
    return said is not None and said in accepted_numbers(accepted)


def accepted_numbers(accepted: Sequence[str]) -> set[Fraction]:
    """The values of accepted answers; of `18 apples` the number in it."""
    values = set()
    for answer in accepted:
        value = parse_number(answer)
        if value is None and (reading := read_number(answer)) is not None:
            value = reading.value
        if value is not None:
            values.add(value)
    return values


def f1(text: str, accepted: Sequence[str], language: str) -> float:
    """Overlap of words with the nearest accepted answer, 0 to 1; a Chinese character is a word.

    The measure of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250), and of XQuAD and MLQA in
    Chinese; CMRC's own script counts the longest common substring instead and gives less.
    """
    return max(_f1(text, answer, language) for answer in accepted)


def _f1(text: str, answer: str, language: str) -> float:
    form = form_of([answer], language)
    if form.articles or not comparable(text, "en"):  # articles alone share nothing
        return float(_is_same(text, answer, form, language))
    said, right = _words(text, language, form), _words(answer, language, form)
    if not said or not right:
        return float(_is_same(text, answer, form, language))
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))


def _words(text: str, language: str, form: Form) -> list[str]:
    return re.findall(f"[{_CJK}]|[^{_CJK}\\s]+", comparable(text, language, form))


def contains(text: str, accepted: Sequence[str], others: Sequence[str], language: str) -> bool:
    """Whether an accepted answer stands in the text as whole words, and none of the others does.

    A text that names the right answer and a wrong one has not answered. Where one candidate is
    part of another ("Harbour", "New Harbour"), the longer one takes the place. An accepted
    number is found in any notation: `1,500`, `1500`, `一千五百`.
    """
    form = form_of([*accepted, *others], language)
    if any(text.split() == answer.split() for answer in accepted):
        return True  # also answers of which nothing is left to compare
    said = comparable(text, language, form)
    right = {comparable(answer, language, form) for answer in accepted}
    wrong = {comparable(answer, language, form) for answer in others} - right
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
    form = form_of([candidate], language)
    return bool(_places(comparable(text, language, form), comparable(candidate, language, form)))


def _places(text: str, candidate: str) -> list[tuple[int, int]]:
    """Where a candidate stands as whole words, or as a number of equal value."""
    if not candidate:
        return []
    number = candidate.rstrip("元")
    value = parse_number(number) if _NUMBER.fullmatch(number) else None
    if value is not None:
        return [
            found.span()
            for found in _NUMBER.finditer(text)
            if found.group().endswith("%") == number.endswith("%")
            and parse_number(found.group()) == value
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
    if after in "+#\u266f\u266d" or (after == "-" and before.isalnum()):
        return False  # c++ does not name c
    if _CJK_CHARACTER.match(before) or _CJK_CHARACTER.match(after):
        is_unit = after in SMALL_UNITS or after in LARGE_UNITS
        return not (before.isascii() and before.isdigit() and is_unit)
    return not (before.isalnum() or before in ".-") or not (after.isalnum() or after == ".")
