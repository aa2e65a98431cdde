"""Rules for web addresses: lists with parents, words, trusted hosts, odd spellings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.extract.addresses import (
    HARD_WORDS,
    SOFT_WORDS,
    AddressRules,
    address_problem,
    read_rules,
    split_address,
)
from tongwen.errors import RecipeError

LISTS = AddressRules(
    {"lucky.example": "gambling", "spam.co.uk": "ads", "xn--fiq228c.example": "adult"},
    frozenset({"news.lucky.example"}),
)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://lucky.example/", "blocked_domain:gambling"),
        ("HTTP://WWW.LUCKY.Example:8080/Page", "blocked_domain:gambling"),
        ("https://user:word@a.b.lucky.example.?q", "blocked_domain:gambling"),
        ("https://unlucky.example/", None),
        ("https://lucky.example.org/", None),
        ("https://news.lucky.example/casino-porn", None),
        ("https://www.spam.co.uk/", "blocked_domain:ads"),
        ("https://other.co.uk/", None),
        ("https://中文.example/", "blocked_domain:adult"),
        ("https://a.example/free-PORN/1", "hard_word:porn"),
        ("https://www.bocai888.example/", "hard_word:bocai"),
        ("https://a.example/%62aijiale/", "hard_word:baijiale"),
        ("https://a.example/yulecheng_zhuce", "hard_word:yulecheng"),
        ("https://casino-bonus.example/", "soft_words:bonus+casino"),
        ("https://qipai.example/touzhu/", "soft_words:qipai+touzhu"),
        ("https://a.example/casino-royale-film", None),
        ("https://a.example/free-video-girls", None),
        ("https://essex.example/sussex/middlesex", None),
        ("https://a.example/adultery-in-novels/alphabet", None),
        ("https://en.wikipedia.org/wiki/Casino_poker_Porn", None),
        ("https://health.gov/sex-and-drugs/porn", None),
        ("https://lib.tsinghua.edu.cn/dubo/caipiao", None),
        ("https://www.bj.gov.cn/caipiao/kaijiang", None),
        ("https://fake-gov.example/porn", "hard_word:porn"),
        ("https://notwikipedia.org/porn", "hard_word:porn"),
        ("ftp://a.example/", "not_an_address"),
        ("mailto:a@b.example", "not_an_address"),
        ("https:///nowhere", "not_an_address"),
        ("", "not_an_address"),
    ],
)
def test_each_address_has_its_reason(url: str, problem: str | None) -> None:
    assert address_problem(url, LISTS) == problem


def test_words_can_be_turned_off() -> None:
    assert address_problem("https://porn.example/", AddressRules(use_words=False)) is None


def test_an_address_is_split_into_host_and_path() -> None:
    assert split_address(" HTTPS://Me@WWW.Example.ORG.:443/A%2FB?C#D ") == (
        "www.example.org",
        "/a/b?c#d",
    )
    assert split_address("http://[2001:DB8::1]:80/x") == ("[2001:db8::1]", "/x")


def test_files_of_domains_give_categories(tmp_path: Path) -> None:
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains").write_text("bad.example\n\n# remark\nhttp://Worse.example/x\n")
    (tmp_path / "phishing.txt").write_text("bad.example # known\n.trap.example\n")
    (tmp_path / "good.txt").write_text("fine.bad.example\n")
    rules = read_rules([tmp_path / "adult", tmp_path / "phishing.txt"], [tmp_path / "good.txt"])
    assert rules.blocked == {
        "bad.example": "adult",
        "worse.example": "adult",
        "trap.example": "phishing",
    }
    assert address_problem("https://fine.bad.example/", rules) is None
    assert address_problem("https://x.bad.example/", rules) == "blocked_domain:adult"


@pytest.mark.parametrize("line", ["com", "not a domain!", "a b.example", "/path"])
def test_a_line_that_is_no_domain_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ads.txt"
    path.write_text(f"good.example\n{line}\n")
    with pytest.raises(RecipeError, match="line 2"):
        read_rules([path])


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        read_rules([tmp_path / "none.txt"])


def test_every_built_in_word_can_be_found() -> None:
    for word in HARD_WORDS:
        assert address_problem(f"https://{word}.example/", AddressRules()) == f"hard_word:{word}"
    for word in SOFT_WORDS:
        found = address_problem(f"https://{word}.example/poker/dubo", AddressRules())
        assert found is not None
        assert found.startswith("soft_words:")
    assert not set(HARD_WORDS) & set(SOFT_WORDS)


@given(st.text(max_size=60))
def test_no_address_raises(url: str) -> None:
    for whole in (url, f"https://{url}"):
        problem = address_problem(whole, LISTS)
        assert problem is None or problem
