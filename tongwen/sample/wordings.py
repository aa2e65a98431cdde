"""How facts are stated and asked, and which questions are held out for which fact."""

from dataclasses import dataclass
from functools import cache

import xxhash

from tongwen.sample.packaged import Language, packaged
from tongwen.sample.world import Fact

HELD_OUT_QUESTIONS = 2
"""Question wordings per fact and language that no page and no dialogue ever uses for it."""


@dataclass(frozen=True)
class Relation:
    """The wordings of one relation in one language, with {s} for subject and {a} for answer."""

    name: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str
    label: str
    """Head of a table column; empty where the relation is never in a table."""


@cache
def relations(language: Language) -> dict[str, Relation]:
    """All relations by name."""
    return {
        name: Relation(
            name=name,
            statements=tuple(table[f"statements_{language}"]),
            questions=tuple(table[f"questions_{language}"]),
            answer=table[f"answer_{language}"],
            label=table.get(f"label_{language}", ""),
        )
        for name, table in packaged("relations").items()
    }


def fill(wording: str, fact: Fact, language: Language) -> str:
    """The wording with this fact's subject and answer in it."""
    subject = fact.subject.name.of(language)
    return _capitalized(wording.format(s=subject, a=fact.answer.of(language)), language)


def _capitalized(text: str, language: Language) -> str:
    return text[0].upper() + text[1:] if language == "en" else text


def _order(fact: Fact, language: Language, count: int) -> list[int]:
    """Numbers below `count` in an order of this fact's own."""
    keys = [f"{fact.fact_id}|{language}|{number}".encode() for number in range(count)]
    return sorted(range(count), key=lambda number: xxhash.xxh3_64_intdigest(keys[number]))


def held_out(fact: Fact, language: Language) -> list[int]:
    """Numbers of the question wordings that are kept for the examination, ascending."""
    count = len(relations(language)[fact.relation].questions)
    return sorted(_order(fact, language, count)[:HELD_OUT_QUESTIONS])


def taught(fact: Fact, language: Language) -> list[int]:
    """Numbers of the question wordings that pages and dialogues may use, in the fact's order."""
    count = len(relations(language)[fact.relation].questions)
    return _order(fact, language, count)[HELD_OUT_QUESTIONS:]


def statement(fact: Fact, language: Language, telling: int) -> str:
    """The statement for the `telling`-th time the fact is stated: all wordings take turns."""
    wordings = relations(language)[fact.relation].statements
    order = _order(fact, language, len(wordings))
    return fill(wordings[order[telling % len(order)]], fact, language)


def question(fact: Fact, language: Language, telling: int) -> str:
    """A question that is not held out; the wordings take turns."""
    allowed = taught(fact, language)
    wordings = relations(language)[fact.relation].questions
    return fill(wordings[allowed[telling % len(allowed)]], fact, language)


def answer(fact: Fact, language: Language, value: str | None = None) -> str:
    """The fact's answer, or another value, in a whole sentence that names the subject once more.

    Such answers begin as the pages state the fact, and are right more often than bare ones
    (docs/experiments/sample.md).
    """
    wording = relations(language)[fact.relation].answer
    told = fact.answer.of(language) if value is None else value
    return _capitalized(wording.format(s=fact.subject.name.of(language), a=told), language)
