"""Small talk and unanswerable questions: taught widely, examined on topics never taught."""

import re
from typing import Any

import pytest

from tongwen.sample.labels import dialogue_rows
from tongwen.sample.packaged import LANGUAGES, Language, packaged
from tongwen.sample.talk import greeting_rows, outside_rows, small_talk
from tongwen.sample.wordings import fill, relations
from tongwen.sample.world import World, build_world

SEED = 1862
END_MARKS = "?.!？。！"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(pages=2_000, seed=SEED)


@pytest.fixture(scope="module")
def dialogues() -> list[dict[str, Any]]:
    """Of worlds of several sizes and seeds: what one draw leaves out, another may have."""
    settings = [(2_000, SEED), (800, SEED), (300, SEED), (800, 1), (800, 2)]
    return [
        row
        for pages, seed in settings
        for row in dialogue_rows(build_world(pages=pages, seed=seed), seed=seed)
    ]


@pytest.fixture(scope="module")
def taught(dialogues: list[dict[str, Any]]) -> set[str]:
    """Everything that is said in the training dialogues."""
    return {message["content"] for row in dialogues for message in row["messages"]}


def plain(text: str) -> str:
    return text.casefold().rstrip(END_MARKS)


def pattern_of(topic: str, language: Language) -> re.Pattern[str]:
    words = re.escape(topic)
    return re.compile(rf"\b{words}\b" if language == "en" else words, re.IGNORECASE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_dialogue_has_a_question_or_a_topic_of_the_outside_examination(
    taught: set[str], language: Language
) -> None:
    said = "\n".join(taught)
    asked = {plain(text) for text in taught}
    questions = packaged("outside")[language]["questions"]
    assert len(questions) == 50
    for question, topics in questions:
        assert plain(question) not in asked
        for topic in topics:
            assert topic.casefold() in question.casefold()
            assert pattern_of(topic, language).search(said) is None, (question, topic)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_dialogue_asks_an_outside_question_with_another_name_in_it(
    taught: set[str], language: Language
) -> None:
    lines = "\n".join({plain(text).replace("\n", " ") for text in taught})
    for question, topics in packaged("outside")[language]["questions"]:
        for topic in topics:
            before, after = re.split(re.escape(topic), plain(question), maxsplit=1, flags=re.I)
            template = f"^{re.escape(before)}.+{re.escape(after)}$"
            found = re.search(template, lines, re.MULTILINE)
            assert found is None, (question, topic, found)


def test_new_greetings_are_in_no_dialogue_and_taught_ones_are(taught: set[str]) -> None:
    rows = list(greeting_rows())
    assert {row["group"] for row in rows} == {"taught", "new"}
    for row in rows:
        assert (row["question"] in taught) == (row["group"] == "taught"), row["question"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_unanswerable_question_has_an_answer_in_the_world(
    world: World, dialogues: list[dict[str, Any]], language: Language
) -> None:
    answerable = {
        plain(fill(wording, fact, language))
        for fact in world.facts
        for wording in relations(language)[fact.relation].questions
    }
    unknown = [row for row in dialogues if row["kind"] == "unknown" and row["lang"] == language]
    assert len(unknown) > 1_000
    for row in unknown:
        asked, answered = (message["content"] for message in row["messages"])
        assert plain(asked) not in answerable
        assert answered == packaged("unknown")[language]["answer"]
        assert "{" not in asked


def test_unanswerable_questions_are_many_different_ones(dialogues: list[dict[str, Any]]) -> None:
    asked = [row["messages"][0]["content"] for row in dialogues if row["kind"] == "unknown"]
    assert len(set(asked)) > 0.6 * len(asked)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_in_the_small_talk_is_a_question_of_the_world(
    world: World, language: Language
) -> None:
    taught = {question for question, _ in small_talk(world, language)}
    answers = {answer for _, answer in small_talk(world, language)}
    questions = {
        fill(wording, fact, language)
        for fact in world.facts
        for wording in relations(language)[fact.relation].questions
    }
    assert any(answer.endswith(tuple(questions)) for answer in answers)
    assert len(taught) > 200


def test_what_is_asked_of_subjects_and_names_has_the_same_kinds_in_both_languages() -> None:
    unknown = packaged("unknown")
    assert set(unknown["en"]["about"]) == set(unknown["zh"]["about"])
    assert set(unknown["en"]["slots"]) == set(unknown["zh"]["slots"])
    assert set(unknown["names"]) == set(build_kinds())


def build_kinds() -> set[str]:
    return {subject.kind for subject in build_world(pages=300, seed=SEED).subjects}


def test_examination_rows_have_ids_of_their_own() -> None:
    ids = [row["id"] for row in (*outside_rows(), *greeting_rows())]
    assert len(set(ids)) == len(ids)
