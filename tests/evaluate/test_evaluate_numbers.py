from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.evaluate.numbers import last_number, parse_number, read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9,500", "9500"), ("9{,}500", "9500"), ("9\u2009500", "9500"), ("9\u202f500元", "9500"),
        ("9\u00a0500", "9500"), ("9 500", "9500"), ("9'500", "9500"), ("9’500", "9500"),
        ("9_500", "9500"), ("9\\,500", "9500"), ("１２，０００", "12000"), ("12,34,567", "1234567"),
        ("1.234.567", "1234567"), ("1.234,56", "1234.56"),
        ("一万二千", "12000"), ("3.5万", "35000"), ("３．５万", "35000"), ("两百", "200"),
        ("2百万", "2000000"), ("12万5千", "125000"), ("1.2亿", "120000000"), ("三点五", "3.5"),
        ("三点五万", "35000"), ("壹佰贰拾元整", "120"), ("3 million", "3000000"),
        ("$1.5 billion", "1500000000"),
        ("−5", "-5"), ("－5", "-5"), ("–5", "-5"), ("-$5", "-5"), ("$-5", "-5"), ("负五", "-5"),
        ("3/4", "3/4"), ("\\frac{3}{4}", "3/4"), ("\\dfrac34", "3/4"), ("-\\frac{1}{2}", "-1/2"),
        ("½", "1/2"), ("2½", "5/2"), ("2 1/2", "5/2"), ("2\\frac{1}{2}", "5/2"), ("３／４", "3/4"),
        ("四分之三", "3/4"),
        ("50%", "50"), ("50\\%", "50"), ("５０％", "50"), ("百分之五十", "50"),
        ("1.5 × 10^3", "1500"), ("2.5\\times 10^{-2}", "0.025"), (".5", "0.5"),
        ("US$18", "18"), ("￥99.50", "99.5"), ("\\text{18}", "18"), ("**18**", "18"),
    ],
)  # fmt: skip
def test_one_number_is_parsed_in_every_notation(text: str, value: str) -> None:
    assert parse_number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text", ["3,5", "1,2,3", "3 apples", "9" * 5000, "1/2/3", "万", "5-3", "%"]
)
def test_what_is_not_one_number_is_not_parsed(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "value", "is_marked"),
    [
        # GSM8K's mark; the first one, headings of chat models left out.
        ("#### 18", "18", True),
        ("#### 18\nQ: next one 2+3\n#### 5", "18", True),
        ("####18 dollars a day, from 9 eggs", "18", True),
        ("#### −5", "-5", True),
        ("#### $9{,}500.", "9500", True),
        ("#### Answer: 18", "18", True),
        ("#### 1. First\n3 eggs\n#### 2. Then\nThe answer is 26.", "26", True),
        # Boxes.
        ("So it is \\boxed{$9{,}500}", "9500", True),
        ("$\\boxed{18}$ because 2+16", "18", True),
        ("\\boxed{3}, no: $$\\boxed{\\text{18 dollars}}$$", "18", True),
        ("\\boxed{\\dfrac{3}{4}}", "3/4", True),
        ("\\boxed{x = 18}", "18", True),
        ("\\boxed{{1{,}234}}", "1234", True),
        ("\\boxed{18", "18", True),
        # What is said to be the answer.
        ("The answer is **18**. That is 3 times 6.", "18", True),
        ("Answer: 18 eggs, i.e. 3 boxes of 6", "18", True),
        ("**Final Answer**: $18 per day, for 9 eggs", "18", True),
        ("The answer is 5. Wait: the answer is 18, not 7", "18", True),
        ("Answer: 16 - 3 = 13 eggs in 2 boxes", "13", True),
        ("the answer is approximately 3.14", "3.14", True),
        ("the answer is 9 500 dollars in 2 years", "9500", True),
        ("Answer:\n\n-$5", "-5", True),
        ("先算3+4=7，所以答案是：一百零五。", "105", True),
        ("答案：１２，０００元，分给5人", "12000", True),
        ("**答案：18元**，3人", "18", True),
        ("答案是百分之五十", "50", True),
        ("答案为大约3.5万人，占2成", "35000", True),
        ("答：小明还剩两百五十个。", "250", False),
        ("18\n\nJohn has 5 apples", "18", True),
        # Otherwise bold in the last line, else the last number.
        ("So she makes **$18** by selling 9 eggs.", "18", False),
        ("**9** eggs are left.\n9 * 2 = 18", "18", False),
        ("**Step 1:** 16 - 3\nThis makes 13.", "13", False),
        ("He has 16 - 3 = 13.\n\n13 * 2 = 26.", "26", False),
        ("16-3", "3", False),
        ("The area is 25 cm².", "25", False),
        ("The area is 25 \\text{ cm}^2", "25", False),
        ("It costs 18 on the 5th", "18", False),
        ("he paid 3/4 of it", "3/4", False),
        ("因此一共需要三十五个苹果，第一天就够了", "35", False),
        ("共有12个苹果，一半", "12", False),
    ],
)
def test_the_number_that_an_answer_gives_is_read(text: str, value: str, is_marked: bool) -> None:
    reading = read_number(text)
    assert reading is not None
    assert (reading.value, reading.is_marked) == (Fraction(value), is_marked)


@pytest.mark.parametrize(
    "text", ["", ".", "the", "A", "####", "\\boxed{}", "答案：", "x2", "$", "万"]
)
def test_an_answer_without_a_number_is_not_read(text: str) -> None:
    assert read_number(text) is None
    assert last_number(text) is None


NOTATIONS = (
    "{:d}", "{:,}", "{:_}", "{:d}.00", "${:,}", "**{:,}**", "\\boxed{{{:,}}}", "#### {:d}",
    "Answer: {:,}", "The answer is ${:d}.", "答案是{:d}元", "答案：{:,}。", "{:d}%", "共{:d}个",
    "= {:d}", "\\text{{{:,}}} dollars",
)  # fmt: skip
FULL_WIDTH = str.maketrans("0123456789,.-", "０１２３４５６７８９，．－")


@given(st.integers(-(10**12), 10**12), st.sampled_from(NOTATIONS), st.booleans())
def test_any_whole_number_is_read_in_any_notation(
    number: int, notation: str, is_full_width: bool
) -> None:
    text = notation.format(number)
    text = text.translate(FULL_WIDTH) if is_full_width else text
    reading = read_number(text)
    assert reading is not None
    assert reading.value == number


def in_chinese(number: int) -> str:
    """The spoken form of 0 to 99,999,999, by the rules of a primer."""
    if number >= 10**4:
        rest = number % 10**4
        zero = "零" if 0 < rest < 1000 else ""
        return in_chinese(number // 10**4) + "万" + zero + (in_chinese(rest) if rest else "")
    digits = "零一二三四五六七八九"
    text = ""
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += digits[digit] + name
        elif text and number % unit and not text.endswith("零"):
            text += "零"
    return text or "零"


@given(st.integers(0, 99_999_999), st.sampled_from(["{}", "答案是{}。", "共{}个", "负{}"]))
def test_any_number_is_read_in_chinese_numerals(number: int, notation: str) -> None:
    reading = read_number(notation.format(in_chinese(number)))
    assert reading is not None
    assert reading.value == (-number if "负" in notation else number)


@given(
    st.text(st.sampled_from("0123456789.,/-−+=%$ \n*{}\\boxedfracanswer:is#答案是万一百分之点负"))
)
def test_any_text_can_be_read(text: str) -> None:
    reading = read_number(text)
    assert (reading is None) == (last_number(text) is None)
    parse_number(text)


@pytest.mark.parametrize(
    "part",
    ["1,", "1", "\\boxed{", "\\boxed{1}", "#### ", "answer is ", "答案是", "万", "一", "1/", "- ",
     "**1", "1 ", "$", "1^", "1 1/2 ", "answer: 1+", "\\frac{", " ", "一分之", ".1", "1×10^",
     "1,000,", "\u2009", "#### 1. a\n", "Question: x\n"],
)  # fmt: skip
def test_a_very_long_answer_is_read(part: str) -> None:
    """A reader that goes back over what it has read would run into the suite's time limit."""
    text = part * (30_000 // len(part))
    read_number(text)
    last_number(text)
    assert parse_number(text) is None
