"""Every rule: a text it drops with the value it must measure, and texts it lets pass."""

from dataclasses import fields, replace
from math import isnan
from typing import Any

import pyarrow as pa
import pytest
from curate_texts import CHINESE, ENGLISH, TRADITIONAL, edited, story

from tongwen.curate.extract.record import PAGE_SCHEMA
from tongwen.curate.outcome.histograms import histograms
from tongwen.curate.rules.attributes import MEASURE_SCHEMA, VALUES, _link_share
from tongwen.curate.rules.decide import decide, rule_set
from tongwen.curate.rules.measures import measure
from tongwen.curate.rules.rule import rules_of
from tongwen.curate.rules.spam import CHINESE as CHINESE_TERMS
from tongwen.curate.rules.spam import ENGLISH as ENGLISH_TERMS
from tongwen.curate.rules.steps import decision_parameters
from tongwen.curate.rules.weak import WEAK_KINDS
from tongwen.curate.scorers.scoring import SCORE_SCHEMA
from tongwen.curate.settings import (
    ChineseRules,
    CodeRules,
    CurateSettings,
    EnglishRules,
    TextRules,
)
from tongwen.curate.text.prose import prose, running_text
from tongwen.errors import RecipeError

REPEATED_ENGLISH = " ".join(["A line about the sea and what it has to say to us."] * 10)
CASINO = "Play at the casino and win the jackpot, free spins and no deposit bonus. "
GAMBLING = "澳门新葡京赌场，真人娱乐，百家乐投注送彩金，提现秒到账。"

# rule's value -> (text, measured value or None where the sign alone matters)
ENGLISH_CASES: dict[str, tuple[str, float | None]] = {
    "replaced_share": ("a\ufffdb " * 50, 1 / 3),
    "mojibake_share": ("ÖÐÎÄÍøÒ³ and " * 20, 8 / 11),
    "words": ("Ten words are not enough for a page of text.", 10),
    "mean_word_characters": ("a b c d e f g h i j " * 10, 1.0),
    "symbols_per_word": ("tag # word # " * 30, 1.0),
    "bullet_line_share": ("- one\n- two\n- three\n• four", 1.0),
    "ellipsis_line_share": ("And then...\nAnd so on…\nThe end.", 2 / 3),
    "alphabetic_word_share": ("one 2 3 4 " * 20, 0.25),
    "function_words": ("Cheap shoes, cheap hats, cheap coats. " * 10, 0),
    "spam_share": (CASINO * 5, None),
    "placeholders": ("Lorem ipsum dolor sit amet.", 1),
    "entropy_bits": ("sun moon sun moon", 1.0),
    "sentences": ("No sentence here, only words", 0),
    "terminal_line_share": ("One\nTwo\nThree\nFour", 0.0),
    "short_line_share": ("Short\nLines\nHere\nBut for one that is a good deal longer.", 3 / 4),
    "newlines_per_word": ("one\ntwo\nthree\nfour", 1.0),
    "duplicate_line_share": ("same\nsame\nsame\nother", 0.5),
    "duplicate_line_character_share": ("same\nsame\nother", 4 / 13),
    "top_2_gram_share": ("blue sea blue sea blue sea", 1.0),
    "top_3_gram_share": ("a big sea a big sea x y", 14 / 16),
    "top_4_gram_share": ("we all go on we all go on now", 18 / 21),
    **{f"repeated_{n}_gram_share": (REPEATED_ENGLISH, 0.9) for n in (5, 6, 7, 8, 9, 10)},
}
CHINESE_CASES: dict[str, tuple[str, float | None]] = {
    "replaced_share": ("灯□塔" * 30, 1 / 3),
    "mojibake_share": ("锛屾槸鐨勶紝" * 20, None),
    "han_share": ("灯塔 lighthouse on the cape", 2 / 23),
    "punctuation_share": ("灯塔在北边的海角上没有标点" * 10, 0.0),
    "digit_share": ("12345灯塔" * 10, 5 / 7),
    "bracket_share": ("【特价】灯塔" * 10, 4 / 6),
    "symbol_share": ("灯塔★★" * 30, 0.5),
    "function_words": ("灯塔海角渔民港口" * 20, 0),
    "spam_share": (GAMBLING * 6, None),
    "entropy_bits": ("灯塔" * 40, 1.0),
    "terminal_line_share": ("灯塔\n海角\n渔民", 0.0),
    "mean_line_characters": ("灯塔\n海角\n渔民", 2.0),
    "newlines_per_character": ("灯塔\n海角\n渔民", 0.5),
    "ellipsis_line_share": ("灯塔的故事……\n海角新闻 更多\n渔民上山。", 2 / 3),
    "duplicate_line_share": ("灯塔\n灯塔\n渔民", 1 / 3),
    "duplicate_line_character_share": ("灯塔\n灯塔\n渔民", 1 / 3),
    "top_4_gram_share": ("北边灯塔很高北边灯塔很远", 8 / 12),
    "top_6_gram_share": ("北边海角灯塔很高北边海角灯塔很远", 12 / 16),
    "top_8_gram_share": ("北边海角灯塔很高吗北边海角灯塔很高吧", 16 / 18),
    **{
        f"repeated_{n}_gram_share": ("每天早晨记下天气每天傍晚记下来往的船只和名字" * 5, 0.8)
        for n in (10, 15, 20)
    },
}
NOT_OF_THE_TEXT = {"characters", "link_share", "boilerplate_share"}


@pytest.mark.parametrize("name", ENGLISH_CASES)
def test_english_values_are_as_counted_by_hand(name: str) -> None:
    text, expected = ENGLISH_CASES[name]
    _check_rule(EnglishRules(), name, measure(text, "en")[name], expected)
    _check_passes(EnglishRules(), name, measure(ENGLISH, "en")[name])


@pytest.mark.parametrize("name", CHINESE_CASES)
def test_chinese_values_are_as_counted_by_hand(name: str) -> None:
    text, expected = CHINESE_CASES[name]
    _check_rule(ChineseRules(), name, measure(text, "zh-Hans")[name], expected)
    _check_passes(ChineseRules(), name, measure(CHINESE, "zh-Hans")[name])


def _check_rule(rules: Any, name: str, value: float, expected: float | None) -> None:
    if expected is not None:
        assert value == pytest.approx(expected, abs=0.02)
    assert any(rule.fails(value) for rule in rules_of(vars(rules)) if rule.value == name)


def _check_passes(rules: Any, name: str, value: float) -> None:
    assert not any(rule.fails(value) for rule in rules_of(vars(rules)) if rule.value == name)


@pytest.mark.parametrize(
    ("rules", "cases"), [(EnglishRules(), ENGLISH_CASES), (ChineseRules(), CHINESE_CASES)]
)
def test_every_rule_has_a_text_that_it_drops(rules: Any, cases: dict[str, Any]) -> None:
    named = {rule.value for rule in rules_of(vars(rules))}
    assert named - NOT_OF_THE_TEXT == set(cases)


@pytest.mark.parametrize("rules", [EnglishRules(), ChineseRules(), CodeRules(), TextRules()])
def test_every_rule_looks_at_a_column_of_the_attributes(rules: Any) -> None:
    for item in fields(rules):
        assert item.name.partition("_")[2] in {*VALUES, "characters", *SCORE_SCHEMA.names}


def row(text: str, lang: str, **changes: Any) -> dict[str, Any]:
    values = {name: value for name, value in measure(text, lang).items() if name in VALUES}
    found = {"lang": lang, "is_text": False, "characters": len(text), "language_confidence": 1.0}
    return {**found, **values, **changes}


def decisions(
    rows: list[dict[str, Any]], settings: CurateSettings | None = None
) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, pa.schema([*PAGE_SCHEMA, *MEASURE_SCHEMA]))
    return decide(table, decision_parameters(settings or CurateSettings())).to_pylist()


def test_good_pages_pass_all_rules() -> None:
    texts = [(ENGLISH, "en"), (CHINESE, "zh-Hans"), (TRADITIONAL, "zh-Hant"), (story(9), "en")]
    for decision in decisions([row(text, lang) for text, lang in texts]):
        assert decision["drop_stage"] is None


def test_the_first_failed_step_gives_the_reason() -> None:
    rows = [
        row("", "", problem="truncated"),
        row("", "", problem="no_text"),
        row(ENGLISH, "de", language_confidence=0.9),
        row(ENGLISH, "en", language_confidence=0.3, link_share=0.9),
        row(ENGLISH, "en", link_share=0.9, boilerplate_share=0.9),
        row(ENGLISH, "en", boilerplate_share=0.9, short_line_share=0.9),
        row(ENGLISH, "en", boilerplate_share=0.9),
        row(CHINESE, "zh-Hans", characters=60),
    ]
    found = [tuple(decision.values()) for decision in decisions(rows)]
    assert found == [
        ("read", "truncated", None, None),
        ("extract", "no_text", None, None),
        ("language", "language", None, None),
        ("language", "minimum_language_confidence", 0.3, 0.65),
        ("rules", "maximum_link_share", 0.9, 0.6),
        ("rules", "maximum_boilerplate_share", 0.9, 0.3),
        (None, None, None, None),  # alone it is no reason
        ("rules", "minimum_characters", 60.0, 100.0),
    ]


def test_a_rule_that_is_off_drops_nothing_and_one_at_its_threshold_neither() -> None:
    settings = CurateSettings(english=EnglishRules(minimum_words=None, minimum_sentences=None))
    short = row("The sea has a voice and it is heard.", "en")
    assert decisions([short])[0]["drop_rule"] == "minimum_words"
    assert decisions([short], settings)[0]["drop_rule"] != "minimum_words"
    at_threshold = row(ENGLISH, "en", link_share=0.6)
    assert decisions([at_threshold])[0]["drop_stage"] is None


def test_plain_texts_go_by_light_rules_unless_the_setting_says_pages() -> None:
    poem = row("床前明月光，疑是地上霜。", "zh-Hans", is_text=True)
    assert decisions([poem])[0]["drop_stage"] is None
    as_pages = CurateSettings(rules_for_texts="pages")
    assert decisions([poem], as_pages)[0]["drop_rule"] == "minimum_characters"
    assert rule_set("code", False, "texts") == "code"


def test_code_has_its_own_rules() -> None:
    good = row("def keep(name):\n    return name\n" * 3, "code", is_text=True)
    minified = row("var a=1;" * 2_000, "code", is_text=True)
    found = decisions([good, minified])
    assert found[0]["drop_stage"] is None
    assert found[1]["drop_rule"] == "maximum_mean_line_characters"


def test_code_and_table_frames_inside_a_page_are_not_measured() -> None:
    code = "```\n" + "x = x + 1;\n" * 40 + "```"
    table = "| name | price |\n| --- | --- |\n| lamp | 3 |"
    assert prose(f"{ENGLISH}\n\n{code}").strip() == ENGLISH
    assert "---" not in prose(f"{ENGLISH}\n\n{table}")
    plain = measure(ENGLISH, "en")
    beside_code = measure(f"{ENGLISH}\n\n{code}", "en")
    assert beside_code | {"words": plain["words"]} == pytest.approx(plain)
    assert beside_code["words"] == plain["words"] + 120
    assert measure("## " + ENGLISH, "en")["symbols_per_word"] == plain["symbols_per_word"]


def test_formulas_and_log_lines_are_not_measured() -> None:
    plain = measure(CHINESE, "zh-Hans")
    for formula in (r"\(x_{1,2}=\frac{-b\pm\sqrt{\Delta}}{2}\)", "$f(x)=1x^{2}+bx+c$", "$$x^2$$",
                    "\\[\na^2+b^2\n\\]", "\\begin{align*}\na&=b\\\\\n\\end{align*}"):  # fmt: skip
        found = measure(CHINESE + formula, "zh-Hans")["punctuation_share"]
        assert found == pytest.approx(plain["punctuation_share"], abs=0.002), formula
    log = "2026-11-02 07:15:32,114 ERROR [main] Tide - 13:12:04\n\tat org.cape.Tide.read(Tide.java)"
    assert measure(f"{CHINESE}\n{log}", "zh-Hans")["digit_share"] == plain["digit_share"]
    prices = "It costs $5, not $6: US$7 and $HOME/bin:$PATH are no formulas."
    assert running_text(prices) == (prices, False)


def test_a_text_of_nothing_but_openings_is_read_once() -> None:
    for opening in (r"\(", r"\[", r"\begin{align}", "$a ", "$$"):
        assert running_text(opening * 20_000).text


def test_lines_say_nothing_where_most_is_no_running_text() -> None:
    rows = "\n".join(f"| {name} | {place} |" for place, name in enumerate("甲乙丙丁戊己庚辛"))
    values = measure(f"灯塔一览表的说明文字\n{rows}", "zh-Hans")
    assert isnan(values["terminal_line_share"])
    assert isnan(values["newlines_per_character"])
    assert not isnan(values["symbol_share"])


def test_a_weak_rule_drops_only_with_one_of_another_kind() -> None:
    found = decisions([
        row(ENGLISH, "en", terminal_line_share=0.0),
        row(ENGLISH, "en", terminal_line_share=0.0, sentences=0),
        row(ENGLISH, "en", repeated_5_gram_share=0.2, top_2_gram_share=0.3),
        row(ENGLISH, "en", terminal_line_share=0.0, short_line_share=0.9),
        row(ENGLISH, "en", repeated_10_gram_share=0.7),
        row(CHINESE, "zh-Hans", punctuation_share=0.3),
        row(CHINESE, "zh-Hans", punctuation_share=0.3, terminal_line_share=0.0),
    ])  # fmt: skip
    assert [one["drop_rule"] for one in found] == [
        None, None, None, "minimum_terminal_line_share", "maximum_repeated_10_gram_share", None,
        "maximum_punctuation_share",
    ]  # fmt: skip
    alone = CurateSettings(weak_rules="alone")
    (dropped,) = decisions([row(ENGLISH, "en", terminal_line_share=0.0)], alone)
    assert dropped["drop_rule"] == "minimum_terminal_line_share"


def test_weak_rules_are_rules_of_their_section() -> None:
    for section, rules in (("english", EnglishRules()), ("chinese", ChineseRules())):
        assert set(WEAK_KINDS[section]) < {rule.name for rule in rules_of(vars(rules))}


def test_what_only_one_rule_drops_is_counted() -> None:
    rows = [
        row(ENGLISH, "en", terminal_line_share=0.0, short_line_share=0.9),
        row(ENGLISH, "en", terminal_line_share=0.0, sentences=0, short_line_share=0.9),
        row(ENGLISH, "en", link_share=0.9),
        row(ENGLISH, "en", link_share=0.9, spam_share=0.9),
    ]
    table = pa.Table.from_pylist(rows, pa.schema([*PAGE_SCHEMA, *MEASURE_SCHEMA]))
    counted = histograms(table, decision_parameters(CurateSettings()))
    alone = {item["rule"]: item["alone"] for item in counted if item["alone"]}
    assert alone == {
        "minimum_terminal_line_share": 1, "maximum_short_line_share": 2, "maximum_link_share": 1,
    }  # fmt: skip


def test_texts_of_a_trusted_source_meet_only_encoding_rules() -> None:
    found = decisions([
        row("短", "zh-Hans", trusted=True, link_share=0.9),
        row(GAMBLING * 6, "zh-Hans", trusted=True),
        row("Ein kurzer Satz.", "de", trusted=True, language_confidence=0.2),
        row("灯□塔" * 30, "zh-Hans", trusted=True),
        row("", "", trusted=True, problem="truncated"),
    ])  # fmt: skip
    assert [one["drop_rule"] for one in found] == [
        None, None, None, "maximum_replaced_share", "truncated",
    ]  # fmt: skip


def test_one_sales_term_in_an_article_is_no_spam() -> None:
    article = edited(ENGLISH, "the small museum", "the casino, now a museum,")
    assert measure(article, "en")["spam_share"] == 0.0
    assert measure(CHINESE + "那座楼曾经是赌场。", "zh-Hans")["spam_share"] == 0.0
    law = "以营利为目的聚众赌博的，属于赌博罪。开设赌场的，从重处罚。" * 5
    assert measure(law, "zh-Hans")["spam_share"] == 0.0
    traditional = "澳門新葡京賭場，真人娛樂，百家樂投注送彩金。"
    assert measure(traditional, "zh-Hant")["spam_share"] > 0.4


@pytest.mark.parametrize("terms", [ENGLISH_TERMS, CHINESE_TERMS])
def test_no_sales_term_contains_another(terms: tuple[str, ...]) -> None:
    assert len(set(terms)) == len(terms)
    assert not [(a, b) for a in terms for b in terms if a != b and a in b]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match="minimum_words of EnglishRules is -1"):
        EnglishRules(minimum_words=-1)
    with pytest.raises(RecipeError, match=r"curate\.languages has 'klingon'"):
        replace(CurateSettings(), languages=("klingon",))


# value -> (code or text it drops, measured value); the passing ones are below
CODE_CASES: dict[str, tuple[str, float]] = {
    "replaced_share": ("x = '\ufffd\ufffd'\n" * 9, 2 / 6),
    "mean_line_characters": ("var a=1;" * 50, 400),
    "longest_line_characters": ("a" * 10_001, 10_001),
}
TEXT_CASES: dict[str, tuple[str, float]] = {
    "replaced_share": ("灯□塔" * 30, 1 / 3),
    "mojibake_share": ("ÖÐÎÄÍøÒ³ and " * 20, 8 / 11),
    "spam_share": (GAMBLING * 6, 23 / 28),
    "symbol_share": ("★★★灯塔", 3 / 5),
    "duplicate_line_character_share": ("灯塔\n灯塔\n灯塔", 2 / 3),
}
GOOD_CODE = "def keep(name):\n    return name\n" * 3


@pytest.mark.parametrize("name", CODE_CASES)
def test_code_values_are_as_counted_by_hand(name: str) -> None:
    text, expected = CODE_CASES[name]
    _check_rule(CodeRules(), name, measure(text, "code")[name], expected)
    _check_passes(CodeRules(), name, measure(GOOD_CODE, "code")[name])


@pytest.mark.parametrize("name", TEXT_CASES)
def test_values_of_plain_texts_are_as_counted_by_hand(name: str) -> None:
    text, expected = TEXT_CASES[name]
    _check_rule(TextRules(), name, measure(text, "zh-Hans")[name], expected)
    for good in (CHINESE, TRADITIONAL):
        _check_passes(TextRules(), name, measure(good, "zh-Hans")[name])


@pytest.mark.parametrize(("rules", "cases"), [(CodeRules(), CODE_CASES), (TextRules(), TEXT_CASES)])
def test_every_light_rule_has_a_text_that_it_drops(rules: Any, cases: dict[str, Any]) -> None:
    named = {rule.value for rule in rules_of(vars(rules))}
    assert named - NOT_OF_THE_TEXT == set(cases)


def test_links_of_a_menu_that_was_cut_count_no_more() -> None:
    assert _link_share(0.61, 1_000, 500) == pytest.approx(0.22)
    assert _link_share(0.61, 1_000, 0) == 0.61
    assert _link_share(0.2, 1_000, 500) == 0  # some of what was cut was no link
    assert _link_share(0.2, 1_000, 1_000) == 0.2  # nothing is left to judge
