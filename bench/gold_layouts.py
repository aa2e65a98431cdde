"""Invented pages with their main text: layouts that gold sets hold too few of, in both languages.

Sets of gold pages have few small pages, few Chinese ones with tables or boxes, and next to none
with hidden text. `bench/gold.py` adds some of these; what fills them is prose of the sample web.
"""

from random import Random

_MENU = {
    "en": [
        "Home",
        "News",
        "About us",
        "Contact",
        "Archive",
        "Products",
        "Sign in",
        "Help",
        "Jobs",
        "Forum",
        "Maps",
        "Video",
    ],
    "zh": [
        "首页",
        "新闻",
        "关于我们",
        "联系方式",
        "归档",
        "产品中心",
        "登录",
        "帮助",
        "招聘",
        "论坛",
        "地图",
        "视频",
    ],
}
_LEGAL = {
    "en": ("Copyright © 2026 {}. All rights reserved.", "Terms of use and privacy policy of {}"),
    "zh": ("版权所有 © 2026 {} 保留所有权利", "{} 京ICP备00000000号 未经许可不得转载"),
}
_RELATED = {
    "en": ("Related stories", "You may also like"),
    "zh": ("相关文章", "猜你喜欢", "热门推荐"),
}
_SHARE = {"en": "Share this on Facebook Twitter Email", "zh": "分享到：微信 微博 QQ空间"}
_COMMENT = {
    "en": ("Great read, thanks!", "I do not agree with this at all.", "First!"),
    "zh": ("写得真好，学习了。", "沙发！", "我不同意这个说法。"),
}
_SPAM = {
    "en": "Cheap watches, cheap pills and online casino bonus, best price.",
    "zh": "澳门在线赌场，真人荷官，注册就送彩金，代开发票。",
}
_BOXES = (
    "note", "tip", "admonition warning", "theorem", "proof", "definition", "example", "callout",
    "infobox", "", "box", "exercise", "stanza", "step",
)  # fmt: skip
_CODE = (
    "a = 1\nfor x in y:\n    print(x)",
    "int main() {\n  return 0;\n}",
    "$ make install",
    "x <- 3",
)


def layout_page(
    generator: Random, language: str, title: str, prose: list[str], other: list[str]
) -> tuple[str, str]:
    """HTML and main text of a page with `prose` in it, and links to a page of `other` prose."""
    gap = " " if language == "en" else ""
    sentences = [part for text in prose for part in _sentences(text, language)]

    others_sentences = [part for text in other for part in _sentences(text, language)]

    def short() -> str:
        return generator.choice(sentences)[: generator.randint(12, 60)]

    def foreign() -> str:
        return generator.choice(others_sentences)[: generator.randint(12, 60)]

    def link(text: str) -> str:
        return f'<a href="/{generator.randint(1, 9999)}">{text}</a>'

    kept: list[str] = []
    html: list[str] = []

    def keep(markup: str, *texts: str) -> None:
        html.append(markup)
        kept.extend(texts)

    def add(kind: str) -> None:
        if kind == "paragraph":
            text = gap.join(generator.choices(sentences, k=generator.randint(1, 4)))
            keep(f"<p>{text}</p>", text)
        elif kind == "lines":
            for _ in range(generator.randint(4, 12)):
                text = short()
                keep(f"<p>{text}</p>", text)
        elif kind == "box":
            name, text = generator.choice(_BOXES), short()
            keep(f'<div class="{name}"><p>{text}</p></div>' if name else f"<div>{text}</div>", text)
        elif kind == "section":
            head, text = short()[:24], generator.choice(sentences)
            tag = generator.choice(("section", "div"))
            keep(f"<{tag}><h2>{head}</h2><p>{text}</p></{tag}>", head, text)
        elif kind == "list":
            texts = [short() for _ in range(generator.randint(3, 9))]
            tag, items = (
                generator.choice(("ul", "ol")),
                "".join(f"<li>{text}</li>" for text in texts),
            )
            keep(f"<{tag}>{items}</{tag}>", *texts)
        elif kind == "table":
            rows = [(str(n), short()[:20], str(generator.randint(1, 999))) for n in range(2, 6)]
            cells = "".join(
                "<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows
            )
            keep(
                f"<table>{cells}</table>",
                *(" ".join(row) for row in rows),
                *(c for r in rows for c in r),
            )
        elif kind == "code":
            code = generator.choice(_CODE)
            bar = (
                '<div class="toolbar"><button>Copy</button></div>'
                if generator.random() < 0.5
                else ""
            )
            keep(f'<div class="code-toolbar"><pre><code>{code}</code></pre>{bar}</div>', code)
        elif kind == "details":
            head, text = short(), generator.choice(sentences)
            keep(f"<details><summary>{head}</summary><p>{text}</p></details>", head, text)
        elif kind == "answer":
            head, text = short() + "?", generator.choice(sentences)
            keep(
                f"<div class=faq-item><h3><button>{head}</button></h3><div><p>{text}</p></div>"
                f"</div>",
                head,
                text,
            )
        elif kind == "hidden":
            html.append(f'<div style="display:none"><p>{_SPAM[language]}</p></div>')
        elif kind == "teaser":
            html.append(f"<section><h3>{link(foreign())}</h3><p>{foreign()}</p></section>")

    kinds = ["paragraph"] * generator.randint(2, 7)
    others = (
        "lines",
        "box",
        "section",
        "list",
        "table",
        "code",
        "details",
        "answer",
        "hidden",
        "teaser",
    )
    for _ in range(generator.randint(0, 4)):
        kinds.insert(generator.randint(1, len(kinds)), generator.choice(others))
    keep(f"<h1>{title}</h1>", title)
    for kind in kinds:
        add(kind)
    if generator.random() < 0.5:
        links = "".join(f"<li>{link(foreign())}</li>" for _ in range(generator.randint(3, 8)))
        name = generator.choice(("related", "more", "", "list"))
        html.append(
            f'<h2>{generator.choice(_RELATED[language])}</h2><ul class="{name}">{links}</ul>'
        )
    return _framed(generator, language, title, "".join(html)), "\n".join(kept)


def _sentences(text: str, language: str) -> list[str]:
    mark = ". " if language == "en" else "。"
    parts = [part.strip() for part in text.split(mark) if len(part.strip()) > 8]
    return [part if part[-1] in ".。!?！？" else part + mark.strip() for part in parts]


def _framed(generator: Random, language: str, title: str, content: str) -> str:
    menu = generator.sample(_MENU[language], generator.randint(3, 10))
    links = [f'<a href="/{n}">{name}</a>' for n, name in enumerate(menu)]
    legal = generator.choice(_LEGAL[language]).format(title[:12])
    head = f"<head><title>{title}</title></head>"
    kind = generator.randrange(5)
    if kind == 0:  # tables lay out the page
        bar = generator.choice((" | ", " ", "&nbsp;")).join(links)
        return (
            f"<html>{head}<body><table width=100%><tr><td colspan=2>{bar}<tr><td width=150>"
            f"{'<br>'.join(links)}<td><font size=3>{content}</font><tr>"
            f"<td colspan=2>{legal} {bar}</table>"
        )
    items = "<ul>" + "".join(f"<li>{link}</li>" for link in links) + "</ul>"
    if kind == 1:  # custom elements
        return (
            f"<html>{head}<body><app-root><app-nav>{items}</app-nav><app-page>{content}</app-page>"
            f"<app-bottom><p>{legal}</p></app-bottom></app-root></body></html>"
        )
    opened = generator.choice(
        (
            "<main><article>",
            "<article>",
            '<div class="content">',
            "<main>",
            "<div>",
            '<div id="post">',
        )
    )
    closed = "".join(f"</{part.split()[0].strip('<>')}>" for part in reversed(opened.split("><")))
    comments = ""
    if generator.random() < 0.4:
        texts = "".join(f"<li><p>{text}</p></li>" for text in _COMMENT[language])
        comments = f'<div id="comments"><ol>{texts}</ol></div>'
    share = f'<div class="share">{_SHARE[language]}</div>' if generator.random() < 0.5 else ""
    side = f'<div class="side">{items}</div>' if generator.random() < 0.4 else ""
    return (
        f"<html>{head}<body><div class=top>{items}</div>{opened}{content}{closed}{share}{comments}"
        f"{side}<footer><p>{legal}</p></footer></body></html>"
    )
