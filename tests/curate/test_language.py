"""Language identification: script, model, simplified against traditional, mixed pages, code."""

import pytest
from curate_texts import CHINESE, ENGLISH, TRADITIONAL, story
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.extract.language import code_line_share, identify

JAPANESE = "北の岬の灯台は、十一回の夏をかけて建てられました。灯台守は地図が大好きでした。"
CANTONESE = "佢哋喺海角嗰度起咗座燈塔，用咗十一個夏天。守塔嘅人唔鍾意講嘢，不過好鍾意睇地圖。"
KOREAN = "북쪽 곶의 등대는 열한 번의 여름 동안 손으로 지어졌습니다. 등대지기는 지도를 좋아했습니다."
RUSSIAN = "Маяк на северном мысе строили вручную одиннадцать лет. Смотритель любил карты."
GERMAN = "Der Leuchtturm am nördlichen Kap wurde in elf Sommern von Hand gebaut und ist schön."
PYTHON = '''import os
from pathlib import Path


class Keeper:
    """Writes down the weather."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(path)
        path.write_text(self.name)
'''


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        (ENGLISH, "en"),
        (CHINESE, "zh-Hans"),
        (TRADITIONAL, "zh-Hant"),
        (JAPANESE, "ja"),
        (KOREAN, "ko"),
        (CANTONESE, "yue"),
        (RUSSIAN, "ru"),
        (GERMAN, "de"),
        (PYTHON, "code"),
        ("12345 !!! 678", "und"),
        ("", "und"),
    ],
)
def test_each_language_is_told_apart(text: str, lang: str) -> None:
    found = identify(text)
    assert found.lang == lang
    if lang != "und":
        assert found.confidence >= 0.65


def test_a_few_kana_make_a_text_japanese_but_a_quoted_name_does_not() -> None:
    assert identify(CHINESE + "他喜欢の。").lang == "zh-Hans"
    assert identify(JAPANESE).lang == "ja"


def test_latin_names_make_a_chinese_text_no_less_chinese() -> None:
    text = (
        CHINESE + "他用 Python 和 PyTorch 写了 tokenizer，见 https://example.org/docs/index.html。"
    )
    found = identify(text)
    assert (found.lang, found.confidence) == ("zh-Hans", 1.0)


def test_a_page_of_both_languages_takes_the_larger_share() -> None:
    assert identify(ENGLISH + "\n\n" + CHINESE[:60]).lang == "en"
    assert identify(ENGLISH[:150] + "\n\n" + CHINESE).lang == "zh-Hans"


def test_a_character_both_scripts_write_decides_nothing() -> None:
    assert identify("皇后在里面，面条在锅里。").lang == "zh-Hans"  # 条 and 锅 are simplified
    assert identify("皇后喜歡麵條").lang == "zh-Hant"


def test_capitals_and_comments_mislead_nobody() -> None:
    assert identify(ENGLISH.upper()).lang == "en"
    commented = "\n".join(f"# x{n} y{n} ok\nx{n} = y{n}(z{n})" for n in range(9))
    assert identify(commented).lang == "code"


def test_prose_about_code_is_not_code() -> None:
    assert code_line_share(ENGLISH) == 0.0
    assert code_line_share(PYTHON) > 0.6
    assert identify(story(1) + "\n\n" + "return the value;").lang == "en"


@settings(deadline=None)  # the first call compiles
@given(st.text(max_size=300))
def test_any_text_gets_a_language_and_a_confidence(text: str) -> None:
    found = identify(text)
    assert found.lang
    assert 0 <= found.confidence <= 1
    assert 0 <= found.han_share <= 1


def test_a_cantonese_word_in_a_chinese_text_makes_it_no_cantonese() -> None:
    assert identify(TRADITIONAL + "他說了一句「唔該」。").lang == "zh-Hant"


@pytest.mark.parametrize("foreign", [JAPANESE, KOREAN, RUSSIAN, CANTONESE])
@pytest.mark.parametrize("own", [ENGLISH, CHINESE, TRADITIONAL])
def test_paragraphs_of_another_language_are_mixed_in(own: str, foreign: str) -> None:
    found = identify(f"{own}\n\n{foreign}")
    letters = len("".join(foreign.split()))
    assert found.mixed_share == pytest.approx(letters / (letters + len("".join(own.split()))))


def test_an_english_paragraph_in_a_chinese_text_and_a_german_one_in_an_english_text_count() -> None:
    english = ENGLISH.splitlines()[0]
    assert identify(f"{CHINESE}\n{CHINESE}\n{CHINESE}\n\n{english}").mixed_share > 0.2
    german = len("".join(GERMAN.split()))
    share = german / (german + len("".join(ENGLISH.split())))
    assert identify(f"{ENGLISH}\n\n{GERMAN}").mixed_share == pytest.approx(share)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, TRADITIONAL, JAPANESE, KOREAN])
def test_code_names_and_the_other_script_are_not_mixed_in(text: str) -> None:
    code = "return self.lighthouse.keeper(name, weather, ships);"
    assert identify(f"{text}\n\n{code}").mixed_share == 0
    assert identify(f"{text}\n\nBeidou III").mixed_share == 0
    assert identify(f"{CHINESE}\n{TRADITIONAL}").mixed_share == 0
