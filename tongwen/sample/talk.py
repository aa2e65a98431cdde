"""Dialogues without facts: small talk, and questions that the world has no answer to.

A model that was only taught facts answers every question with one of them. So that it learns the
idea rather than a few strings, the questions without an answer are drawn from many topics, ask for
names the world lacks in the wordings of its own facts, and ask what nobody knows of its subjects.
"""

import re
from collections.abc import Iterator
from typing import Any

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import LANGUAGES, Language, packaged
from tongwen.sample.wordings import question, relations
from tongwen.sample.world import World

Turn = tuple[str, str]
"""A question and its answer."""

_SLOT = re.compile(r"\{(\w+)\}")
_END_MARKS = "?.!？。！"
_TYPED_SHARE = 0.3  # of questions in small letters without an end mark
_SHORT = 10
"""Characters of the longest greeting that is also typed in capitals."""
_NAME_PERCENT = 25  # a known question about a name that the world does not have
# An unknown side of a known subject: the kind that is still answered wrongly most.
_ABOUT_PERCENT = 30
_RELATIONS = {
    "town": ("town_founded", "town_river", "town_specialty"),
    "person": ("person_birthplace", "person_profession"),
    "bridge": ("bridge_length", "bridge_builder"),
    "museum": ("museum_town", "museum_ticket"),
    "mountain": ("mountain_height",),
    "festival": ("festival_month", "festival_town"),
    "book": ("book_author", "book_year"),
    "song": ("song_singer",),
    "painting": ("painting_painter",),
    "company": ("company_founder",),
    "goods": ("goods_price",),
    "word": ("word_translation",),
    "sum": ("arithmetic",),
}


def as_typed(text: str, draw: Draw) -> str:
    """The text, now and then as people type it in haste: in small letters, without its end mark."""
    return text.rstrip(_END_MARKS).lower() if draw.chance(_TYPED_SHARE) else text


def small_talk(world: World, language: Language) -> list[Turn]:
    """Every greeting and the like as it is written and as it is typed in haste."""
    bridge = next(fact for fact in world.facts if fact.relation == "bridge_builder")
    example = question(bridge, language, 0)
    turns: dict[str, str] = {}
    for talk in packaged("talk")[language]["small_talk"]:
        answer = talk["answer"].format(e=example)
        for asked in talk["questions"]:
            bare = asked.rstrip(_END_MARKS)
            typed = [bare.lower(), bare.upper()] if len(bare) <= _SHORT else [bare.lower()]
            turns |= dict.fromkeys((asked, *typed), answer)
    return list(turns.items())


def name_questions(world: World, language: Language) -> Iterator[Turn]:
    """What subjects are called in the other language."""
    talk = packaged("talk")[language]
    other: Language = "zh" if language == "en" else "en"
    for subject in world.subjects:
        if subject.kind in _NAMED_KINDS:
            answered = talk["name_answer"].format(a=subject.name.of(other))
            for wording in talk["name_question"]:
                yield wording.format(s=subject.shown(language)), answered


_NAMED_KINDS = ("town", "person", "bridge", "mountain", "festival", "company")


class Unknown:
    """Draws questions that the world has no answer to."""

    def __init__(self, world: World, language: Language, draw: Draw) -> None:
        self._world = world
        self._language = language
        self._draw = draw
        data = packaged("unknown")
        self._data = data[language]
        self._names = data["names"]
        self._lines: list[str] = []

    def turn(self) -> Turn:
        """One such question with its answer."""
        place = self._draw.below(100)
        if place < _NAME_PERCENT:
            asked = self._other_name()
        elif place < _NAME_PERCENT + _ABOUT_PERCENT:
            asked = self._about()
        else:
            asked = self._line()
        return as_typed(asked, self._draw), self._data["answer"]

    def _line(self) -> str:
        """Another topic; all lines have their turn before one comes again."""
        if not self._lines:
            self._lines = self._draw.shuffled(self._data["lines"])
        return self._filled(self._lines.pop())

    def _filled(self, wording: str, **values: str) -> str:
        """A drawn value in every slot; {city2} is one more city, which may be the same one."""
        lists = self._data["slots"]

        def value(slot: re.Match[str]) -> str:
            name = slot[1]
            if name in values:
                return values[name]
            drawn: str = self._draw.pick(lists[name if name in lists else name.rstrip("2")])
            return drawn

        text = _SLOT.sub(value, wording)
        return text[0].upper() + text[1:]

    def _other_name(self) -> str:
        """A wording of the facts with a name that the world does not have."""
        kind = self._draw.pick(list(self._names))
        name = self._draw.pick(self._names[kind])[LANGUAGES.index(self._language)]
        relation = relations(self._language)[self._draw.pick(_RELATIONS[kind])]
        return self._filled(self._draw.pick(relation.questions), s=name)

    def _about(self) -> str:
        """What is not known of a subject that the world does have."""
        about = self._data["about"]
        kind = self._draw.pick(list(about))
        subject = self._draw.pick([each for each in self._world.subjects if each.kind == kind])
        return self._filled(self._draw.pick(about[kind]), s=subject.name.of(self._language))


def outside_rows() -> Iterator[dict[str, Any]]:
    """outside.jsonl: held-out questions on topics that no dialogue has."""
    for language in LANGUAGES:
        data = packaged("outside")[language]
        for number, (asked, _) in enumerate(data["questions"]):
            yield _talk_row("outside", number, language, asked, data["accepted"])


def greeting_rows() -> Iterator[dict[str, Any]]:
    """greetings.jsonl: what people type first; `group` separates taught ones from new ones."""
    for language in LANGUAGES:
        for group, rows in packaged("greetings")[language].items():
            for number, (asked, accepted) in enumerate(rows):
                yield _talk_row(group, number, language, asked, accepted)


def _talk_row(
    group: str, number: int, language: Language, asked: str, accepted: list[str]
) -> dict[str, Any]:
    return {
        "id": f"{group}.{language}.{number}",
        "lang": language,
        "group": group,
        "question": asked,
        "accepted": accepted,
    }
