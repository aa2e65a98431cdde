"""Small pages of many kinds, in English and Chinese: what must come out of them, and what must not.

Invented; each stands for a way in which pages are made, not for one site.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

EN = (
    "The ferry leaves the northern quay at six in the morning, and on Sundays an hour later.",
    "Tickets are sold on board; children under ten travel free when an adult is with them.",
    "In winter the crossing takes longer, because the captain keeps away from the drifting ice.",
    "Bicycles go on the lower deck, where a sailor ties them to the rail with short ropes.",
    "On the island a bus meets every boat and drives round the lighthouse to the old harbour.",
    "Whoever misses the last boat can sleep at the inn, which has four rooms and a warm kitchen.",
)
ZH = (
    "渡船早上六点从北码头出发，星期天晚一个小时，天气不好的时候船长会先打电话。",
    "船票在船上买；十岁以下的孩子有大人陪同就不用买票，老人凭证件半价。",
    "冬天过河的时间要长一些，因为船长总是绕开漂浮的冰块，走南边的水道。",
    "自行车放在下层甲板，水手会用短绳把它们一辆一辆绑在栏杆上，不会倒。",
    "到了岛上，每一班船都有公共汽车接，车绕过灯塔开到老港口，大约二十分钟。",
    "赶不上末班船的人可以住在小客栈，那里有四个房间，厨房总是暖和的。",
)


class Words(NamedTuple):
    """What a page is filled with."""

    language: str
    texts: tuple[str, ...]
    title: str
    menu: tuple[str, ...]
    legal: str
    related: str
    comment: str
    short: tuple[str, ...]


ENGLISH = Words(
    "en", EN, "The island ferry",
    ("Home", "Timetable", "Prices", "Gallery", "Contact", "Imprint"),
    "Copyright 2026 Northern Ferries. All rights reserved.",
    "Ten harbours you should see before summer",
    "Lovely photos, I was there last year with my cousin!",
    ("Bring a coat.", "Pay in coins.", "Wait behind the line.", "Hold the rail.", "Mind the step."),
)  # fmt: skip
CHINESE = Words(
    "zh", ZH, "岛上的渡船",
    ("首页", "时刻表", "票价", "相册", "联系我们", "网站地图"),
    "版权所有 © 2026 北方轮渡公司 保留所有权利",
    "夏天之前一定要去的十个港口",
    "照片真好看，我去年和表弟也去过那里！",
    ("带上外套。", "请付零钱。", "在线后等候。", "扶好栏杆。", "小心台阶。"),
)  # fmt: skip


class Layout(NamedTuple):
    """A page, and strings its text must and must not hold."""

    name: str
    html: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


Made = tuple[str, tuple[str, ...], tuple[str, ...]]
_MAKERS: list[Callable[[Words], Made]] = []


def kind(maker: Callable[[Words], Made]) -> Callable[[Words], Made]:
    _MAKERS.append(maker)
    return maker


def paragraphs(texts: tuple[str, ...]) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def framed(words: Words, content: str, *, after: str = "") -> str:
    """A page with a menu above, teasers and small print below."""
    menu = "".join(f'<li><a href="/{n}">{name}</a></li>' for n, name in enumerate(words.menu))
    teaser = f'<li><a href="/r">{words.related}</a></li>'
    return (
        f'<!doctype html><html lang="{words.language}"><head><meta charset="utf-8">'
        f"<title>{words.title}</title></head><body><header><nav><ul>{menu}</ul></nav></header>"
        f'<main>{content}</main>{after}<aside class="related"><ul>{teaser * 3}</ul></aside>'
        f"<footer><p>{words.legal}</p></footer></body></html>"
    )


def article(words: Words, inside: str) -> str:
    """An article with a thing in its middle."""
    return framed(
        words,
        f"<article><h1>{words.title}</h1>{paragraphs(words.texts[:3])}{inside}"
        f"{paragraphs(words.texts[3:])}</article>",
    )


def frame(words: Words) -> tuple[str, ...]:
    return (words.menu[1], words.related, words.legal)


@kind
def plain_article(words: Words) -> Made:
    return article(words, ""), words.texts, frame(words)


@kind
def short_paragraphs(words: Words) -> Made:
    lines = tuple(f"{text[:22]}{n}" for n in range(5) for text in words.texts)
    html = framed(words, f"<article><h1>{words.title}</h1>{paragraphs(lines)}</article>")
    return html, lines, frame(words)


@kind
def boxes_in_an_article(words: Words) -> Made:
    names = ("note", "admonition tip", "theorem", "definition", "warning")
    boxes = "".join(
        f'<div class="{name}"><p>{text}</p></div>{paragraphs(words.texts[:1])}'
        for name, text in zip(names, words.short, strict=True)
    )
    return article(words, boxes), words.short + words.texts, frame(words)


@kind
def a_bare_line_in_a_division(words: Words) -> Made:
    inside = f"<div>{words.short[0]}</div>"
    return article(words, inside), (words.short[0], *words.texts), frame(words)


@kind
def details_and_fieldset(words: Words) -> Made:
    inside = (
        f"<details><summary>{words.short[0]}</summary><p>{words.short[1]}</p></details>"
        f"<fieldset><legend>{words.short[2]}</legend><p>{words.short[3]}</p></fieldset>"
    )
    return article(words, inside), words.short[:4] + words.texts, frame(words)


@kind
def sections_with_headings(words: Words) -> Made:
    sections = "".join(
        f'<section id="s{n}"><h2>{words.short[n]}</h2><p>{words.texts[n]}</p></section>'
        for n in range(4)
    )
    long = f"<section><h2>{words.short[4]}</h2>{paragraphs(words.texts * 4)}</section>"
    html = framed(
        words, f"<section><h1>{words.title}</h1><p>{words.texts[5]}</p>{sections}{long}</section>"
    )
    return html, words.short + words.texts, frame(words)


@kind
def recipe_steps(words: Words) -> Made:
    items = "".join(f"<li>{n}0 g {text}</li>" for n, text in enumerate(words.short, 1))
    steps = "".join(
        f'<div class="step"><p>{n}: {t}</p></div>' for n, t in enumerate(words.short, 1)
    )
    html = framed(
        words,
        f"<article><h1>{words.title}</h1><p>{words.texts[0]}</p><h2>{words.menu[3]}</h2>"
        f'<div class="ingredients"><ul>{items}</ul></div><h2>{words.menu[2]}</h2>'
        f'<div class="steps">{steps}</div></article>',
    )
    wanted = tuple(f"{n}0 g {t}" for n, t in enumerate(words.short, 1))
    wanted += tuple(f"{n}: {t}" for n, t in enumerate(words.short, 1))
    return html, wanted, (words.related, words.legal)


@kind
def numbered_list_from_five(words: Words) -> Made:
    items = "".join(f"<li>{text}</li>" for text in words.short[:3])
    wanted = tuple(f"{n}. {text}" for n, text in enumerate(words.short[:3], 5))
    return article(words, f'<ol start="5">{items}</ol>'), wanted, ("1. ",)


@kind
def code_in_a_toolbar(words: Words) -> Made:
    inside = (
        '<div class="code-toolbar"><pre class="language-python"><code>a = 1\nif a:\n   '
        " b = 2</code>"
        '</pre><div class="toolbar"><div class="toolbar-item"><button>Copy</button>'
        "</div></div></div>"
    )
    return article(words, inside), ("```python\na = 1\nif a:\n    b = 2\n```",), ("Copy",)


@kind
def code_with_its_language_on_the_inside(words: Words) -> Made:
    inside = '<pre><code class="language-rust">fn main() {\n    run();\n}</code></pre>'
    return article(words, inside), ("```rust\nfn main() {\n    run();\n}\n```",), ()


@kind
def code_in_a_numbered_table(words: Words) -> Made:
    rows = "".join(
        f'<tr><td class="blob-num" data-line-number="{n}">{n}</td>'
        f'<td class="blob-code"><span>{line}</span></td></tr>'
        for n, line in ((101, "if x:"), (102, "    y()"), (103, ""), (104, "z = 3"))
    )
    return (
        article(words, f"<table>{rows}</table>"),
        ("```\nif x:\n    y()\n\nz = 3\n```",),
        ("101", "104"),
    )


@kind
def code_with_a_gutter(words: Words) -> Made:
    inside = (
        '<div class="highlight"><table><tr><td class="gutter"><pre'
        ' class="lineno">101\n102\n</pre></td>'
        '<td class="code"><pre>if a:\n    b()\n</pre></td></tr></table></div>'
    )
    return article(words, inside), ("```\nif a:\n    b()\n```",), ("101",)


@kind
def code_with_numbers_in_its_lines(words: Words) -> Made:
    lines = "".join(
        f'<span class="line"><span class="ln">{n}</span>{text}\n</span>'
        for n, text in ((201, "let a = 1;"), (202, "  let b = 2;"))
    )
    inside = f'<div class="highlight"><pre class="chroma"><code>{lines}</code></pre></div>'
    return article(words, inside), ("let a = 1;\n  let b = 2;",), ("201", "202")


@kind
def code_whose_box_is_called_line_numbers(words: Words) -> Made:
    inside = (
        '<pre class="line-numbers language-js"><code>let a = 1;<span aria-hidden="true" '
        'class="line-numbers-rows"><span></span></span></code></pre>'
    )
    return article(words, inside), ("let a = 1;",), ()


@kind
def katex(words: Words) -> Made:
    inside = (
        '<p>Let <span class="katex"><span class="katex-mathml"><math><semantics><mrow>'
        "<mi>y</mi><mo>="
        '</mo><mi>a</mi><mi>x</mi></mrow><annotation encoding="application/x-tex">y=ax</annotation>'
        '</semantics></math></span><span class="katex-html" aria-hidden="true"><span class="mord">y'
        '</span><span class="mrel">=</span><span class="mord">ax</span></span></span> be'
        " a line.</p>"
    )
    return article(words, inside), ("Let $y=ax$ be a line.",), ("y=ax$ y",)


@kind
def mathjax_of_the_second_version(words: Words) -> Made:
    inside = (
        '<p>So <span class="MathJax_Preview">q2</span><span class="MathJax" id="m1">'
        "<nobr><span>q2</span>"
        '</nobr></span><script type="math/tex">q^2</script> grows.</p>'
    )
    return article(words, inside), ("So $q^2$ grows.",), ("q2",)


@kind
def mathjax_of_the_third_version(words: Words) -> Made:
    inside = (
        '<p>Now <mjx-container class="MathJax" jax="CHTML"><mjx-math aria-hidden="true"><mjx-mi>'
        "</mjx-mi>qq</mjx-math><mjx-assistive-mml><math><mfrac><mi>a</mi><mi>b</mi></mfrac></math>"
        "</mjx-assistive-mml></mjx-container> is a share.</p>"
    )
    return article(words, inside), (r"Now $\frac{a}{b}$ is a share.",), ("qq",)


@kind
def mathml_alone(words: Words) -> Made:
    inside = (
        "<p>Here <math><msup><mi>x</mi><mn>2</mn></msup><mo>&le;</mo><msqrt><mi>&alpha;"
        "</mi></msqrt>"
        "</math> holds.</p>"
    )
    return article(words, inside), (r"Here $x^2\le \sqrt{\alpha }$ holds.",), ()


@kind
def formulas_in_pictures(words: Words) -> Made:
    inside = (
        r'<p>With <img class="latex" src="/cache/1.png" alt="\sum_i x_i"> and '
        r'<img src="https://example.org/equation?tex=a%2Bb" alt="a+b"> done.</p>'
        '<p><img src="/boat.jpg" alt="A boat in the harbour"></p>'
    )
    return article(words, inside), (r"With $\sum_i x_i$ and $a+b$ done.",), ("A boat in",)


@kind
def a_formula_of_an_encyclopedia(words: Words) -> Made:
    tex = r"{\displaystyle e=1}"
    inside = (
        '<p>Thus <span class="mwe-math-element"><span class="mwe-math-mathml-inline '
        f'mwe-math-mathml-a11y" style="display: none;"><math alttext="{tex}"><mi>e</mi></math>'
        '</span><img class="mwe-math-fallback-image-inline" aria-hidden="true" '
        f'alt="{tex}"></span>.</p>'
    )
    return article(words, inside), ("Thus $e=1$ .",), ("displaystyle",)


@kind
def signs_on_headings(words: Words) -> Made:
    signs = ("#", "¤", "¶", "§", "🔗", "\u200b")
    inside = "".join(
        f'<h2>Part {n}<a class="x{n}" href="#p{n}">{sign}</a></h2><p>{words.texts[n]}</p>'
        for n, sign in enumerate(signs)
    )
    edit = '<span class="mw-editsection">[<a href="e">edit</a>]</span>'
    inside += f"<h2>Part 7 {edit}</h2><p>{words.texts[0]}</p><h2>C#</h2><p>{words.texts[1]}</p>"
    wanted = (*(f"## Part {n}\n" for n in (*range(6), 7)), "## C#\n")
    return article(words, inside), wanted, ("edit]", "¶", "¤", "🔗")


@kind
def custom_elements_inside_a_line(words: Words) -> Made:
    inside = "<p>The <x-term id=t>pump</x-term> moves <my-unit>water</my-unit> up.</p>"
    return article(words, inside), ("The pump moves water up.",), ()


@kind
def custom_elements_around_everything(words: Words) -> Made:
    html = (
        f"<html><head><title>{words.title}</title></head><body><app-root><app-menu><ul>"
        + "".join(f'<li><a href="/{n}">{name}</a></li>' for n, name in enumerate(words.menu))
        + f"</ul></app-menu><app-article><h1>{words.title}</h1>{paragraphs(words.texts)}"
        f"</app-article>"
        f"<app-footer><p>{words.legal}</p></app-footer></app-root></body></html>"
    )
    return html, words.texts, (words.menu[1], words.legal)


@kind
def ruby_with_and_without_brackets(words: Words) -> Made:
    inside = (
        "<p><ruby>汉<rt>hàn</rt>字<rt>zì</rt></ruby>很美，<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp>字"
        f"<rp>(</rp><rt>ji</rt><rp>)</rp></ruby>也是。{words.texts[0]}</p>"
    )
    return article(words, inside), ("汉字很美，漢字也是。",), ("hàn", "kan", "(")


@kind
def a_data_table(words: Words) -> Made:
    rows = "".join(
        f"<tr><td>{n}</td><td>{text}</td></tr>" for n, text in enumerate(words.short, 11)
    )
    inside = f"<table><tr><th>No.</th><th>{words.menu[2]}</th></tr>{rows}</table>"
    wanted = tuple(f"| {n} | {text} |" for n, text in enumerate(words.short, 11))
    return article(words, inside), wanted, frame(words)


@kind
def questions_with_answers(words: Words) -> Made:
    answers = "".join(
        f'<div class="faq-item"><h3><button aria-expanded="false">{words.short[n]}?</button></h3>'
        f'<div class="faq-answer"><p>{words.texts[n]}</p></div></div>'
        for n in range(5)
    )
    html = framed(words, f'<h1>{words.title}</h1><div class="faq">{answers}</div>')
    return html, tuple(f"{text}?" for text in words.short) + words.texts[:5], frame(words)


@kind
def all_posts_of_a_thread(words: Words) -> Made:
    posts = "".join(
        f'<div class="post" id="p{n}"><div class="postprofile"><a href="/u{n}">user{n}</a></div>'
        f'<div class="postbody"><div class="content">{text} {words.texts[(n + 1) % 6]}'
        f"</div></div></div>"
        for n, text in enumerate(words.texts)
    )
    html = framed(
        words, f'<h2 class="topic-title">{words.title}</h2><div class="thread">{posts}</div>'
    )
    return html, words.texts, frame(words)


@kind
def a_definition_list(words: Words) -> Made:
    terms = "".join(f"<dt>{words.short[n]}</dt><dd>{words.texts[n]}</dd>" for n in range(5))
    return article(words, f"<dl>{terms}</dl>"), words.short + words.texts, frame(words)


@kind
def text_in_a_script_template(words: Words) -> Made:
    body = paragraphs(words.texts)
    html = (
        f"<html><head><title>{words.title}</title></head><body><div class=post>"
        f"<h2>{words.title}</h2>"
        f'<div class=post-content><script type="text/template">{body}</script><noscript>{body}'
        "</noscript></div></div></body></html>"
    )
    return html, words.texts, ("<p>",)


@kind
def text_for_search_engines_only(words: Words) -> Made:
    body = " ".join(words.texts)
    html = (
        f'<html><head><title>{words.title}</title><script type="application/ld+json">'
        f'{{"@type":"NewsArticle","headline":"{words.title}","articleBody":"{body}"}}</script></head>'
        '<body><div id="app"></div></body></html>'
    )
    return html, words.texts, ("NewsArticle",)


@kind
def text_in_a_shadow_root(words: Words) -> Made:
    html = framed(
        words,
        f'<x-story><template shadowrootmode="open"><article><h1>{words.title}</h1>'
        f"{paragraphs(words.texts)}</article></template></x-story>",
    )
    return html, words.texts, frame(words)


@kind
def line_breaks_instead_of_paragraphs(words: Words) -> Made:
    content = "<br><br>".join(words.texts)
    html = framed(words, f'<div id="zoom" class="content">{content}</div>')
    return html, words.texts, frame(words)


@kind
def a_page_of_tables_and_fonts(words: Words) -> Made:
    links = " | ".join(f'<a href="/{n}">{name}</a>' for n, name in enumerate(words.menu))
    html = (
        f"<HTML><TITLE>{words.title}</TITLE><BODY><TABLE width=100%><TR><TD colspan=2>{links}"
        f"<TR><TD width=150>{links}<TD><FONT size=3>{paragraphs(words.texts)}</FONT><TR>"
        f"<TD colspan=2"
        f" align=center>{words.legal} {links}</TABLE>"
    )
    return html, words.texts, (words.legal, words.menu[1])


@kind
def hidden_and_read_aloud_copies(words: Words) -> Made:
    inside = (
        '<p>It costs <span style="display:none">QQQQ</span><span aria-hidden="true">9 coins</span>'
        "<span hidden>WWWW</span>nine coins.</p>"
    )
    return article(words, inside), ("It costs nine coins.",), ("QQQQ", "WWWW", "9 coins")


@kind
def comments_below_an_article(words: Words) -> Made:
    comments = "".join(
        f'<li class="comment"><b class="comment-author">user{n}</b><p>{words.comment}</p></li>'
        for n in range(3)
    )
    html = framed(
        words,
        f"<article><h1>{words.title}</h1>{paragraphs(words.texts)}</article>",
        after=f'<section id="comments" class="comments"><ol>{comments}</ol></section>',
    )
    return html, words.texts, (words.comment, words.legal)


@kind
def a_poem(words: Words) -> Made:
    stanza = "<br>".join(words.short)
    html = framed(
        words,
        f"<article><h1>{words.title}</h1><p class=stanza>{stanza}</p><p class=stanza>{stanza[::1]}"
        f"</p><p class=stanza>{words.texts[0][:20]}<br>{words.texts[1][:20]}</p></article>",
    )
    return html, (*words.short, words.texts[0][:20]), (words.legal,)


@kind
def inline_tex_with_delimiters(words: Words) -> Made:
    lines = tuple(
        rf"{text[:18]}\(x_{n}=\frac{{-b\pm\sqrt{{\Delta}}}}{{{n}}}\){text[18:]}"
        for n, text in enumerate(words.texts, 1)
    )
    html = framed(words, f"<article><h1>{words.title}</h1>{paragraphs(lines)}</article>")
    return html, lines, frame(words)


def layouts() -> Iterator[Layout]:
    """Every kind in both languages."""
    for maker in _MAKERS:
        for words in (ENGLISH, CHINESE):
            yield Layout(f"{maker.__name__}-{words.language}", *maker(words))
