"""Letters in answers: which choices an answer to an examination question names."""

import re
import unicodedata
from collections.abc import Sequence

_MARK = re.compile(
    r"【\s?答案\s?】|(?:正确|正確)?(?:答案|选项|選項)\s?(?:应该|应)?\s?(?:是|为|為|选|:|=)|答\s?:"
    r"|故?(?:应该|应|故|本题)选(?:择|項|项)?|(?i:\b(?:correct\s)?(?:answer|option|choice)s?"
    r"(?:\s?\*\*)?\s{0,2}(?:is|are|:|=))|\\f?boxed\s?\{"
)
_END = re.compile(r"<eoa>|【|\n\s*\n")
_ONE = r"(?:[(\[<]\s?[A-G]\s?[)\]>]|(?<![A-Za-z])[A-G](?![A-Za-z]))"
_GROUP = re.compile(
    r"(?<![A-Za-z])[A-G]{2,7}(?![A-Za-z])"
    rf"|{_ONE}(?:\s?(?:,|、|;|/|&|和|与|及)?\s?(?:\band\b)?\s?{_ONE})*"
)
_LETTER = re.compile(r"(?<![A-Za-z])[A-G](?![A-Za-z])")
_ARTICLE = re.compile(r"A\s+(?!(?:and|or|is|because|since|as)\b)[a-z]")
_LEAD = re.compile(r"[\s*_`:<(\[{\"“”'$]*(?:the\s|option\s|choice\s|选项?|\\text\{)?\s?", re.I)


def letter_answers(accepted: Sequence[str]) -> list[str]:
    """The right letters of every question of an item: of `C A BD` `["C", "A", "BD"]`."""
    return [_set(word) for word in accepted[0].split()]


def read_letters(text: str, questions: int) -> tuple[list[str], bool]:
    """The letters that an answer names for each of its questions, and whether it marks them.

    What follows the last mark ("【答案】", "答案是", "answer is", a box) counts; without a mark the
    letters at the very start; else the last ones. Empty when it names none.
    """
    plain = unicodedata.normalize("NFKC", text).replace("**", "")
    for mark in reversed(list(_MARK.finditer(plain))[-20:]):
        end = _END.search(plain, mark.end()) if plain[mark.end() :].strip() else None
        section = plain[mark.end() : end.start() if end else len(plain)]
        if found := _letters(section, questions, must_start=questions == 1):
            return found, True
    if found := _letters(plain, questions, must_start=True):
        return found, True
    return _last_letters(plain, questions), False


def _letters(section: str, questions: int, *, must_start: bool) -> list[str]:
    lead = _LEAD.match(section)
    start = lead.end() if lead and must_start else 0
    bracket = max(start - 2, 0)
    if questions > 1:
        is_list = _LETTER.search(section[:12]) or _run(section[: questions + 8], questions)
        return _many(section, questions) if is_list or not must_start else []
    for place in range(bracket, start + 1):
        found = _GROUP.match(section, place)
        if found is not None and not _ARTICLE.match(section, found.start()):
            return [_set(found.group())]
    return []


def _many(section: str, questions: int) -> list[str]:
    """One letter for each question: `CADB`, `1. C 2. A`, `C、A`."""
    if run := _run(section, questions):
        return list(run)
    letters = [
        found.group()
        for found in _LETTER.finditer(section)
        if not _ARTICLE.match(section, found.start())
    ]
    return letters[:questions]


def _run(section: str, questions: int) -> str:
    run = re.search(rf"(?<![A-Za-z])[A-G]{{{questions}}}(?![A-Za-z])", section)
    return run.group() if run else ""


def _last_letters(plain: str, questions: int) -> list[str]:
    if questions > 1:
        return _many(plain, questions)
    found = [group for group in _GROUP.finditer(plain) if not _ARTICLE.match(plain, group.start())]
    return [_set(found[-1].group())] if found else []


def _set(text: str) -> str:
    """The letters of a text in order, each once."""
    text = re.sub(r"\band\b", " ", text)
    return "".join(sorted({character for character in text if "A" <= character <= "G"}))


def letter_scores(said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Share of the questions with exactly the right letters; with half a point for a part of them.

    Half a point is what the Gaokao gives for some right letters and no wrong one (Zhang et al.
    2023, arXiv:2305.12474, section 3.2).
    """
    padded = [*said, *[""] * len(right)]
    whole = [one == other for one, other in zip(padded, right, strict=False)]
    part = [bool(one) and set(one) < set(other) for one, other in zip(padded, right, strict=False)]
    return {
        "letters": sum(whole) / len(right),
        "half_credit": (sum(whole) + sum(part) / 2) / len(right),
        "exact_match": float(all(whole)),
    }
