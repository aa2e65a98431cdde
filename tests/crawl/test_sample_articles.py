"""The text of the sample web: every fact told often, pages that read like pages, no two alike."""

import re
from collections import Counter
from itertools import combinations, pairwise

import pytest

from tongwen.sample.articles import write_articles
from tongwen.sample.labels import question_rows
from tongwen.sample.packaged import LANGUAGES, Language
from tongwen.sample.prose import Article
from tongwen.sample.sites import traditional
from tongwen.sample.world import World, build_world

SEED = 1862
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
STOP_CHARACTERS = set("的年在月是和日了有为人中他后也")


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(pages=2_000, seed=SEED)


@pytest.fixture(scope="module")
def articles(world: World) -> dict[Language, list[Article]]:
    return {language: write_articles(world, language, 720, seed=SEED) for language in LANGUAGES}


def text_of(article: Article) -> str:
    return "\n".join(block.text for block in article.blocks)


def units(text: str, language: Language) -> list[str]:
    """Words of English, characters of Chinese, without punctuation."""
    return re.findall(r"\w+", text.lower()) if language == "en" else re.findall(r"\w", text)


def shingles(text: str, language: Language) -> set[tuple[str, ...]]:
    size = 5 if language == "en" else 8
    sequence = units(text, language)
    return set(zip(*(sequence[start:] for start in range(size)), strict=False))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("pages", [200, 400, 2_000])
def test_every_fact_is_told_on_at_least_six_pages(language: Language, pages: int) -> None:
    world = build_world(pages=pages, seed=SEED)
    told: Counter[str] = Counter()
    for article in write_articles(world, language, int(pages * 0.36), seed=SEED):
        assert len(set(article.fact_ids)) == len(article.fact_ids)
        told.update(article.fact_ids)
    assert min(told[fact.fact_id] for fact in world.facts) >= 6


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_article_says_the_facts_it_is_labelled_with(
    world: World, articles: dict[Language, list[Article]], language: Language
) -> None:
    facts = {fact.fact_id: fact for fact in world.facts}
    for article in articles[language]:
        text = text_of(article).casefold()
        for fact_id in article.fact_ids:
            assert facts[fact_id].subject.name.of(language).casefold() in text
            assert facts[fact_id].answer.of(language).casefold() in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_article_asks_a_held_out_question(
    world: World, articles: dict[Language, list[Article]], language: Language
) -> None:
    corpus = "\n".join(text_of(article) for article in articles[language]).casefold()
    questions = [
        row["question"] for row in question_rows(world, seed=SEED) if row["lang"] == language
    ]
    assert [text for text in questions if text.casefold().rstrip("?.？。") in corpus] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_articles_pass_the_rules_that_real_curators_use(
    articles: dict[Language, list[Article]], language: Language
) -> None:
    for article in articles[language]:
        text = text_of(article)
        lines, sequence = text.split("\n"), units(text, language)
        assert len(sequence) >= (80 if language == "en" else 250)
        assert len(set(lines)) == len(lines)
        assert sum(line[-1] in ".!?。！？" for line in lines) / len(lines) >= 0.3
        assert "  " not in text
        assert "{" not in text
        two, count = Counter(pairwise(sequence)).most_common(1)[0]
        assert count * len("".join(two)) / len("".join(sequence)) <= 0.2
        if language == "en":
            assert sum(len(line) <= 30 for line in lines) / len(lines) <= 0.67
            assert len(STOP_WORDS & set(sequence)) >= 2
            assert 3 <= len("".join(sequence)) / len(sequence) <= 10
            assert repeated_share(sequence, 5) <= 0.15
        else:
            assert len(STOP_CHARACTERS & set(sequence)) >= 2
            assert repeated_share(sequence, 10) <= 0.15
            assert sum("一" <= unit <= "鿿" for unit in sequence) / len(sequence) >= 0.75


def repeated_share(sequence: list[str], size: int) -> float:
    """Share of places whose next `size` units stood on the page before."""
    grams = Counter(zip(*(sequence[start:] for start in range(size)), strict=False))
    return sum(count - 1 for count in grams.values()) / max(1, grams.total())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_articles_look_like_copies(
    articles: dict[Language, list[Article]], language: Language
) -> None:
    sample = [shingles(text_of(article), language) for article in articles[language][:250]]
    closest = max(len(one & other) / len(one | other) for one, other in combinations(sample, 2))
    assert closest < 0.25


def test_foreign_names_keep_their_syllables_in_traditional_characters() -> None:
    assert traditional("托明·里德住在面包店后面的屋子里。") == "托明·里德住在麵包店後面的屋子裡。"
    assert traditional("乔里·威克是画家") == "喬里·威克是畫家"
