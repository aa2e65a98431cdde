"""The gold labels that are not about pages: facts, training dialogues, held-out questions."""

from collections.abc import Iterator, Mapping
from typing import Any

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import LANGUAGES, Language
from tongwen.sample.talk import Unknown, as_typed, name_questions, small_talk
from tongwen.sample.wordings import answer, fill, held_out, question, relations, taught
from tongwen.sample.world import Fact, World

CHOICES = 4
# Single questions alone teach no second answer: docs/experiments/sample.md.
_CONVERSATIONS_A_FACT = 1.5
# Without them it invents answers; what else was tried: docs/experiments/sample.md.
_UNKNOWN_A_FACT = 4
_MOST_TURNS = 5
_OTHER_LANGUAGE_SHARE = 0.2  # each question is answered in its own language, whatever came before
_UNKNOWN_SHARE = 0.2  # an "I do not know" must not change the answers after it
_GREETED_SHARE = 0.2  # the question after a greeting must not get a greeting


def fact_rows(world: World) -> Iterator[dict[str, Any]]:
    """facts.jsonl: one row a fact."""
    for fact in world.facts:
        yield {
            "fact_id": fact.fact_id,
            "relation": fact.relation,
            "subject_en": fact.subject.name.en,
            "subject_zh": fact.subject.name.zh,
            "answer_en": fact.answer.en,
            "answer_zh": fact.answer.zh,
        }


def _dialogue(
    language: Language, turns: list[tuple[str, str]], kind: str, fact_id: str | None = None
) -> dict[str, Any]:
    messages = []
    for asked, answered in turns:
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    return {"messages": messages, "lang": language, "kind": kind, "fact_id": fact_id}


def _turn(fact: Fact, language: Language, telling: int) -> tuple[str, str]:
    return question(fact, language, telling), answer(fact, language)


def _conversation(
    world: World, language: Language, unknown: Mapping[Language, Unknown], draw: Draw
) -> dict[str, Any]:
    """Questions about several facts, one after the other, now and then in the other language.

    A model that has seen single questions only answers the second one with the first's answer.
    """
    other: Language = "zh" if language == "en" else "en"
    turns = []
    for number in range(draw.between(2, _MOST_TURNS)):
        if number == 0 and draw.chance(_GREETED_SHARE):
            turns.append(draw.pick(small_talk(world, language)))
            continue
        asked_in = other if draw.chance(_OTHER_LANGUAGE_SHARE) else language
        if draw.chance(_UNKNOWN_SHARE):
            turns.append(unknown[asked_in].turn())
            continue
        fact = draw.pick(world.facts)
        asked, answered = _turn(fact, asked_in, draw.below(len(taught(fact, asked_in))))
        turns.append((as_typed(asked, draw), answered))
    return _dialogue(language, turns, "turns")


def dialogue_rows(world: World, *, seed: int) -> Iterator[dict[str, Any]]:
    """dialogues.jsonl: every fact asked in every wording that is not held out, small talk, and
    questions that the world has no answer to.
    """
    unknown = {
        language: Unknown(world, language, Draw(seed, "unknown", language))
        for language in LANGUAGES
    }
    for language in LANGUAGES:
        draw = Draw(seed, "dialogues", language)
        for fact in world.facts:
            for telling in range(len(taught(fact, language))):
                turns = [_turn(fact, language, telling)]
                yield _dialogue(language, turns, "fact", fact.fact_id)
        for _ in range(round(_CONVERSATIONS_A_FACT * len(world.facts))):
            yield _conversation(world, language, unknown, draw)
        for _ in range(_UNKNOWN_A_FACT * len(world.facts)):
            yield _dialogue(language, [unknown[language].turn()], "unknown")
        for turn in small_talk(world, language):
            yield _dialogue(language, [turn], "small_talk")
        for turn in name_questions(world, language):
            yield _dialogue(language, [turn], "name")


def _choices(fact: Fact, world: World, language: Language, draw: Draw) -> list[str]:
    """The right answer and three wrong ones of the same relation, in a drawn order."""
    right = fact.answer.of(language)
    relation = [
        other.answer.of(language) for other in world.facts if other.relation == fact.relation
    ]
    wrong = sorted({answer for answer in relation if answer != right})
    if len(wrong) < CHOICES - 1:
        # A small world has few painters; any other person will do as a wrong answer then.
        people = {each.name.of(language) for each in world.subjects if each.kind == "person"}
        wrong += sorted(people - {right} - set(wrong))
    return draw.shuffled([right, *draw.sample(wrong, CHOICES - 1)])


def question_rows(world: World, *, seed: int) -> Iterator[dict[str, Any]]:
    """questions.jsonl: the held-out wordings of every fact, with four choices each."""
    for language in LANGUAGES:
        for fact in world.facts:
            wordings = relations(language)[fact.relation].questions
            for number in held_out(fact, language):
                draw = Draw(seed, "choices", language, fact.fact_id, number)
                choices = _choices(fact, world, language, draw)
                right = fact.answer.of(language)
                yield {
                    "id": f"{fact.fact_id}.{language}.{number}",
                    "lang": language,
                    "fact_id": fact.fact_id,
                    "question": fill(wordings[number], fact, language),
                    "answer": right,
                    "accepted": list(fact.accepted_in(language)),
                    "choices": choices,
                    "sentences": [answer(fact, language, choice) for choice in choices],
                    "gold": choices.index(right),
                    "template": f"{fact.relation}.{language}.{number}",
                }
