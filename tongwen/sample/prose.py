"""Articles that state facts: titles, prose, lists, tables, questions and answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import Language, packaged
from tongwen.sample.wordings import question, relations, statement
from tongwen.sample.world import Fact, Subject

BlockKind = Literal["heading", "paragraph", "item", "row", "question", "answer"]

THEMES: dict[str, tuple[str, ...]] = {
    "travel": ("town", "bridge", "mountain", "museum", "festival"),
    "culture": ("person", "book", "song", "painting"),
    "market": ("goods", "company"),
    "school": ("word", "sum"),
}
GENRES: dict[str, tuple[str, ...]] = {
    "travel": ("guide", "diary", "article", "answers"),
    "culture": ("article", "diary", "answers"),
    "market": ("market", "answers"),
    "school": ("school", "answers"),
}
_SHORTEST = {"en": 105, "zh": 320}
"""Words of an English text, characters of a Chinese one."""

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Block:
    """One line of an article's main text."""

    kind: BlockKind
    text: str


@dataclass(frozen=True)
class Article:
    """The main text of a page and the facts it states."""

    language: Language
    genre: str
    title: str
    blocks: tuple[Block, ...]
    fact_ids: tuple[str, ...]


class Phrases:
    """Filler sentences with their slots filled; a page repeats neither sentences nor fillings."""

    def __init__(self, language: Language, draw: Draw) -> None:
        self.language = language
        self.draw = draw
        self._data = packaged(f"prose_{language}")
        self._used: set[str] = set()

    def fill(self, wording: str, **values: str) -> str:
        """The wording with a drawn value in every slot that `values` does not name."""

        def value(match: re.Match[str]) -> str:
            slot = match.group(1)
            return values[slot] if slot in values else self._fresh_value(slot)

        text = _SLOT.sub(value, wording)
        return text[0].upper() + text[1:]

    def _fresh_value(self, slot: str) -> str:
        """A value the page has not used yet, while there is one; place2 is one more place."""
        choices: list[str] = self._data["slots"][slot.rstrip("2")]
        value = self.draw.pick([each for each in choices if each not in self._used] or choices)
        self._used.add(value)
        return value

    def sentence(self, group: str, kind: str = "lines") -> str:
        """A sentence of the group that this page has not used yet."""
        wordings = self._data[group][kind]
        fresh = [wording for wording in wordings if wording not in self._used]
        wording = self.draw.pick(fresh or wordings)
        self._used.add(wording)
        return self.fill(wording)

    def title(self, genre: str, subjects: Sequence[Subject]) -> str:
        first, last = subjects[0].shown(self.language), subjects[-1].shown(self.language)
        return self.fill(self.draw.pick(self._data["titles"][genre]), x=first, y=last)

    def heading(self, subject: Subject) -> str:
        """The subject's name, or a phrase that says as little as headings say."""
        if self.draw.chance(0.6):
            name = subject.shown(self.language)
            return name[0].upper() + name[1:]
        return self.sentence("headings")

    def join(self, sentences: Sequence[str]) -> str:
        return (" " if self.language == "en" else "").join(sentences)

    def table_head(self, label: str) -> str:
        return f"{self._data['headings']['table'][0]} | {label}"


@dataclass
class Tellings:
    """How often each fact has been stated so far, so that the wordings take turns."""

    language: Language
    told: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def tell(self, fact: Fact) -> str:
        number = self.told.get(fact.fact_id, 0)
        self.told[fact.fact_id] = number + 1
        return statement(fact, self.language, number)

    def ask(self, fact: Fact) -> str:
        number = self.asked.get(fact.fact_id, 0)
        self.asked[fact.fact_id] = number + 1
        return question(fact, self.language, number)


Group = tuple[Subject, list[Fact]]


def write_article(
    genre: str, groups: Sequence[Group], asides: Sequence[Group], tellings: Tellings, draw: Draw
) -> Article:
    """An article that states all facts of `groups`, then those of `asides` as a postscript."""
    phrases = Phrases(tellings.language, draw)
    title = phrases.title(genre, [subject for subject, _ in groups])
    opening = [phrases.sentence("openings", genre) for _ in range(draw.between(2, 3))]
    blocks = [Block("paragraph", phrases.join(opening))]
    if genre == "answers":
        blocks += _questions(groups, tellings, phrases)
    elif draw.chance(0.2):
        blocks += _list(groups, tellings, phrases)
    else:
        blocks += _prose(groups, tellings, phrases, headings=draw.chance(0.4))
    for subject, facts in asides:
        sentences = [phrases.sentence("asides"), *(tellings.tell(fact) for fact in facts)]
        sentences.append(phrases.sentence("details", subject.kind))
        blocks.append(Block("paragraph", phrases.join(sentences)))
    if draw.chance(0.5):
        blocks += _table([*groups, *asides], phrases)
    blocks += _ending(title, blocks, phrases)
    facts = [fact for _, told in (*groups, *asides) for fact in told]
    fact_ids = tuple(fact.fact_id for fact in facts)
    return Article(tellings.language, genre, title, tuple(blocks), fact_ids)


def _prose(
    groups: Sequence[Group], tellings: Tellings, phrases: Phrases, *, headings: bool
) -> list[Block]:
    """One paragraph a subject: its facts between details that are true of anything of its kind."""
    blocks: list[Block] = []
    for number, (subject, facts) in enumerate(groups):
        if headings and (number == 0 or len(facts) > 1):
            blocks.append(Block("heading", phrases.heading(subject)))
        sentences = [tellings.tell(fact) for fact in phrases.draw.shuffled(facts)]
        for _ in range(phrases.draw.between(1, 2) if len(facts) > 1 else 1):
            place = phrases.draw.between(1, len(sentences))
            sentences.insert(place, phrases.sentence("details", subject.kind))
        if phrases.draw.chance(0.3):
            sentences.append(phrases.sentence("general"))
        text = phrases.join(sentences)
        short = len(facts) == 1 and phrases.draw.chance(0.5)
        if short and blocks and blocks[-1].kind == "paragraph":
            blocks[-1] = Block("paragraph", phrases.join([blocks[-1].text, text]))
        else:
            blocks.append(Block("paragraph", text))
    return blocks


def _list(groups: Sequence[Group], tellings: Tellings, phrases: Phrases) -> list[Block]:
    """The facts as the items of a list, between two paragraphs."""
    items = [
        Block(
            "item", phrases.join([tellings.tell(fact), phrases.sentence("details", subject.kind)])
        )
        for subject, facts in groups
        for fact in facts
    ]
    middle = [phrases.sentence("general") for _ in range(2)]
    return [*items, Block("paragraph", phrases.join(middle))]


def _questions(groups: Sequence[Group], tellings: Tellings, phrases: Phrases) -> list[Block]:
    """Questions, never held-out ones, each with its answer and a remark."""
    blocks = []
    for subject, facts in groups:
        for fact in facts:
            blocks.append(Block("question", tellings.ask(fact)))
            answer = [tellings.tell(fact)]
            if phrases.draw.chance(0.7):
                answer.append(phrases.sentence("details", subject.kind))
            blocks.append(Block("answer", phrases.join(answer)))
    return blocks


def _table(groups: Sequence[Group], phrases: Phrases) -> list[Block]:
    """A table of one relation, if the article states at least three facts of one that has it."""
    by_relation: dict[str, list[Fact]] = {}
    for _, facts in groups:
        for fact in facts:
            by_relation.setdefault(fact.relation, []).append(fact)
    for name, facts in by_relation.items():
        label = relations(phrases.language)[name].label
        if label and len(facts) >= 3:
            head = Block("row", phrases.table_head(label))
            rows = [
                f"{fact.subject.shown(phrases.language)} | {fact.answer.of(phrases.language)}"
                for fact in facts
            ]
            return [head, *(Block("row", row[0].upper() + row[1:]) for row in rows)]
    return []


def _ending(title: str, blocks: Sequence[Block], phrases: Phrases) -> list[Block]:
    """A last paragraph, as long as the text needs to be long enough."""
    sentences = [phrases.sentence("general"), phrases.sentence("closings")]
    written = "\n".join([title, *(block.text for block in blocks)])
    while _size(written + phrases.join(sentences), phrases.language) < _SHORTEST[phrases.language]:
        sentences.insert(0, phrases.sentence("general"))
    return [Block("paragraph", phrases.join(sentences))]


def _size(text: str, language: Language) -> int:
    return len(text.split()) if language == "en" else len(text)
