"""Whether a question and its answer hold up against the passage they were made of."""

import re
import unicodedata

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GAP = re.compile(r"\.{3,}|…+|\[…\]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")
_FEWEST_CHARACTERS = 6  # a shorter quote is in any passage
_ABOUT_THE_PASSAGE = re.compile(
    r"\b(?:this|the|above|given|provided) (?:text|passage|extract|excerpt|paragraph|document)\b"
    r"|\baccording to (?:the )?author\b"
    r"|(?:本文|上文|文中|这段(?:话|文字|文本)|該段|这篇(?:文章|文档)|文章(?:中|里)|根据(?:文本|材料|段落))",
    re.IGNORECASE,
)

REASONS = {
    "empty": "question or answer is empty",
    "no_evidence": "no quotation from the text, or a very short one",
    "evidence_not_in_text": "the quotation is not in the text",
    "number_not_in_text": "a number in the answer is not in the text",
    "about_the_passage": "the question speaks of a text that nobody will see",
    "other_language": "question or answer is in another language than asked for",
    "repeated_question": "the same question was made before",
}
"""Why a question is dropped, and what that means."""


def normalised(text: str) -> str:
    """Letters and digits alone, in one form: case, width, spaces, punctuation and Markdown do not
    count.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def problem_with(
    question: str, answer: str, evidence: str, passage: str, language: str
) -> str | None:
    """The name in `REASONS` of what is wrong; None when nothing is found.

    A quotation with a gap (`...`) must have its parts in the text in their order.
    """
    if not question.strip() or not answer.strip():
        return "empty"
    parts = [part for part in map(normalised, _GAP.split(evidence)) if part]
    if sum(map(len, parts)) < _FEWEST_CHARACTERS:
        return "no_evidence"
    where, place = normalised(passage), 0
    for part in parts:
        place = where.find(part, place)
        if place < 0:
            return "evidence_not_in_text"
        place += len(part)
    known = _numbers(f"{passage} {question}")
    if _numbers(answer) - known:
        return "number_not_in_text"
    if _ABOUT_THE_PASSAGE.search(question):
        return "about_the_passage"
    if not all(_is_in(text, language) for text in (question, answer)):
        return "other_language"
    return None


def _numbers(text: str) -> set[str]:
    """The numbers of two digits or more, `1,024` as 1024. One digit is often only counted."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return {number.replace(",", "") for number in found if len(number) > 1}


def _is_in(text: str, language: str) -> bool:
    """Whether a text may be in the language: names, code and numbers say nothing."""
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if language == "en":
        return han == 0 or han < latin / 4
    return han > 0 or latin < 40
