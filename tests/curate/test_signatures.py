"""Folding, units, signatures and bands against slow oracles and what theory says."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from curate_texts import CHINESE, TRADITIONAL, story
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tongwen.curate.duplicates.minhash import (
    Sketches,
    band_keys,
    fill_bins,
    shingle_hashes,
    similarity,
    sketch_texts,
)
from tongwen.curate.text.characters import folded
from tongwen.curate.text.units import units_of

HASHES = 112
JOINING = "e\u0301 が か\u3099 ﾊﾞ 각 \u1100\u1161 ΣΑΣ ﷺ"


def shingles(text: str, size: int = 5) -> set[tuple[int, ...]]:
    units = units_of(folded(text))[0].tolist()
    return {tuple(units[start : start + size]) for start in range(len(units) - size + 1)}


def sketched(*texts: str, shingle: int = 5, hashes: int = HASHES, seed: int = 1) -> Sketches:
    batch = pa.array(texts, pa.string())
    sizes = np.full(len(texts), shingle, np.int64)
    return sketch_texts(batch, sizes, hashes=hashes, seed=seed)


def digest(points: np.ndarray) -> list[int]:
    letters = points[points != 0].tobytes()
    return list(divmod(xxhash.xxh3_128_intdigest(letters), 1 << 64)) if letters else [0, 0]


def mixed(value: int) -> int:
    """The finalizer of MurmurHash3 with shifts of 33 bits, in numbers without an end."""
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % 2**64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
    return value ^ value >> 33


def bins_of(elements: range, hashes: int, seed: int) -> np.ndarray:
    values = np.array([mixed(element + seed * 2**32) for element in elements], np.uint64)
    bins = np.empty(hashes, np.uint64)
    fill_bins(values, bins)
    return bins


def test_the_normal_form_ignores_case_width_punctuation_and_script() -> None:
    assert folded("Ｆｕｌｌ！").tobytes() == folded("full。").tobytes()
    first, second = folded(TRADITIONAL), folded(CHINESE)
    same = first[first != 0][:60] == second[second != 0][:60]
    assert same.mean() == 1.0
    assert not folded("—…！😀\U000e0101").any()


def test_words_are_units_and_so_is_every_han_character() -> None:
    hashes, lengths = units_of(folded("Tongwen 同文, the 3rd 馆"))
    assert lengths.tolist() == [7, 1, 1, 3, 3, 1]
    assert len(set(hashes.tolist())) == 6
    assert units_of(folded("同文"))[0].tolist() == units_of(folded("同 文！"))[0].tolist()


@given(st.text(max_size=100))
@settings(deadline=None)
def test_units_cover_every_letter_and_digit_once(text: str) -> None:
    points = folded(text)
    assert units_of(points)[1].sum() == (points != 0).sum()


@given(st.lists(st.text(max_size=30), max_size=6))
@example([JOINING, "", "½ ㈱ ① ﬁ İ", CHINESE, JOINING])
@settings(deadline=None)
def test_the_kernel_folds_and_splits_as_the_slow_way_does(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    found = sketched(*texts)
    for row, text in enumerate(texts):
        points = folded(text)
        assert found.digests[row].tolist() == digest(points)
        assert found.units[row] == len(units_of(points)[0])
        assert found.signatures[row].any() == (found.units[row] > 0)


def test_every_character_folds_as_the_slow_way_does() -> None:
    points = [*range(0xD800), *range(0xE000, 0x3_3500), 0xE0101, 0x10FFFF]
    texts = [chr(point) for point in points if not 0xAC10 < point < 0xD7A0]
    found = sketched(*texts, hashes=1)
    assert found.digests.tolist() == [digest(folded(text)) for text in texts]


def test_a_signature_does_not_depend_on_the_batch_its_type_or_its_offset() -> None:
    texts = [story(1), story(2, "zh"), JOINING, "", "one", unicodedata.normalize("NFD", story(3))]
    sizes = np.array([5, 3, 5, 5, 5, 5])
    whole = sketch_texts(pa.array(texts), sizes, hashes=HASHES, seed=3)
    assert whole.signatures[5].tolist() == sketched(story(3), seed=3).signatures[0].tolist()
    large = pa.array(["x", *texts], pa.large_string()).slice(1)
    again = sketch_texts(large, sizes, hashes=HASHES, seed=3)
    assert again.signatures.tolist() == whole.signatures.tolist()
    for row, text in enumerate(texts):
        alone = sketched(text, shingle=int(sizes[row]), seed=3)
        assert alone.signatures[0].tolist() == whole.signatures[row].tolist()
    assert sketched(story(1), seed=4).signatures.tolist() != whole.signatures[:1].tolist()


@pytest.mark.parametrize("elements", [1, 2, 5, 20, 112, 300, 3000])
@pytest.mark.parametrize("jaccard", [0.1, 0.5, 0.8])
def test_the_estimate_is_unbiased_and_no_wider_than_minhash(elements: int, jaccard: float) -> None:
    """Sets from one element to thousands: mean within three standard errors of the truth, and a
    variance of at most J (1 - J) / k, which independent hashes have.
    """
    shared = round(2 * elements * jaccard / (1 + jaccard))
    shared = min(max(shared, elements == 1), elements)
    truth = shared / (2 * elements - shared)
    estimates = []
    for seed in range(60 if elements > 1000 else 300):
        first = bins_of(range(elements), HASHES, seed)
        second = bins_of(range(elements - shared, 2 * elements - shared), HASHES, seed)
        estimates.append((first == second).mean())
    theory = np.sqrt(truth * (1 - truth) / HASHES)
    assert abs(np.mean(estimates) - truth) <= 3 * theory / np.sqrt(len(estimates)) + 1e-12
    assert np.std(estimates) <= theory * (1 + 3 / np.sqrt(2 * len(estimates)))


@given(st.sets(st.integers(0, 500), min_size=1), st.sets(st.integers(0, 500), min_size=1))
@settings(max_examples=50, deadline=None)
def test_the_bins_of_a_union_are_the_smaller_ones(first: set[int], second: set[int]) -> None:
    """What makes the estimate one of the Jaccard similarity: bins depend on the set alone."""
    bins = []
    for elements in (first, second, first | second):
        values = np.array([mixed(element + 7) for element in elements], np.uint64)
        bins.append(np.empty(16, np.uint64))
        fill_bins(values, bins[-1])
    assert (np.minimum(bins[0], bins[1]) == bins[2]).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(1, 8))
@settings(deadline=None)
def test_rolling_shingles_are_equal_exactly_where_their_units_are(
    units: list[int], size: int
) -> None:
    array = np.array(units, np.uint64)
    out = np.zeros(len(units), np.uint64)
    number = shingle_hashes(array, size, np.uint64(1), out)
    size = min(size, len(units))
    windows = [tuple(units[start : start + size]) for start in range(len(units) - size + 1)]
    assert number == len(windows)
    named = dict(zip(windows, out[:number].tolist(), strict=True))
    assert [named[window] for window in windows] == out[:number].tolist()
    assert len(set(named.values())) == len(named)


def test_swapped_words_make_another_shingle() -> None:
    one, other = sketched("one two three four five", "two one three four five").signatures
    assert similarity(one[None], other[None])[0] == 0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_similarity_of_texts_is_estimated_without_bias(lang: str) -> None:
    """Mean error over many pairs and seeds within three standard errors of zero."""
    errors = []
    for number in range(12):
        text = story(number, lang, 30)
        parts = text.split("\n\n")
        other = "\n\n".join([*parts[number % 5 :], *story(number + 100, lang, 3 * 3).split("\n\n")])
        first, second = shingles(text), shingles(other)
        exact = len(first & second) / len(first | second)
        for seed in range(12):
            signatures = sketched(text, other, seed=seed).signatures
            errors.append(similarity(signatures[:1], signatures[1:])[0] - exact)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))
    assert np.std(errors) < 0.05  # sqrt(J (1 - J) / 112) is 0.047 at most


def test_a_text_shorter_than_a_shingle_is_one_and_an_empty_one_has_no_signature() -> None:
    found = sketched("two words", "Two words!", "!!! 。", hashes=8)
    assert found.units.tolist() == [2, 2, 0]
    assert found.signatures[0].all()
    assert found.signatures[0].tolist() == found.signatures[1].tolist()
    assert not found.signatures[2].any()


def test_bands_agree_exactly_where_their_rows_do() -> None:
    base = np.arange(13, dtype=np.uint32).reshape(1, 13)
    other = base.copy()
    other[0, [5, 12]] = 99  # the last one is in no band
    first, second = band_keys(base, 4, 3), band_keys(other, 4, 3)
    assert (first == second).tolist() == [[True, False, True, True]]
    assert len(set(first[0].tolist())) == 4
    assert similarity(base, other)[0] == pytest.approx(11 / 13)
