from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.evaluate.answers import (
    comparable,
    contains,
    cut_at,
    exact_match,
    extract,
    f1,
    number_match,
    without_question,
)
from tongwen.evaluate.numbers import chinese_number, parse_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  U.S. market", "us market"),
        ("“New-Harbour”!", "new harbour"),
        ("It's an O'Neil’s", "its oneils"),
        ("$1,234.50", "1234.50"),
        ("The answer is −5", "answer is -5"),
        ("ＡＢＣ１２", "abc12"),
        ("naïve Café 🍎", "naïve café"),
        ("theatre", "theatre"),
    ],
)
def test_english_is_compared_without_case_articles_and_punctuation(
    text: str, expected: str
) -> None:
    assert comparable(text, "en") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他说：“ 读 书，要多想。” ！", "他说读书要多想"),
        ("共１，５００元", "共1500元"),
        ("《海国图志》（100 卷）", "海国图志100卷"),
        ("住在 New Harbour 的 人", "住在new harbour的人"),
        ("3.14，对吗？", "3.14对吗"),
        ("a 先生", "a先生"),
    ],
)
def test_chinese_is_compared_without_spaces_width_and_punctuation(text: str, expected: str) -> None:
    assert comparable(text, "zh-Hans") == expected


@given(st.text(), st.sampled_from(["en", "zh"]))
def test_any_text_has_a_comparable_copy_without_edges(text: str, language: str) -> None:
    copy = comparable(text, language)
    assert copy == copy.strip()
    assert "  " not in copy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("零", 0), ("十", 10), ("十五", 15), ("二十", 20), ("一百零五", 105), ("三百五", 350),
        ("一百一十", 110), ("两千三百", 2_300), ("一千零一十", 1_010), ("一万二", 12_000),
        ("三万零五十", 30_050), ("二百五十万", 2_500_000), ("一亿二千万", 120_000_000),
        ("二〇二四", 2_024), ("一千五百", 1_500),
    ],
)  # fmt: skip
def test_chinese_numerals_have_the_value_a_reader_gives_them(text: str, value: int) -> None:
    assert chinese_number(text) == value


@pytest.mark.parametrize("text", ["", "百度", "亿", "千", "二三十"])
def test_what_is_no_chinese_number_has_no_value(text: str) -> None:
    assert chinese_number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.5", Fraction(2469, 2)), ("$18", Fraction(18)), ("3/4", Fraction(3, 4)),
        ("１２", Fraction(12)), ("18 元", Fraction(18)), ("-7", Fraction(-7)), ("2.0", Fraction(2)),
        ("3万", Fraction(30_000)), ("五百二十", Fraction(520)), ("50%", Fraction(50)),
    ],
)  # fmt: skip
def test_numbers_are_read_in_every_notation(text: str, value: Fraction) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "abc", "1/0", "12 apples", "--3", "1.2.3", "万"])
def test_what_is_not_one_number_has_no_value(text: str) -> None:
    assert parse_number(text) is None


def test_the_accepted_answer_must_stand_as_whole_words() -> None:
    assert contains("It lies in Halden, I think.", ["Halden"], [], "en")
    assert not contains("It lies in Haldenberg.", ["Halden"], [], "en")
    assert contains("它在青石镇。", ["青石镇"], [], "zh")
    assert contains("它叫Halden镇。", ["Halden"], [], "zh")


def test_an_answer_that_also_names_a_wrong_choice_is_wrong() -> None:
    assert contains("She was born in Halden.", ["Halden"], ["Oster", "Vale"], "en")
    assert not contains("In Halden or Oster.", ["Halden"], ["Oster", "Vale"], "en")
    assert not contains("是青石镇，也是白鹭镇。", ["青石镇"], ["白鹭镇"], "zh")


def test_the_longer_of_two_nested_names_takes_the_place() -> None:
    assert contains("It is New Harbour.", ["New Harbour"], ["Harbour"], "en")
    assert not contains("It is New Harbour.", ["Harbour"], ["New Harbour"], "en")
    assert not contains("他叫李明远。", ["李明"], ["李明远"], "zh")


def test_numbers_match_by_value_and_not_by_their_digits() -> None:
    assert contains("It was built in 1,500.", ["1500"], ["1501"], "en")
    assert contains("价格是一千五百元。", ["1500"], ["300"], "zh")
    assert contains("价格是１５００元。", ["一千五百"], [], "zh")
    for text in ("3.12", "112", "120", "12万", " -12", "1,200"):
        assert not contains(f"共{text}个", ["12"], [], "zh")
    assert contains("共12个", ["12"], ["120"], "zh")


def test_a_wrong_choice_equal_to_an_accepted_answer_does_not_count_against_it() -> None:
    assert contains("the Halden", ["Halden"], ["halden."], "en")


def test_exact_match_allows_nothing_else() -> None:
    assert exact_match(" the Halden. ", ["Oster", "Halden"], "en")
    assert not exact_match("It is Halden", ["Halden"], "en")
    assert exact_match("“翻 译”。", ["翻译"], "zh")


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ("the", "A"), ("", "A"), ("C++", "C"), ("C", "C++"), ("C#", "C"), ("C", "C#"), ("F", "F#"),
        ("C♯", "C"), ("C++", "C#"), ("O-", "O+"), ("O", "O-"), ("B", "B+"), ("50%", "50"),
        ("50", "50%"), ("50", "５０％"), ("A", "(A)"), ("(B)", "(A)"), ("", "(A)"), ("an", "(A)"),
        ("} ) ]", "] ) }"), ("", "] ) }"), (".", "] ) }"), ("", "The The"), ("the", "The The"),
        ("Vitamin", "Vitamin A"), ("C", "A, C"), ("A B", "B"), ("", "..."), ("!", "?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_tells_answers_apart_is_compared(said: str, accepted: str, language: str) -> None:
    assert not exact_match(said, [accepted], language)
    assert f1(said, [accepted], language) < 1
    assert not contains(said, [accepted], [], language) or said in ("A B",)


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ("A", "A"), ("a.", "A"), ("the A", "A"), ("(A).", "(A)"), ("（a）", "(A)"), ("c++.", "C++"),
        ("C #", "C #"), ("50 %", "50%"), ("５０％", "50%"), ("] ) }", "] ) }"), ("]  ) }", "] ) }"),
        ("The The", "The The"), ("a vitamin A", "Vitamin A"), ("Yahoo!", "Yahoo"), ("b.", "(B)"[1]),
        ("?", "?"), ("ｆ＃", "F#"), ("well-known", "well known"), ("“O-”", "O-"), ("A+", "A+"),
    ],
)  # fmt: skip
def test_equal_answers_stay_equal(said: str, accepted: str) -> None:
    assert exact_match(said, [accepted], "en")
    assert f1(said, [accepted], "en") == 1
    assert contains(said, [accepted], [], "en")


@given(st.text(), st.sampled_from(["en", "zh"]))
def test_every_answer_equals_itself_and_silence_only_silence(text: str, language: str) -> None:
    assert exact_match(text, [text], language)
    assert f1(text, [text], language) == 1
    assert contains(text, [text], [], language)
    for silence in ("", ".", "the"):
        if silence.split() != text.split() and comparable(text, language) != silence:
            assert not exact_match(silence, [text], language)


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("A", True), ("The answer is A.", True), ("Answer: (A)", True), ("A because of B", False),
        ("This is a simple one, so A", True), ("This is a simple one, so B", False),
        ("A simple one: B", False), ("a", True), ("an", False), ("", False), ("A or B", False),
        ("答案是A。", True), ("选B", False), ("C++", False),
    ],
)  # fmt: skip
def test_a_letter_is_named_as_a_letter(said: str, right: bool) -> None:
    assert contains(said, ["A"], ["B", "C"], "en") is right


def test_signs_belong_to_the_name_that_is_looked_for() -> None:
    assert not contains("It is written in C++.", ["C"], [], "en")
    assert contains("It is written in C, not in C++.", ["C"], [], "en")
    assert contains("用C++写的", ["C++"], ["C"], "zh")
    assert not contains("It grew by 50%.", ["50"], [], "en")
    assert contains("It grew by 50 %.", ["50%"], ["50"], "en")


@pytest.mark.parametrize(
    "prompt", ["Question: How many?\nOf 5.\nAnswer:", "问题：有几个？\n答案："]
)
def test_a_repeated_question_is_taken_away_and_nothing_else(prompt: str) -> None:
    assert not without_question(prompt, [prompt]).strip()
    assert not without_question(f"{prompt}\n{prompt}\n", [prompt]).strip()
    first = prompt.split("\n")[0]
    assert without_question(f"{first}\n18", [prompt]) == "18"
    assert without_question(f"18\n{first}", [prompt]) == f"18\n{first}"
    assert without_question("18", [prompt]) == "18"


def test_f1_counts_shared_words_and_shared_chinese_characters() -> None:
    # By hand: 2 shared of 3 and 2 words; 2 * 2 / 5.
    assert f1("the old red house", ["red house"], "en") == pytest.approx(0.8)
    # 3 of 4 and 3 characters; 2 * 3 / 7.
    assert f1("海国图志", ["海国志"], "zh") == pytest.approx(6 / 7)
    assert f1("2024年", ["2024年"], "zh") == 1.0
    assert f1("", ["x"], "en") == 0.0
    assert f1("yes", ["no", "yes"], "en") == 1.0


def test_the_first_pattern_that_fits_decides_and_its_last_match_counts() -> None:
    number = r"(-?\d[\d,]*(?:\.\d+)?)"
    patterns = (rf"####\s*\$?{number}", rf"(?i)answer is:?\s*\$?{number}", number)
    assert extract("6 + 12 = 18. The answer is $1,018.", patterns) == ("1,018", True)
    assert extract("3 eggs, then 5.\n#### 15", patterns) == ("15", True)
    assert extract("no number", patterns) == ("no number", False)
    assert extract(" whole ", ()) == ("whole", True)
    chinese = (r"答案[是为：:\s]*([零〇一二两三四五六七八九十百千万亿]+)",)
    assert extract("先算3+4=7，所以答案是：一百零五。", chinese) == ("一百零五", True)
    assert number_match("70,000", ["70000"])


def test_an_answer_ends_at_the_first_stop_string() -> None:
    assert cut_at("18\n\nQuestion: 1", ["\nQuestion:", "\n\n"]) == "18"
    assert cut_at("十八", ["\n"]) == "十八"
