"""Signatures, bands clusters and repetition against brute force."""

import numpy as np
import pytest
from curate_texts import CHINESE, TRADITIONAL, story
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.characters import folded
from tongwen.curate.dedup import components
from tongwen.curate.minhash import band_keys, signature, similarity
from tongwen.curate.record import normal_url
from tongwen.curate.repetition import repetition
from tongwen.curate.units import units_of

HASHES = 128


def shingles(text: str, size: int = 5) -> set[tuple[int, ...]]:
    units = units_of(folded(text))[0].tolist()
    return {tuple(units[start : start + size]) for start in range(len(units) - size + 1)}


def signed(text: str, seed: int = 1) -> np.ndarray:
    found = signature(folded(text), shingle=5, hashes=HASHES, seed=seed)
    assert found is not None
    return found


def test_the_normal_form_ignores_case_width_punctuation_and_script() -> None:
    assert folded("Ｆｕｌｌ！").tobytes() == folded("full。").tobytes()
    first, second = folded(TRADITIONAL), folded(CHINESE)
    same = first[first != 0][:60] == second[second != 0][:60]
    assert same.mean() == 1.0
    assert not folded("—…！😀").any()


def test_words_are_units_and_so_is_every_han_character() -> None:
    hashes, lengths = units_of(folded("Tongwen 同文, the 3rd 馆"))
    assert lengths.tolist() == [7, 1, 1, 3, 3, 1]
    assert len(set(hashes.tolist())) == 6
    assert units_of(folded("同文"))[0].tolist() == units_of(folded("同 文！"))[0].tolist()


@given(st.text(max_size=100))
def test_units_cover_every_letter_and_digit_once(text: str) -> None:
    points = folded(text)
    assert units_of(points)[1].sum() == (points != 0).sum()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_estimate_of_similarity_is_unbiased(lang: str) -> None:
    """Mean error over many pairs and seeds within three standard deviations of zero."""
    errors = []
    for number in range(12):
        text = story(number, lang, 30)
        parts = text.split("\n\n")
        other = "\n\n".join([*parts[number % 5 :], *story(number + 100, lang, 3 * 3).split("\n\n")])
        first, second = shingles(text), shingles(other)
        exact = len(first & second) / len(first | second)
        for seed in range(4):
            estimate = (signed(text, seed) == signed(other, seed)).mean()
            errors.append(estimate - exact)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors)) + 0.005
    assert np.std(errors) < 0.06  # sqrt(J (1 - J) / 128) is 0.044 at most


def test_a_text_shorter_than_a_shingle_is_one_and_an_empty_one_has_no_signature() -> None:
    assert signature(folded("two words"), shingle=5, hashes=8, seed=1) is not None
    assert signature(folded("!!! 。"), shingle=5, hashes=8, seed=1) is None


def test_bands_agree_exactly_where_their_rows_do() -> None:
    base = np.arange(12, dtype=np.uint64).reshape(1, 12)
    other = base.copy()
    other[0, 5] = 99
    first, second = band_keys(base, 4, 3), band_keys(other, 4, 3)
    assert (first == second).tolist() == [[True, False, True, True]]
    assert len(set(first[0].tolist())) == 4
    assert similarity(base, other)[0] == pytest.approx(11 / 12)


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
@settings(max_examples=60)
def test_components_are_those_of_a_graph_search(number: int, links: list[tuple[int, int]]) -> None:
    links = [(a % number, b % number) for a, b in links]
    found = components(np.array(links, np.int64).reshape(-1, 2), number)
    expected = list(range(number))
    changed = True
    while changed:
        changed = False
        for a, b in links:
            low = min(expected[a], expected[b])
            if expected[a] != low or expected[b] != low:
                expected[a] = expected[b] = low
                changed = True
    assert found.tolist() == expected


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(2, 6))
@settings(max_examples=60)
def test_repetition_is_what_counting_by_hand_gives(units: list[int], size: int) -> None:
    lengths = [unit + 1 for unit in units]
    grams = [tuple(units[start : start + size]) for start in range(len(units) - size + 1)]
    covered: set[int] = set()
    seen: set[tuple[int, ...]] = set()
    for start, gram in enumerate(grams):
        if gram in seen:
            covered.update(range(start, start + size))
        seen.add(gram)
    most = max((grams.count(gram) for gram in grams), default=0)
    top = max(
        (most * sum(unit + 1 for unit in gram) for gram in grams if grams.count(gram) == most),
        default=0,
    )
    total = max(1, sum(lengths))
    found = repetition(
        np.array(units, np.uint64) + np.uint64(7), np.array(lengths, np.int64), (size,), (size,)
    )
    assert found[f"top_{size}_gram_share"] == pytest.approx(
        min(1.0, top / total) if most > 1 else 0.0
    )
    expected = sum(lengths[place] for place in covered) / total
    assert found[f"repeated_{size}_gram_share"] == pytest.approx(expected)


def test_addresses_of_one_page_have_one_normal_form() -> None:
    same = [
        "http://Example.org/a?id=3",
        "https://example.org:443/a?id=3#top",
        "http://example.org/a?utm_source=x&id=3",
    ]
    assert {normal_url(url) for url in same} == {"example.org/a?id=3"}
    different = ["http://example.org/a?id=4", "http://example.org/A?id=3", "http://example.org/"]
    assert len({normal_url(url) for url in [*different, same[0]]}) == 4
    assert normal_url("file:///tmp/texts.jsonl#3") == normal_url("http://[broken") == ""
