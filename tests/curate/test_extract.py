"""The main content is kept, in order and in shape; what surrounds it goes; nothing hangs."""

import re
import time
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.html.main_content import extract

ENGLISH = [
    "The old bridge over the river was built in 1862, long before the railway came to the valley.",
    "It has seven arches, and each of them carries the name of one of the masons who built it.",
    "Every spring the water rises to the second stone, and the children come to measure it.",
]
CHINESE = [
    "河上的老桥建于一八六二年，比铁路通到山谷早得多，附近的老人都会讲它的故事。",
    "桥有七个拱，每个拱上都刻着一位石匠的名字；春天水涨起来，孩子们就来量水位。",
    "桥头有一家小茶馆，老板说：“每天早上六点开门，冬天也不例外！”",
]
NAVIGATION = "".join(f'<li><a href="/{n}">Section {n}</a></li>' for n in range(12))
TEASERS = "".join(
    f'<div class="card"><h3><a href="/n{n}">Another story {n}</a></h3>'
    f"<p>A short teaser of story {n}, which wants to be clicked, and so on.</p></div>"
    for n in range(4)
)


def paragraphs(texts: list[str]) -> str:
    return "".join(f"<p>{text}</p>" for text in texts)


def modern(content: str) -> str:
    return f"""<!doctype html><html><head><title>The bridge</title><style>p{{}}</style></head>
    <body class="has-sidebar comments-open"><header><nav><ul>{NAVIGATION}</ul></nav></header>
    <div class="wrap"><main><article class="post-content"><h1>The bridge</h1>{content}</article>
    <div class="share-buttons">Share this story on</div></main>
    <aside class="sidebar">{TEASERS}</aside></div>
    <section id="comments"><p>I was there in summer, and it rained on every day.</p></section>
    <footer>Copyright © 2026 Valley News. All rights reserved, of course.</footer></body></html>"""


def old(content: str) -> str:
    """A page of tables and font tags, as portals were around 2000."""
    links = " | ".join(f'<a href="/{n}">栏目{n}</a>' for n in range(10))
    return f"""<HTML><TITLE>老桥</TITLE><BODY><TABLE width=100%><TR><TD colspan=2>{links}
    <TR><TD width=150><FONT size=1>{links}</FONT><TD><FONT size=3 color=#000000>{content}</FONT>
    <TR><TD colspan=2 align=center>版权所有 © 同文网 {links}</TABLE>"""


@pytest.mark.parametrize("layout", [modern, old])
@pytest.mark.parametrize("texts", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_article_is_kept_whole_and_nothing_else(layout, texts: list[str]) -> None:  # type: ignore[no-untyped-def]
    extracted = extract(layout(paragraphs(texts)))
    assert extracted.text == "\n\n".join(texts)
    assert extracted.title in ("The bridge", "老桥")
    assert extracted.link_density == 0
    assert extracted.page_characters > len(extracted.text)


def test_text_between_line_breaks_needs_no_paragraph_tags() -> None:
    extracted = extract(old("<br>&nbsp;&nbsp;<br>".join(CHINESE)))
    assert extracted.text == "\n\n".join(CHINESE)


def test_headings_lists_and_code_become_markdown() -> None:
    content = (
        f"<p>{ENGLISH[0]}</p><h2 class='anchorWithStickyNavbar'>Steps</h2>"
        "<ol><li>Take the <b>north</b> path.</li><li>Cross:<ul><li>slowly</li></ul></li></ol>"
        f"<h2>代码</h2><p>{CHINESE[0]}</p>"
        '<pre class="language-python"><code>for arch in range(7):\n'
        f'    print("拱", arch)  # &lt;b&gt;</code></pre><p>{ENGLISH[1]}</p>'
    )
    assert extract(modern(content)).text == "\n\n".join(
        [
            ENGLISH[0],
            "## Steps",
            "1. Take the north path.\n2. Cross:\n  - slowly",
            "## 代码",
            CHINESE[0],
            '```python\nfor arch in range(7):\n    print("拱", arch)  # <b>\n```',
            ENGLISH[1],
        ]
    )


def test_a_table_of_data_becomes_a_markdown_table() -> None:
    rows = [("年份", "水位"), ("1862", "3.5 | 米"), ("1863", "")]
    table = "".join(f"<tr><td>{a}</td><td>{b}</td></tr>" for a, b in rows)
    text = extract(modern(paragraphs(CHINESE[:2]) + f"<table>{table}</table>" + CHINESE[2])).text
    assert "| 年份 | 水位 |\n| --- | --- |\n| 1862 | 3.5 \\| 米 |\n| 1863 |  |" in text


def test_line_numbers_beside_code_are_left_out() -> None:
    code = (
        '<figure class="highlight java"><table><tr><td class="gutter"><pre>1<br>2</pre></td>'
        '<td class="code"><pre><span class="line">int a;</span><br>'
        '<span class="line">int b;</span></pre></td></tr></table></figure>'
    )
    text = extract(modern(paragraphs(ENGLISH[:2]) + code + f"<p>{ENGLISH[2]}</p>")).text
    assert "```\nint a;\nint b;\n```" in text
    assert "1\n2" not in text


def test_code_whose_lines_are_elements_stays_one_block() -> None:
    code = "<pre><div>if x:</div>\n<div>    y()</div></pre>"
    text = extract(modern(paragraphs(ENGLISH[:2]) + code + f"<p>{ENGLISH[2]}</p>")).text
    assert "```\nif x:\n    y()\n```" in text


def test_a_heading_with_nothing_below_is_left_out() -> None:
    content = paragraphs(ENGLISH) + f"<h2>Related stories</h2><ul>{NAVIGATION}</ul>"
    text = extract(modern(content).replace("<ul><li>", '<ul class="related"><li>')).text
    assert "Related" not in text


def test_a_line_break_between_chinese_characters_is_no_space() -> None:
    broken = CHINESE[0][:10] + "\n    " + CHINESE[0][10:]
    text = extract(modern(f"<p>{broken}</p>{paragraphs(CHINESE[1:])}")).text
    assert text == "\n\n".join(CHINESE)


def test_boilerplate_that_is_the_whole_page_is_the_content() -> None:
    page = f'<body><div class="sidebar-widget">{paragraphs(ENGLISH)}</div></body>'
    assert extract(page).text == "\n\n".join(ENGLISH)


def test_hidden_text_is_left_out() -> None:
    spam = '<div style="display: none"><p>Cheap pills, cheap watches, and casinos.</p></div>'
    assert extract(modern(spam + paragraphs(ENGLISH))).text == "\n\n".join(ENGLISH)


@pytest.mark.parametrize("page", ["", " \n", "<html></html>", "<!-- x", "<script>var a;</script>"])
def test_a_page_without_text_gives_empty_text(page: str) -> None:
    assert extract(page).text == ""


@pytest.mark.parametrize(
    "noise",
    [
        "<div>" * 100_000,
        "<p><div>" * 50_000,
        "<b><p>" * 30_000,
        "<table><tr><td>" * 20_000,
        "<ul><li>" * 50_000,
        "</div>" * 100_000,
        "<" * 200_000 + ">",
        "<br>" * 200_000,
        "<div " + " ".join(f'a{n}="1"' for n in range(100_000)) + ">",
        "<select><option>" * 30_000 + "</select>",
        "\0" * 1_000 + "\ud800",
    ],
    ids=range(11),
)
def test_no_markup_takes_the_processor_for_long(noise: str) -> None:
    # Without the limits these take minutes (the suite's time-out) or end the process.
    assert len(extract(noise + paragraphs(ENGLISH)).text) < 300_000


def test_a_page_of_50_megabytes_is_cut_and_says_so() -> None:
    extracted = extract("<p>" + "many words, " * 4_200_000)
    assert extracted.is_cut
    assert len(extracted.text) <= 20_000_000


MARKUP = """
<div> </div> <p> </p> <td> <tr> </tr> <table> </table> <li> <ul> </ul> <ol> <a href='x'> </a> <pre>
</pre> <h1> </h2> <br> <hr> <b> </b> <nav> <form> <svg> <math> <template> <!-- --> & &#0; &#x110000;
&nbsp &lt; < > <script> </script> <textarea> <select> <frameset> <plaintext> <body> </body> </html>
<link> <input> <th> <dd> <x-y> ]]> 中文，标点。 words, and words.
"""


@given(st.lists(st.sampled_from(MARKUP.split()) | st.text(max_size=20), max_size=60))
def test_no_markup_raises_and_no_word_is_invented(parts: list[str]) -> None:
    page = "".join(parts)
    text = extract(page).text
    letters = set(re.findall(r"[\u4e00-\u9fff]", text))
    assert letters <= set(page) | {"\ufffd"} or "&#" in page


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(body: bytes) -> None:
    extract(body.decode("latin-1"))


def test_short_answers_in_sections_of_their_own_are_content_and_linked_teasers_are_not() -> None:
    long_answer = (
        "大黄蜂公司起初只有两个工人，老板就是创始人。办公室里还留着开业第一天的手电筒。" * 3
    )
    answers = "".join(
        f"<section><h3>第{n}个问题是什么？</h3><p>面包刀卖{n}枚银币。</p></section>"
        for n in (3, 5, 8)
    )
    teaser = '<section><h3><a href="/p/1">别的文章</a></h3><p>这里是它的开头。</p></section>'
    page = f"<main><div><p>{long_answer}</p>{answers}{teaser}<p>{long_answer}</p></div></main>"
    text = extract(page).text
    assert [f"面包刀卖{n}枚银币。" in text for n in (3, 5, 8)] == [True, True, True]
    assert "这里是它的开头" not in text


@pytest.mark.parametrize(
    "markup",
    [
        "<table>" + "<tr><td colspan=9007199254740992>x</td></tr>" * 300_000 + "</table>",
        "<!-- " * 200_000,
        "<title>" * 100_000,
        "<a " * 500_000,
        "<p " + "a=b " * 1_000_000 + ">",
        "<a href='" * 200_000,
        "&" * 1_000_000,
        "&#x" + "f" * 1_000_000,
        "<svg><p>" * 50_000,
        "<pre>" + " \n" * 500_000 + "x</pre>",
        "<form><div></form>" * 50_000,
        "<a><td></a>" * 100_000,
    ],
    ids=range(12),
)
def test_time_grows_with_the_length_of_the_page_only(markup: str) -> None:
    extract("<p>x")
    started = time.process_time()
    extract(markup)
    assert time.process_time() - started < 2 + len(markup) / 500_000


def test_entities_are_read_as_the_standard_says() -> None:
    text = (
        "&lt;b&gt; &amp;amp; &notit; &#x4e2d;&#25991; &#150; &nGt; &unknown; &copy 2026, of course."
    )
    page = f"<main><p>{ENGLISH[0]} {text}</p></main>"
    assert extract(page).text == f"{ENGLISH[0]} {unescape(text)}"


def test_end_tags_that_may_be_left_out_are_found() -> None:
    items = f"<ul><li>{ENGLISH[0]}<li>{ENGLISH[1]}</ul>"
    text = extract(f"<main><p>{ENGLISH[2]}<p>{ENGLISH[0]}{items}<p>{ENGLISH[1]}</main>").text
    assert text == "\n\n".join(
        [ENGLISH[2], ENGLISH[0], f"- {ENGLISH[0]}\n- {ENGLISH[1]}", ENGLISH[1]]
    )


def test_a_line_break_of_the_page_stays_one_before_a_line_break_of_the_source() -> None:
    assert extract(f"<main><p>{CHINESE[0]}<br>\n{CHINESE[1]}</p></main>").text == "\n".join(
        CHINESE[:2]
    )
