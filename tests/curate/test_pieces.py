"""Host templates and repeated paragraphs: what goes, what stays, and that order changes nothing."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from curate_texts import story
from hypothesis import given
from hypothesis import strategies as st
from pieces_runs import Pieces, document

from tongwen.curate.records.exchange import open_records
from tongwen.curate.repeats.paragraphs import map_paragraphs
from tongwen.curate.repeats.units import letter_table, letters_of, lines_of, placed_units
from tongwen.curate.text.characters import folded
from tongwen.curate.text.units import units_of
from tongwen.errors import InputError

NOTICE = "欢迎关注本站的公众号，每天都有新的文章等你来读"
INVITATION = "Our newsletter tells you every week what is new on this site"


def pages(number: int, host: str = "a.example") -> list[dict]:
    """Pages with a frame, a heading in common and a sentence of their own."""
    return [
        document(
            f"{NOTICE}\n# Page {place}\n\n## Syntax\n\nThing number {place} is written so:\n\n"
            f"Output:\n\nvalue {place}\n\n## More from us\n\n{INVITATION}",
            host=host,
        )
        for place in range(number)
    ]


def test_the_frame_of_a_hosts_pages_goes_and_common_headings_stay(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path / "run", [pages(7), pages(12)[7:], pages(9, "b.example")])
    pieces.templates(10, 0.05)
    left = pieces.texts()
    for place in range(12):
        assert left[place] == (
            f"# Page {place}\n\n## Syntax\n\nThing number {place} is written so:\n\n"
            f"Output:\n\nvalue {place}"
        )
    assert left[12:] == [page["text"] for page in pages(9, "b.example")]  # nine are too few
    assert pieces.counts["template-cut cut"] == 3 * 12


def test_a_share_of_the_hosts_pages_is_asked_for_too(tmp_path: Path) -> None:
    others = [document(story(place, "en", 3), host="a.example") for place in range(90)]
    groups = [pages(10), others]
    for name, share, cut in (("a", 0.1, 30), ("b", 0.11, 0)):
        pieces = Pieces(tmp_path / name, groups)
        pieces.templates(10, share)
        assert pieces.counts["template-cut cut"] == cut


def test_plain_texts_code_and_short_signs_are_no_template(tmp_path: Path) -> None:
    def page(place: int, end: str) -> dict:
        return document(f"Words of page {place} stand here.\n\n{end}", host="a.example")

    ends = ("</body>\n</html>", f"```\n{INVITATION}\n```", f"| {INVITATION} |", "The end.",
            "function displayResult()", f"## {INVITATION}\n\nown words {{place}}")  # fmt: skip
    for number, end in enumerate(ends):
        rows = [page(place, end.replace("{place}", str(place))) for place in range(12)]
        pieces = Pieces(tmp_path / str(number), [rows])
        pieces.templates(10, 0.05)
        assert pieces.texts() == [row["text"] for row in rows], end
    rows = pages(12)
    pieces = Pieces(tmp_path / "texts", [rows], texts=[(0, place) for place in range(12)])
    pieces.templates(10, 0.05)
    assert pieces.texts() == [row["text"] for row in rows]


def test_a_line_repeated_in_one_document_only_is_no_template(tmp_path: Path) -> None:
    rows = [*pages(3), document("\n".join([INVITATION] * 30), host="a.example")]
    pieces = Pieces(tmp_path / "run", [rows])
    pieces.templates(10, 0.05)
    assert pieces.counts["template-cut cut"] == 0


LONG = {
    "en": "A paragraph of enough letters that stands in more than one of the documents here.",
    "zh-Hans": "这一段文字足够长，在不止一篇文章里出现，所以除了最好的那一篇以外都要删去它才对。",
}


@pytest.mark.parametrize("lang", ["en", "zh-Hans"])
def test_the_preferred_document_keeps_its_paragraph(lang: str, tmp_path: Path) -> None:
    """First source, then longer text, then smaller doc_id, however the documents are grouped."""
    para = LONG[lang]
    rows = [
        document(f"短 short a.\n\n{para}", lang, source="first"),
        document(f"这一篇更长 this one is longer b.\n\n{para}\n\n完 end", lang, source="first"),
        document(f"{'最长 the longest of all ' * 9}c.\n\n{para}", lang, source="second"),
        document(f"{para}\n\n{para}\n\n两次 d", lang, source="second"),
    ]
    expected = [rows[0]["text"][: -len(para) - 2], rows[1]["text"],
                rows[2]["text"][: -len(para) - 2], "两次 d"]  # fmt: skip
    for number, order in enumerate(([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2])):
        groups = [
            [rows[place] for place in order[:number]],
            [rows[place] for place in order[number:]],
        ]
        pieces = Pieces(tmp_path / str(number), groups)
        pieces.paragraphs(60, partitions=1 + number)
        assert pieces.texts() == [expected[place] for place in order]


def test_equal_documents_by_rank_and_length_are_told_apart_by_doc_id(tmp_path: Path) -> None:
    rows = [document(f"{LONG['en']}\n\nNumber {place}.") for place in range(6)]
    pieces = Pieces(tmp_path / "run", [rows])
    pieces.paragraphs(60)
    kept = [row["doc_id"] for row, text in zip(rows, pieces.texts(), strict=True)
            if LONG["en"] in text]  # fmt: skip
    assert kept == [min(row["doc_id"] for row in rows)]


def test_what_is_dropped_code_short_or_introduces_a_list_is_not_compared(tmp_path: Path) -> None:
    para = LONG["en"]
    rows = [document(para), document("Two.\n\n" + para), document(f"```\n{para}\n```"),
            document("x = 1\n" + para, "code"), document("Four.\n\n" + para + "\n\nMore words."),
            document("Five.\n\n" + para[:-1] + ":\n\n- item"),
            document("Six.\n\nShort one."), document("Seven.\n\nShort one.")]  # fmt: skip
    pieces = Pieces(tmp_path / "run", [rows], dropped=[(0, 0)], duplicates=[(0, 1)])
    pieces.paragraphs(60)
    assert pieces.texts() == [row["text"] for row in rows]
    home = tmp_path / "run"
    found = open_records(home / "in-0" / "decisions.parquet", [home / "duplicates.parquet"], 0)
    assert found.tolist() == [2, 3, 4, 5, 6, 7]


def test_steps_cut_after_one_another_and_the_count_is_what_is_gone(tmp_path: Path) -> None:
    shared = story(3, "en", 4).replace("\n\n", " ")
    rows = [
        document(f"{NOTICE}\n\nPage {place} begins.\n\n{LONG['en']}\n\nThen {place}. {shared}",
                 host="a.example")
        for place in range(12)
    ]  # fmt: skip
    pieces = Pieces(tmp_path / "run", [rows[:5], rows[5:]])
    pieces.templates(10, 0.05)
    pieces.paragraphs(60)
    pieces.spans(35, 50)
    left = pieces.texts()
    assert sum(LONG["en"] in text for text in left) == 1
    assert sum(shared in text for text in left) == 1
    assert not any(NOTICE in text for text in left)


def test_edits_are_the_same_bytes_whatever_the_partitions(tmp_path: Path) -> None:
    generator = random.Random(11)
    shared = [story(number, "en", 1) for number in range(8)]
    rows = [
        document("\n\n".join([f"Text {place}.", *generator.sample(shared, 3)]))
        for place in range(20)
    ]
    digests = set()
    for partitions in (1, 4):
        pieces = Pieces(tmp_path / str(partitions), [rows[:6], rows[6:]])
        pieces.paragraphs(60, partitions)
        every = np.sort(np.concatenate([np.load(path) for path in pieces.edits]))
        pieces.edits = []
        pieces.spans(35, 50, partitions)
        spans = b"".join(path.read_bytes() for path in pieces.edits)
        digests.add(hashlib.sha256(every.tobytes() + spans).hexdigest())
        assert len(every) > 20
    assert len(digests) == 1


def test_decisions_of_other_documents_are_refused(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path / "run", [[document("one")], [document("two"), document("three")]])
    home = tmp_path / "run"
    inputs = {
        "documents": home / "in-0" / "documents.parquet",
        "decisions": home / "in-1" / "decisions.parquet",
        "duplicates": home / "duplicates.parquet",
        "edits": [],
    }
    params = {"task": 0, "partitions": 1, "sources": ["first"], "minimum_paragraph_letters": 60}
    with pytest.raises(InputError, match="has 1 records, row 1 is wanted"):
        pieces.run(map_paragraphs, 0, inputs, **params)


@given(st.text(alphabet="ab Ａ書书,，\n`|-é", max_size=80))
def test_lines_are_those_of_split_and_keys_those_of_their_letters(text: str) -> None:
    found = lines_of(text)
    parts = text.split("\n")
    assert len(found.starts) == len(parts)
    letters = letters_of(text)
    keys: dict[bytes, tuple[int, ...]] = {}
    for place, part in enumerate(parts):
        start, end = int(found.starts[place]), int(found.ends[place])
        assert text[start:end] == part.strip()
        own = letters[start:end]
        own = own[own != 0]
        assert found.weights[place] == len(own) + sum(point >= 0x2E80 for point in own.tolist())
        assert keys.setdefault(own.tobytes(), tuple(found.keys[place])) == tuple(found.keys[place])
    assert len(set(keys.values())) == len(keys)


@given(st.text(alphabet="ab Ａ書书,，é.\n9", max_size=80))
def test_units_are_those_of_the_folded_text(text: str) -> None:
    """Against `units.units_of`, which has no places, on text without code and tables."""
    found = placed_units(text)
    assert (found.ends - found.starts).tolist() == units_of(folded(text))[1].tolist()
    letters = letters_of(text)
    names = [letters[a:b].tobytes() for a, b in zip(found.starts, found.ends, strict=True)]
    pairs = Counter(zip(names, found.hashes.tolist(), strict=True))
    assert len(pairs) == len(set(names)) == len(set(found.hashes.tolist()))


def test_letters_keep_their_places_and_fold_case_width_and_script() -> None:
    assert letters_of("ＡＢ書 c。").tolist() == [ord("a"), ord("b"), ord("书"), 0, ord("c"), 0]
    assert letter_table()[ord("½")] == ord("½")  # 1⁄2 would take three places
    assert letters_of("😀\U0010ffff").tolist() == [0, 0]
