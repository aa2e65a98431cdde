"""The invented world: consistent, unambiguous, and asked in wordings that are really held out."""

import re
from collections import Counter

import pytest

from tongwen.sample.draw import Draw
from tongwen.sample.labels import dialogue_rows, fact_rows, question_rows
from tongwen.sample.packaged import LANGUAGES, Language, packaged
from tongwen.sample.wordings import fill, held_out, relations, taught
from tongwen.sample.world import World, build_world, chinese_number

SEED = 1862
GOLDEN_DRAWS = [425, 826, 60, 955, 738, 778]


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(pages=2_000, seed=SEED)


def test_a_full_web_tells_more_than_500_facts_and_the_smallest_one_still_a_hundred(
    world: World,
) -> None:
    assert len(world.facts) >= 500
    assert len(build_world(pages=200, seed=SEED).facts) >= 100
    assert len({fact.fact_id for fact in world.facts}) == len(world.facts)


def test_a_subject_and_a_relation_have_exactly_one_answer(world: World) -> None:
    for language in LANGUAGES:
        asked = Counter((fact.relation, fact.subject.name.of(language)) for fact in world.facts)
        assert set(asked.values()) == {1}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_subject_is_part_of_another_one(world: World, language: Language) -> None:
    names = [subject.name.of(language).casefold() for subject in world.subjects]
    assert len(set(names)) == len(names)
    assert [(a, b) for a in names for b in names if a != b and a in b] == []


def test_sums_are_right_in_both_languages(world: World) -> None:
    sums = [fact for fact in world.facts if fact.relation == "arithmetic"]
    for fact in sums:
        first, sign, second = re.fullmatch(r"(\d)(加|乘)(\d)", fact.subject.name.zh).groups()  # type: ignore[union-attr]
        expected = {"加": int(first) + int(second), "乘": int(first) * int(second)}[sign]
        assert fact.answer.zh == fact.answer.en == str(expected)
        assert fact.subject.name.en == f"{first} {'plus' if sign == '加' else 'times'} {second}"
    assert len(sums) == 32


def test_every_work_is_made_by_somebody_of_the_trade(world: World) -> None:
    trades = {
        fact.subject.name.en: fact.answer.en
        for fact in world.facts
        if fact.relation == "person_profession"
    }
    makers = {
        "bridge_builder": "bridge builder",
        "book_author": "writer",
        "song_singer": "singer",
        "painting_painter": "painter",
        "company_founder": "merchant",
    }
    for fact in world.facts:
        if fact.relation in makers:
            assert trades[fact.answer.en] == makers[fact.relation], fact.fact_id


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "零"), (7, "七"), (10, "十"), (15, "十五"), (40, "四十"), (105, "一百零五"),
     (110, "一百一十"), (600, "六百"), (2405, "二千四百零五"),
     (4200, "四千二百"), (1001, "一千零一")],
)  # fmt: skip
def test_numbers_are_written_in_chinese_as_people_write_them(number: int, words: str) -> None:
    assert chinese_number(number) == words


def test_draws_are_the_same_on_every_machine() -> None:
    draw = Draw(SEED, "golden")
    assert [draw.below(1000) for _ in range(6)] == GOLDEN_DRAWS
    assert sorted(Draw("a").shuffled(range(20))) == list(range(20))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_relation_has_eight_wordings_with_their_slots(language: Language) -> None:
    for relation in relations(language).values():
        assert len(set(relation.statements)) >= 8
        assert len(set(relation.questions)) >= 8
        assert all("{s}" in text and "{a}" in text for text in relation.statements)
        assert all("{s}" in text and "{a}" not in text for text in relation.questions)
        assert "{s}" in relation.answer
        assert "{a}" in relation.answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_question_wording_hides_inside_another(language: Language) -> None:
    for relation in relations(language).values():
        plain = [text.casefold().rstrip("?.？。") for text in relation.questions]
        assert [(a, b) for a in plain for b in plain if a != b and a in b] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_wordings_are_never_used_for_their_fact_but_are_for_others(
    world: World, language: Language
) -> None:
    used: set[tuple[str, int]] = set()
    for fact in world.facts:
        assert len(held_out(fact, language)) == 2
        assert not set(held_out(fact, language)) & set(taught(fact, language))
        used |= {(fact.relation, number) for number in taught(fact, language)}
    assert used == {
        (name, number)
        for name, relation in relations(language).items()
        for number in range(len(relation.questions))
    }


def test_no_dialogue_asks_a_held_out_question(world: World) -> None:
    asked = {
        message["content"]
        for row in dialogue_rows(world, seed=SEED)
        for message in row["messages"]
        if message["role"] == "user"
    }
    questions = [row["question"] for row in question_rows(world, seed=SEED)]
    assert len(set(questions)) == len(questions) == 4 * len(world.facts)
    assert asked.isdisjoint(questions)


def test_every_dialogue_answer_holds_the_answer_of_its_fact(world: World) -> None:
    facts = {fact.fact_id: fact for fact in world.facts}
    told: Counter[tuple[str, str]] = Counter()
    for row in dialogue_rows(world, seed=SEED):
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        if row["fact_id"] is not None:
            fact = facts[row["fact_id"]]
            assert fact.answer.of(row["lang"]) in row["messages"][1]["content"]
            told[row["fact_id"], row["lang"]] += 1
    assert set(told.values()) == {6}
    assert len(told) == 2 * len(facts)


@pytest.mark.parametrize("pages", [200, 2_000])
def test_questions_have_four_different_choices_of_which_one_is_right(pages: int) -> None:
    world = build_world(pages=pages, seed=SEED)
    answers = {row["fact_id"]: row for row in fact_rows(world)}
    places: Counter[int] = Counter()
    for row in question_rows(world, seed=SEED):
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["gold"]] == row["answer"] == row["accepted"][0]
        pairs = zip(row["choices"], row["sentences"], strict=True)
        assert all(choice.casefold() in sentence.casefold() for choice, sentence in pairs)
        assert row["answer"] == answers[row["fact_id"]][f"answer_{row['lang']}"]
        assert row["answer"] not in row["question"]
        places[row["gold"]] += 1
    assert min(places.values()) > 0.6 * max(places.values())


def test_the_facts_of_a_world_are_a_matter_of_its_seed() -> None:
    answers = [[fact.answer for fact in build_world(pages=300, seed=each).facts] for each in (1, 2)]
    assert answers[0] != answers[1]
    assert [fact.answer for fact in build_world(pages=300, seed=1).facts] == answers[0]


def test_filling_a_wording_starts_it_with_a_capital_letter(world: World) -> None:
    fact = next(fact for fact in world.facts if fact.relation == "word_translation")
    assert fill("{s} is {a}.", fact, "en")[0].isupper()


def test_prose_has_the_same_parts_in_both_languages() -> None:
    english, chinese = packaged("prose_en"), packaged("prose_zh")
    assert {part: set(table) for part, table in english.items()} == {
        part: set(table) for part, table in chinese.items()
    }
