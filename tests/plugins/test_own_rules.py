"""Rules and scorers of a user's own."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from own_texts import CHINESE, ENGLISH

from tongwen import Verdict, curate_documents
from tongwen.curate.own.patterns import PatternRule
from tongwen.errors import InputError, RecipeError, TongwenError

Write = Callable[..., Path]
TEXTS = [ENGLISH.format(1) + " Come! Now!", ENGLISH.format(2), CHINESE.format(3)]
OFF: dict[str, Any] = {
    "duplicates": {"same_url": False, "same_text": False, "similarity": None},
    "repeats": {"templates": False, "paragraphs": False, "spans": False},
}

RULE = """
from tongwen.plugins import Document, rule

@rule(languages=["en"])
def shouts(document: Document) -> float:
    return document.text.count("!")
"""


def curated(texts: Sequence[str], **settings: Any) -> list[Verdict]:
    return list(curate_documents(texts, **{**OFF, **settings}))


def test_a_python_rule_measures_and_drops_like_a_built_in_one(write: Write) -> None:
    path = write("rules.py", RULE)
    first, second, third = curated(TEXTS, rules={"shouts": {"path": path, "maximum": 1}})
    assert (first.stage, first.rule, first.value, first.threshold) == (
        "rules", "maximum_shouts", 2.0, 1.0,
    )  # fmt: skip
    assert second.kept
    assert second.values["shouts"] == 0.0
    assert third.kept
    assert third.values["shouts"] is None  # another language is not measured, and passes


def test_a_rule_without_thresholds_is_a_column(write: Write) -> None:
    path = write("rules.py", RULE)
    verdicts = curated(TEXTS, rules={"loud": {"path": path, "function": "shouts"}})
    assert [verdict.values["loud"] for verdict in verdicts] == [2.0, 0.0, None]
    assert all(verdict.kept for verdict in verdicts)


def test_a_toml_rule_counts_words_of_a_list_in_both_languages(write: Write) -> None:
    path = write(
        "lighthouses.toml",
        'measure = "matches_per_thousand"\nwords = ["keeper", "keep", "灯塔"]\n',
    )
    verdicts = curated(TEXTS[1:], rules={"lighthouses": {"path": path, "maximum": 70}})
    assert verdicts[0].values["lighthouses"] == 1_000 * 2 / 28
    assert verdicts[0].rule == "maximum_lighthouses"
    assert verdicts[1].values["lighthouses"] == pytest.approx(1_000 / 40, abs=2)


@pytest.mark.parametrize(
    ("rule", "text", "value"),
    [
        (PatternRule(measure="matching_line_share", pattern="^a"), "a\n\nb\nab\n", 2 / 3),
        (PatternRule(measure="matching_character_share", pattern="b+"), "abba", 0.5),
        (PatternRule(measure="matches_per_thousand", words=("casino",)), "Casino casinos", 500.0),
        (PatternRule(measure="matches_per_thousand", words=("赌场",)), "大赌场casino", 250.0),
        (PatternRule(measure="matches_per_thousand", words=("casino",)), "大赌场casino", 250.0),
        (PatternRule(measure="matching_line_share", pattern="x"), " \n", None),
    ],
)
def test_patterns_are_counted_as_documented(
    rule: PatternRule, text: str, value: float | None
) -> None:
    assert rule.value(text) == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ('pattern = "a"', "`measure` is missing"),
        ('measure = "matching_line_share"', "either `pattern` or `words`"),
        ('measure = "matching_line_share"\npattern = "("', "no regular expression"),
        ('measure = "matching_line_share"\npattern = "a*"', "matches the empty text"),
        ('measure = "lines"\npattern = "a"', "'lines'"),
        ('measure = "matching_line_share"\npatern = "a"', "unknown key `patern`"),
    ],
)
def test_a_toml_rule_that_cannot_be_used_names_its_file(
    write: Write, values: str, message: str
) -> None:
    path = write("rule.toml", values)
    with pytest.raises(RecipeError, match=f"(?s){message}.*rule.toml|rule.toml.*{message}"):
        curated(TEXTS, rules={"mine": {"path": path}})


SCORER = """
from tongwen.plugins import scorer

SIZES = []

@scorer(languages=["en"], batch_documents=2)
class Length:
    def __init__(self):
        self.divisor = 1000

    def score(self, documents):
        assert len(documents) <= 2
        if any("poison" in document.text for document in documents):
            raise ValueError("poisoned")
        return [len(document.text) / self.divisor for document in documents]
"""


def test_a_scorer_scores_in_batches_and_one_document_spoils_no_other(write: Write) -> None:
    path = write("scorer.py", SCORER)
    texts = [ENGLISH.format(number) for number in range(5)] + [CHINESE]
    texts[2] += " poison"
    verdicts = curated(
        texts,
        own_scorers={"length": {"path": path, "function": "Length", "minimum": 0.2}},
    )
    lengths = [verdict.values["length"] for verdict in verdicts]
    assert lengths[2] is None
    assert lengths[5] is None
    assert [lengths[place] for place in (0, 1, 3, 4)] == [len(texts[0]) / 1_000] * 4
    assert verdicts[0].stage == "scores"
    assert verdicts[2].kept


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("'much'", "TypeError: the value is 'much', not a number"),
        ("float('inf')", "ValueError: the value is infinite"),
        ("1 / 0", "line 6: ZeroDivisionError"),
    ],
)
def test_a_rule_that_fails_on_all_documents_ends_the_run_and_says_where(
    write: Write, answer: str, message: str
) -> None:
    path = write("rules.py", RULE.replace('document.text.count("!")', answer))
    with pytest.raises(InputError, match=message) as caught:
        curated(TEXTS[1:2], rules={"shouts": {"path": path}})
    assert f"`shouts` in {path}" in caught.value.message
    assert "document:0" in caught.value.message
    assert caught.value.hint is not None
    assert "allowed_failure_share" in caught.value.hint


def test_more_failures_than_allowed_end_the_run(write: Write) -> None:
    path = write("rules.py", RULE.replace('document.text.count("!")', '1 / ("2" in document.text)'))
    texts = [ENGLISH.format(number) for number in (2, 3, 4, 2)]
    with pytest.raises(InputError, match="more than the 1 that may"):
        curated(texts, rules={"shouts": {"path": path}})
    verdicts = curated(texts, rules={"shouts": {"path": path}}, allowed_failure_share=0.5)
    assert [verdict.values["shouts"] for verdict in verdicts] == [1.0, None, None, 1.0]
    with pytest.raises(InputError, match="more than the 0 that may"):
        curated(texts, rules={"shouts": {"path": path}}, allowed_failure_share=0)


@pytest.mark.parametrize("name", ["words", "quality", "lang", "words_decile", "email_count"])
def test_a_name_of_ours_is_refused(write: Write, name: str) -> None:
    path = write("rules.py", RULE)
    with pytest.raises(RecipeError, match=rf"curate\.rules\.{name} has the name of a column"):
        curated(TEXTS, rules={name: {"path": path, "function": "shouts"}})


def test_names_that_are_none_and_twins_are_refused(write: Write) -> None:
    path = write("rules.py", RULE)
    with pytest.raises(RecipeError, match="'Shouts'"):
        curated(TEXTS, rules={"Shouts": {"path": path}})
    with pytest.raises(RecipeError, match="both have 'shouts'"):
        curated(TEXTS, rules={"shouts": {"path": path}}, own_scorers={"shouts": {"path": path}})
    with pytest.raises(RecipeError, match=r"minimum is 2\.0, more than maximum, 1\.0"):
        curated(TEXTS, rules={"shouts": {"path": path, "minimum": 2, "maximum": 1}})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("def shouts(document:\n", "line 1: SyntaxError", "loaded by its path"),
        ("import nothing_such\n", "line 1: ModuleNotFoundError", "installed packages"),
        ("def shouts(document): return 1\n", "is not marked as a rule", "put @rule"),
        (RULE.replace("shouts", "whispers"), "has no function `shouts`", "its rules: whispers"),
        ("x = 1\n", "has no function `shouts`", "no function in it is marked"),
        ("raise SystemExit(3)\n", "SystemExit: 3", "loaded by its path"),
        (
            RULE.replace('["en"]', '["de"]'),
            "measures the language 'de'",
            "known: en",
        ),
    ],
)
def test_code_that_cannot_be_used_is_named_before_the_work_starts(
    write: Write, text: str, message: str, hint: str
) -> None:
    path = write("rules.py", text)
    with pytest.raises(TongwenError, match=message) as caught:
        curated(TEXTS, rules={"shouts": {"path": path}})
    assert str(path) in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_file_that_is_not_there_and_one_that_is_no_python_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"rules\.shouts\.path is .*none\.py, which is not there"):
        curated(TEXTS, rules={"shouts": {"path": tmp_path / "none.py"}})
    with pytest.raises(RecipeError, match=r"own_scorers\.x\.path is .*x\.toml"):
        curated(TEXTS, own_scorers={"x": {"path": "x.toml"}})


def test_an_installed_package_offers_a_rule_by_entry_point(install: Write) -> None:
    install("own_rules_package", RULE, "[tongwen.rules]\nshouts = own_rules_package:shouts\n")
    verdicts = curated(TEXTS, rules={"shouts": {"maximum": 1}})
    assert verdicts[0].rule == "maximum_shouts"
    with pytest.raises(RecipeError, match="no installed package has an entry point `shout`") as got:
        curated(TEXTS, rules={"shout": {"maximum": 1}})
    assert got.value.hint == "did you mean `shouts`?"


def test_two_packages_that_offer_one_name_are_refused(install: Write) -> None:
    install("first_package", RULE, "[tongwen.rules]\nshouts = first_package:shouts\n")
    install("second_package", RULE, "[tongwen.rules]\nshouts = second_package:shouts\n")
    with pytest.raises(RecipeError, match="first_package:shouts, second_package:shouts"):
        curated(TEXTS, rules={"shouts": {"maximum": 1}})


def test_the_code_of_this_second_is_run_not_the_bytecode_of_the_last(write: Write) -> None:
    path = write("rules.py", RULE)
    times = path.stat()
    assert curated(TEXTS, rules={"shouts": {"path": path}})[0].values["shouts"] == 2.0
    write("rules.py", RULE.replace('count("!")', 'count(".")'))  # as long as before
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert curated(TEXTS, rules={"shouts": {"path": path}})[0].values["shouts"] == 1.0
