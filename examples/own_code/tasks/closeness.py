"""A metric and an extraction for free answers."""

import re
from difflib import SequenceMatcher

from tongwen.plugins import JudgedAnswer, extraction, metric


@extraction()
def first_word(text: str) -> str | None:
    """The first word of an answer; None where it has none."""
    found = re.search(r"\w+", text)
    return found.group() if found else None


@metric()
def closeness(answer: JudgedAnswer) -> float:
    """Likeness to the nearest accepted answer, 0 to 1 (Ratcliff and Metzener 1988)."""
    return max(
        SequenceMatcher(None, answer.judged.casefold(), right.casefold()).ratio()
        for right in answer.accepted
    )
