"""Repetition and normal addresses against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.extract.record import normal_url
from tongwen.curate.rules.repetition import repetition


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
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
