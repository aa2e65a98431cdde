"""Formulas are kept as TeX between dollar signs."""

import time

import pytest
from curate_texts import CHINESE, ENGLISH

from tongwen.curate.html import formulas
from tongwen.curate.html.formulas import formulas_as_text
from tongwen.curate.html.main_content import extract
from tongwen.curate.html.mathml import tex_of_mathml

KATEX = (
    '<span class="katex"><span class="katex-mathml"><math{display}><semantics><mrow><mi>E</mi>'
    '</mrow><annotation encoding="application/x-tex">{tex}</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true"><span class="mord">E</span></span></span>'
)


def page(*paragraphs: str) -> str:
    return (
        "<html><body><article>" + "".join(f"<p>{p}</p>" for p in paragraphs) + "</article></body>"
    )


def test_a_script_for_mathjax_becomes_a_formula_in_its_line() -> None:
    html = page(
        ENGLISH.replace("\n\n", "</p><p>"),
        'The law is <script type="math/tex">a < b \\& c</script> for every keeper of the light.',
        '<script type="math/tex; mode=display">\\sum_i x_i</script>',
    )
    text = extract(html).text
    assert "The law is $a < b \\& c$ for every keeper" in text
    assert "$$\\sum_i x_i$$" in text


def test_an_annotation_of_mathml_stands_for_the_whole_element() -> None:
    line = KATEX.format(display="", tex="x &lt; y^2")
    block = KATEX.format(display=' display="block"', tex="\\int f")
    text = extract(page(CHINESE.replace("\n\n", "</p><p>"), f"公式{line}成立。", block)).text
    assert "$x < y^2$" in text
    assert "$$\\int f$$" in text


def test_the_alternative_text_of_mathml_is_used_without_its_style() -> None:
    html = '<math alttext="{\\displaystyle e^{i\\pi }=-1}"><mi>e</mi></math>'
    assert formulas_as_text(html).strip() == "$e^{i\\pi }=-1$"


@pytest.mark.parametrize(
    ("mathml", "tex"),
    [
        ("<mi>x</mi>", "x"),
        ("<mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac>", r"\frac{a}{b+1}"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x_1^2"),
        ("<msup><mrow><mi>a</mi><mo>&minus;</mo><mi>b</mi></mrow><mn>10</mn></msup>", "{a-b}^{10}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<mi>sin</mi><mi>&#952;</mi>", r"\sin \theta"),
        ("<munderover><mo>&sum;</mo><mi>i</mi><mi>n</mi></munderover>", r"\sum_i^n"),
        ("<mover><mi>x</mi><mo>&#175;</mo></mover>", r"\bar{x}"),
        ("<mtext>if so</mtext>", r"\text{if so}"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr></mtable>",
            r"\begin{matrix}1 & 2\end{matrix}",
        ),
        ("<m:mi xmlns:m='x'>y</m:mi>", "y"),
        ("</mi></mrow><mfrac><mi>a", "a"),
    ],
)
def test_mathml_without_tex_is_written_as_tex(mathml: str, tex: str) -> None:
    assert tex_of_mathml(mathml) == tex


def test_a_formula_that_only_exists_rendered_is_kept() -> None:
    rendered = '<span class="katex"><span class="katex-html">E=mc</span></span>'
    text = extract(page(ENGLISH.replace("\n\n", "</p><p>"), f"So {rendered} it is.")).text
    assert "So E=mc it is." in text


def test_pages_without_formulas_stay_as_they_are() -> None:
    for html in (
        "<math></math>",
        "<img src='/latex/boat.jpg' alt='A boat'>",
        "<p>a $5 bill</p>",
        "<math>",
        "<script>var x;</script>",
    ):
        assert formulas_as_text(html) == html


def test_hostile_pages_take_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "_MOST_CHARACTERS", 2_000)  # 1 s; without a limit 80 s
    started = time.process_time()
    for part in (
        "<math ", "<math>", "<img class=latex ", "<img src='latex.php", "<img src=tex= alt='",
        "<math><mrow>", '<script type="math/tex">', "<math><annotation ", "<math a='",
    ):  # fmt: skip
        formulas_as_text(part * 100_000)
    assert time.process_time() - started < 20
