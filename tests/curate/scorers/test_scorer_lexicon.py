"""The lexicon: levels, standalone words, terms that must meet, and its file."""

from pathlib import Path

import pytest

from tongwen.curate.scorers.lexicon import Lexicon, Term, own_lexicon, read_lexicon
from tongwen.errors import InputError


def counts(text: str, *terms: tuple[int, str]) -> tuple[int, ...]:
    lexicon = Lexicon(Term(level, "x", tuple(term.split("&&&"))) for level, term in terms)
    return lexicon.find(text).counts[1:]


def test_latin_terms_count_only_as_words_of_their_own() -> None:
    assert counts("Class, an ass; ASS-first passage", (1, "ass")) == (2, 0, 0)
    assert counts("买viagra吧", (1, "viagra")) == (1, 0, 0)
    assert counts("bet365 or bet 365", (1, "bet")) == (1, 0, 0)


def test_chinese_terms_count_inside_text_in_either_script() -> None:
    assert counts("網上賭場和网上赌场", (2, "赌场")) == (0, 2, 0)


def test_joined_terms_count_once_where_both_are_near() -> None:
    terms = (2, "casino&&&bonus")
    assert counts("Bonus at the casino, bonus!", terms) == (0, 1, 0)
    assert counts("casino " + "x " * 200 + "bonus", terms) == (0, 0, 0)
    assert counts("casino", terms) == (0, 0, 0)


def test_terms_inside_one_another_are_all_found() -> None:
    assert counts("真人百家乐", (1, "百家乐"), (2, "真人百家乐")) == (1, 1, 0)


def test_a_density_is_per_thousand_characters() -> None:
    hits = Lexicon([Term(1, "x", ("赌场",))]).find("赌场" + "字" * 498)
    assert hits.per_thousand(1) == 2
    assert hits.categories == ("x",)


def test_our_own_lexicon_has_every_level_and_nothing_in_ordinary_text() -> None:
    lexicon = Lexicon(own_lexicon())
    assert {term.level for term in lexicon.terms} == {1, 2, 3}
    plain = "The harbour was quiet and the captain slept. 港口很安静，船长睡着了。"
    assert lexicon.find(plain).counts == (0, 0, 0, 0)
    assert lexicon.find("真人百家乐，注册送彩金").counts[2] >= 2


@pytest.mark.parametrize(
    "line", ["4\tx\tterm", "1 x term", "1\tx\t", "1\tx\ta&&&", "1\tx\t" + "y" * 200]
)
def test_a_line_that_is_no_term_is_refused_by_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text(f"# comment\n1\tx\tgood\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 3"):
        read_lexicon(path)


def test_a_file_is_read_once_each_term(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("1\tx\tGood\n1\tx\tgood\n3\ty\t甲&&&乙\n", encoding="utf-8")
    assert read_lexicon(path) == [Term(1, "x", ("good",)), Term(3, "y", ("甲", "乙"))]
