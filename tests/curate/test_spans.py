"""Repeated spans against brute force, a suffix array and planted copies."""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from curate_texts import story
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces_runs import SOURCES, Pieces, document

from tongwen.curate.records.exchange import preference, source_ranks
from tongwen.curate.repeats import spans
from tongwen.curate.repeats.span_kernels import anchors, gram_units, sentence_cuts
from tongwen.curate.repeats.units import Units, lines_of, placed_units

WORDS = ("one", "two", "three")


def units(text: str) -> list[int]:
    return [int(value) for value in placed_units(text).hashes]


def covered_by_hand(rows: Sequence[dict[str, Any]], size: int) -> list[set[int]]:
    """Units in runs of `size` whose preferred copy lies elsewhere, by a table of all runs."""
    ranks = source_ranks(SOURCES)
    order = sorted(range(len(rows)), key=lambda place: preference(rows[place], ranks))
    first: dict[tuple[int, ...], tuple[int, int]] = {}
    covered: list[set[int]] = [set() for _ in rows]
    for place in order:
        values = units(rows[place]["text"])
        for start in range(len(values) - size + 1):
            kept, kept_start = first.setdefault(tuple(values[start : start + size]), (place, start))
            if (kept, kept_start) != (place, start):
                least = kept_start + size if kept == place else 0
                covered[place].update(range(max(start, least), start + size))
    return covered


def covered_by_spans(
    monkeypatch: pytest.MonkeyPatch, groups: list[list[dict[str, Any]]], size: int, partitions: int
) -> tuple[list[set[int]], Pieces]:
    """What the steps find, before sentences are looked at."""
    seen: dict[str, set[int]] = {}
    real = spans.covered_units

    def remembered(text: str, *others: Any) -> Any:
        covered, wrong = real(text, *others)
        seen[text] = set(np.flatnonzero(covered).tolist())
        return covered, wrong

    monkeypatch.setattr(spans, "covered_units", remembered)
    with TemporaryDirectory() as folder:
        pieces = Pieces(Path(folder) / "run", groups)
        pieces.spans(size, size, partitions)
        found = [seen.get(row["text"], set()) for rows in groups for row in rows]
        pieces.edited = pieces.texts()  # type: ignore[attr-defined]
    return found, pieces


_DOCUMENTS = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=5,
    unique=True,
)  # fmt: skip


@given(_DOCUMENTS, st.integers(2, 9), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_spans_are_all_runs_that_brute_force_finds_and_no_other(
    texts: list[str], size: int, partitions: int
) -> None:
    rows = [document(text, source=SOURCES[place % 2]) for place, text in enumerate(texts)]
    with pytest.MonkeyPatch.context() as patch:
        found, pieces = covered_by_spans(patch, [rows[:2], rows[2:]], size, partitions)
    assert found == covered_by_hand(rows, size)
    assert pieces.counts["span-cut refuted"] == 0


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60),
       st.integers(2, 12))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_equal_runs_share_a_sample(first: list[int], second: list[int], size: int) -> None:
    sides = []
    for values in (first, second):
        hashes = np.array(values, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys, places = anchors(hashes, size)
        sides.append(dict(zip(places.tolist(), keys.tolist(), strict=True)))
    reach = size - gram_units(size)
    for start in range(len(first) - size + 1):
        for other in range(len(second) - size + 1):
            if first[start : start + size] == second[other : other + size]:
                assert any(
                    sides[0].get(start + step, 0) == sides[1].get(other + step, 1)
                    for step in range(reach + 1)
                )


def test_half_a_window_lies_between_samples() -> None:
    """The density of winnowing is 2 / (windows + 1) (Schleimer et al. 2003, theorem 1)."""
    hashes = np.random.default_rng(5).integers(0, 1 << 63, 100_000).astype(np.uint64)
    for size in (35, 50):
        expected = (size - gram_units(size) + 2) / 2
        assert 100_000 / len(anchors(hashes, size)[0]) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_planted_copies_are_cut_whatever_the_grouping(lang: str, tmp_path: Path) -> None:
    generator = random.Random(7)
    texts = [story(number, lang[:2], 30) for number in range(24)]
    shared = [story(100 + number, lang[:2], 3).replace("\n\n", " ") for number in range(4)]
    for number in range(24):
        parts = texts[number].split("\n\n")
        parts.insert(generator.randrange(len(parts)), shared[number % 4])
        texts[number] = "\n\n".join(parts)
    rows = [document(text, lang) for text in texts]
    results = []
    for name, order, cuts, partitions in (
        ("a", list(range(24)), (24,), 1),
        ("b", random.Random(1).sample(range(24), 24), (5, 11, 24), 3),
    ):
        groups, start = [], 0
        for end in cuts:
            groups.append([rows[place] for place in order[start:end]])
            start = end
        pieces = Pieces(tmp_path / name, groups)
        pieces.spans(35, 50, partitions)
        results.append(dict(zip(order, pieces.texts(), strict=True)))
    assert results[0] == results[1]
    for text in shared:
        assert sum(text in left for left in results[0].values()) == 1


def test_case_width_spacing_and_script_make_no_difference(tmp_path: Path) -> None:
    sentence = (
        "这本书讲述一个图书馆里的故事，馆员每天清晨打开大门，点亮灯火，等待远方来的读者坐下读书。"
    )
    other = sentence.replace("，", " , ").replace("书", "書").replace("讲", "講")
    groups = [[document("前言。\n" + sentence + "后来的事情无人知道。", "zh-Hans"),
               document("别的开头。\n" + other, "zh-Hant")]]  # fmt: skip
    pieces = Pieces(tmp_path / "run", groups)
    pieces.spans(35, 30)
    assert pieces.texts() == [groups[0][0]["text"], "别的开头。"]


def test_only_whole_sentences_go_and_short_rests_stay() -> None:
    text = "First here. A second one stands here! Third begins and\nFourth is it. Fifth"
    marked = placed_units(text)
    covered = np.ones(len(marked.hashes), bool)
    covered[[0, 8]] = False  # "First", "begins"
    starts, ends = sentence_cuts(text, marked, covered, 5)
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == ["A second one stands here! "]
    starts, ends = sentence_cuts(text, marked, covered, 4)
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == [
        "A second one stands here! ", "Fourth is it. ", "Fifth"
    ]  # fmt: skip


@given(st.text(alphabet="ab。！.?” \n好", max_size=60), st.data())
@settings(max_examples=200, deadline=None)
def test_no_unit_is_cut_that_is_not_repeated(text: str, data: st.DataObject) -> None:
    marked = placed_units(text)
    flags = data.draw(
        st.lists(st.booleans(), min_size=len(marked.hashes), max_size=len(marked.hashes))
    )
    starts, ends = sentence_cuts(text, marked, np.array(flags, bool), 1)
    assert (starts[1:] >= ends[:-1]).all()
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        inside = (marked.starts < end) & (marked.ends > start)
        assert inside.any()
        assert np.array(flags, bool)[inside].all()
        assert ((marked.starts >= start) & (marked.ends <= end))[inside].all()


def test_a_collision_of_hashes_cuts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hashes of words that all collide the letters still tell the texts apart."""

    def colliding(text: str) -> Units:
        found = placed_units(text)
        return Units(found.hashes * np.uint64(0) + np.uint64(7), found.starts, found.ends)

    rows = [document(story(number, "en", 6)) for number in range(3)]
    monkeypatch.setattr(spans, "placed_units", colliding)
    pieces = Pieces(tmp_path / "run", [rows])
    pieces.spans(35, 50)
    assert pieces.counts["span-cut refuted"] > 0
    assert pieces.texts() == [row["text"] for row in rows]


def test_code_tables_and_dropped_records_take_no_part(tmp_path: Path) -> None:
    long = story(3, "en", 4).replace("\n\n", " ")
    fenced = f"Before.\n```\n{long}\n```\nAfter."
    table = f"| {long} |\n| --- |"
    rows = [document(long), document(fenced), document(table), document("Own. " + long),
            document("Other. " + long), document(long + " end.", "code")]  # fmt: skip
    pieces = Pieces(tmp_path / "run", [rows], dropped=[(0, 0)], duplicates=[(0, 3)])
    pieces.spans(35, 50)
    assert pieces.texts() == [row["text"] for row in rows]
    assert not lines_of(fenced).is_prose[1:4].any()


def test_a_block_of_code_goes_with_the_span_it_stands_in_or_parts_it(tmp_path: Path) -> None:
    before, after = story(5, "en", 1), story(6, "en", 1)
    least = len(units(before)) + len(units(after))
    section = f"{before}\n\n```\nprint(1)\n```\n\n{after}"
    other = section.replace("1)", "2)")
    texts = (f"{section}\n\nThat was all of it.", section, other)
    rows = [document(f"Some words of {place}.\n\n{text}") for place, text in enumerate(texts)]
    pieces = Pieces(tmp_path / "run", [rows])
    pieces.spans(least, 50)
    assert pieces.texts() == [rows[0]["text"], "Some words of 1.", rows[2]["text"]]


def test_a_suffix_array_finds_the_same_in_real_prose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peer: pydivsufsort's suffix array and longest common prefixes, where it is installed."""
    divsufsort = pytest.importorskip("pydivsufsort")
    generator = random.Random(3)
    stories = [story(number, "en", 20) for number in range(6)]
    rows = []
    for number in range(12):
        parts = [generator.choice(stories) for _ in range(2)]
        cut = [part[generator.randrange(200) :][: generator.randrange(300, 900)] for part in parts]
        rows.append(document(f"Text {number}. " + " ".join(cut)))
    size = 20
    found, _ = covered_by_spans(monkeypatch, [rows[:5], rows[5:]], size, 2)
    values = [units(row["text"]) for row in rows]
    names = {value: rank for rank, value in enumerate(sorted({v for row in values for v in row}))}
    # A different sign ends each text, so that no repeat runs over an end.
    whole = [x for n, row in enumerate(values) for x in [*map(names.get, row), len(names) + n]]
    text = np.array(whole, np.int64)
    array = divsufsort.divsufsort(text)
    common = divsufsort.kasai(text, array)
    repeated = np.zeros(len(text), bool)
    for rank in np.flatnonzero(common[:-1] >= size).tolist():
        for start in (array[rank], array[rank + 1]):
            repeated[start : start + size] = True
    ends = np.cumsum([len(row) + 1 for row in values])
    by_array = [set(np.flatnonzero(repeated[end - len(row) - 1 : end - 1]).tolist())
                for row, end in zip(values, ends, strict=True)]  # fmt: skip
    assert found == covered_by_hand(rows, size)
    for mine, theirs in zip(found, by_array, strict=True):
        assert mine <= theirs
    assert any(found)
