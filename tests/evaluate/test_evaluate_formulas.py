"""Formulas and letters are found in answers as models write them, and judged by what they mean."""

import itertools
import time

import pytest

from tongwen.evaluate.latex import formula_matches, read_formula, same_formula
from tongwen.evaluate.letters import letter_scores, read_letters

EQUAL = [
    (r"\frac{1}{2}", "0.5"), (r"\frac12", "1/2"), (r"\dfrac{3\sqrt{2}}{2}", r"\frac{3}{\sqrt2}"),
    ("(0,1]", "(0, 1]"), ("x=5", "5"), (r"5\text{ cm}^2", "5"), (r"\text{Evelyn}", "Evelyn"),
    (r"\{1,2\}", r"\{2,1\}"), ("3,5", "5, 3"), ("10{,}000", "10,000"), ("10000", "10,000"),
    (r"90^\circ", "90"), (r"50\%", "50"), ("x^2+2x+1", "(x+1)^2"), (r"2\frac{1}{2}", "2.5"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("y=2x+1", "2x - y + 1 = 0"), (r"1 \pm \sqrt{3}", r"1+\sqrt{3},1-\sqrt{3}"),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"\left(3,\frac{\pi}{2}\right)", r"(3,\pi/2)"), ("2^{10}", "1024"), (r"\sqrt[3]{8}", "2"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"), ("5!", "120"), (r"\binom{5}{2}", "10"),
    (r"\log_2 8", "3"), (r"3 \text{ or } 5", "3,5"), (r"11\sqrt2", r"11\sqrt{2}"),
    ("36", "36 square units"), (r"x \in [-2,7]", "[-2,7]"), (r"9\pi", r"9\pi\text{ cm}"),
    (r"$\frac{1}{3}$；$2$", r"\frac13, 2"), ("−5", "-5"), ("１２", "12"), (r"\$18.90", "18.90"),
]  # fmt: skip
DIFFERENT = [
    ("(0,1]", "(0,1)"), ("3", "5"), ("x+1", "x-1"), ("(1,2)", "(2,1)"), (r"\frac{1}{2}", "2"),
    ("", "5"), (".", "5"), ("the", "5"), ("5", "5,6"), ("1010_2", "1010_3"), ("0.333", r"\frac13"),
    ("a", "b"), (r"\sqrt{2}", "1.41"), ("-5", "5"), ("2x+1=0", "2x-1=0"), ("0", "10^{-9}"),
    ("x", "x^2"), ("(1,2,3)", "(1,2)"), (r"\emptyset", "0"), ("i", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "right"), EQUAL)
def test_formulas_of_equal_value_are_equal(said: str, right: str) -> None:
    assert same_formula(said, right)
    assert same_formula(right, said)


@pytest.mark.parametrize(("said", "right"), DIFFERENT)
def test_formulas_of_another_value_differ(said: str, right: str) -> None:
    assert not same_formula(said, right)
    assert not same_formula(right, said)


@pytest.mark.parametrize(
    ("said", "right", "question"),
    [
        ("19^2+1", "362", "What is $19^2+1$?"),
        (r"\sqrt{16}", "4", "Simplify $\\sqrt{16}$."),
        ("ab+5b+2a+10", "(a+5)(b+2)", "Factor $ab+5b+2a+10$."),
        ("2+2", "4", ""),
    ],
)
def test_the_question_again_is_no_answer(said: str, right: str, question: str) -> None:
    assert not formula_matches(said, [right], question)
    assert formula_matches(right, [right], question)


FORMULA_STYLES = [
    "{0}", "${0}$", r"\boxed{{{0}}}", r"Thus we have $\boxed{{{0}}}$.", "The answer is ${0}$.",
    "The answer is {0}", "So the final answer is: ${0}$", "**Answer:** ${0}$", "Answer: {0}",
    "First, $1+1=2$.\nThen the answer is ${0}$.", "答案是${0}$。", "答案：${0}$",
    "所以答案为 ${0}$。",
    "解：由题意，$a=1$。\n故答案为：${0}$．", r"We get $\boxed{{7}}$; no, $\boxed{{{0}}}$.",
    "Final Answer: The final answer is ${0}$. I hope it is correct.", r"\[\boxed{{{0}}}\]",
    "Hence it equals\n$$\n{0}\n$$", r"$\fbox{{{0}}}$", "因此，所求为 ${0}$",
]  # fmt: skip
FORMULAS = ["13", r"\frac{3}{4}", "-5", "2x+1", r"3\sqrt{2}", "(-2,2)", "0.25", r"\frac{\pi}{6}"]


@pytest.mark.parametrize("style", FORMULA_STYLES)
def test_a_formula_is_read_in_every_style(style: str) -> None:
    for right, wrong in itertools.permutations(FORMULAS, 2):
        found = read_formula(style.format(right))
        assert found is not None, style
        assert formula_matches(found.text, [right]), (style, right, found)
        assert not formula_matches(found.text, [wrong]), (style, wrong, found)


LETTER_STYLES = [
    "{0}", "({0})", "{0}.", "{0}. because of the wheel", "The answer is {0}.", "Answer: {0}",
    "The answer is ({0}), since it is late.", "**Answer: {0}**", "The correct option is {0}",
    "the correct answer is **{0}**", r"\boxed{{{0}}}", "Let us see: A is wrong.\nAnswer: {0}",
    "答案：{0}", "答案是{0}。", "正确答案是 {0}。", "【答案】{0}",
    "【解析】A不对。<eoe>\n【答案】{0} <eoa>",
    "故选：{0}．", "故选{0}", "本题选{0}。", "应选{0}", "选项B不对，所以答案为（{0}）。", "答：{0}",
    "（{0}）", "[{0}]", r"$\boxed{{\text{{{0}}}}}$", "`{0}`", "Option {0}", "选{0}",
]  # fmt: skip


@pytest.mark.parametrize("style", LETTER_STYLES)
def test_letters_are_read_in_every_style(style: str) -> None:
    for letters in ("A", "B", "C", "D", "AC", "BCD"):
        assert read_letters(style.format(letters), 1) == ([letters], True), style


@pytest.mark.parametrize(
    ("text", "letters"),
    [("A、C", "AC"), ("A, C", "AC"), ("A和C", "AC"), ("(A)(C)", "AC"), ("C and A", "AC"),
     ("A, B, and D", "ABD"), ("CA", "AC")],
)  # fmt: skip
def test_several_letters_are_one_answer_in_any_order(text: str, letters: str) -> None:
    for style in ("{0}", "答案：{0}", "The answers are {0}.", "【答案】{0}<eoa>"):
        assert read_letters(style.format(text), 1) == ([letters], True), style


@pytest.mark.parametrize("style", ["{0}", "【答案】{0}<eoa>", "答案是：{0}。", "Answers: {0}"])
def test_each_of_several_questions_has_its_letter(style: str) -> None:
    for text in ("CAB", "C A B", "1. C 2. A 3. B", "C、A、B", "36．C\n37．A\n38．B", "C, A, B"):
        assert read_letters(style.format(text), 3)[0] == ["C", "A", "B"], text


@pytest.mark.parametrize(
    "text", ["", ".", "the", "A dog ran.", "a", "an", "无法回答", "HALDEN", "C++"]
)
def test_words_are_no_letters(text: str) -> None:
    assert read_letters(text, 1)[0] in ([], ["C"] if text == "C++" else [])


def test_a_part_of_the_right_letters_has_half_the_credit() -> None:
    assert letter_scores(["AB"], ["ABD"]) == {"letters": 0, "half_credit": 0.5, "exact_match": 0}
    assert letter_scores(["AC"], ["ABD"])["half_credit"] == 0
    assert letter_scores(["C", "A"], ["C", "B"])["letters"] == 0.5
    assert letter_scores(["C"], ["C", "B"])["letters"] == 0.5
    assert letter_scores(["ABCD"], ["B"]) == {"letters": 0, "half_credit": 0, "exact_match": 0}


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 20_000, "{" * 200_000, "$" * 200_000, "(" * 200_000, "A " * 100_000,
     "答案是" * 50_000, "\\frac{1}{" * 20_000, "1," * 100_000, "answer is " * 20_000],
)  # fmt: skip
def test_noise_is_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    found = read_formula(text)
    if found is not None:
        formula_matches(found.text, ["5"], text)
    read_letters(text, 1)
    assert time.process_time() - start < 2
