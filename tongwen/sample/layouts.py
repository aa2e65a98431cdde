"""Puts a main text into the HTML of its host: navigation, adverts and footers around it."""

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources
from itertools import groupby
from string import Template
from typing import Any

from tongwen.sample.draw import Draw
from tongwen.sample.packaged import packaged
from tongwen.sample.prose import Block
from tongwen.sample.sites import Site, traditional

Tags = dict[str, tuple[str, str]]

_SEMANTIC: Tags = {
    "heading": ("<h2>", "</h2>"),
    "paragraph": ("<p>", "</p>"),
    "item": ("<li>", "</li>"),
    "question": ("<h3>", "</h3>"),
    "answer": ("<p>", "</p>"),
}
# How each layout marks the lines of the main text, where it differs from the semantic tags.
_TAGS: dict[str, Tags] = {
    "soup": {
        "heading": ('<div class="st">', "</div>"),
        "paragraph": ('<div class="tx">', "</div>"),
        "question": ('<div class="q">', "</div>"),
        "answer": ('<div class="a">', "</div>"),
    },
    "tables": {"paragraph": ("<p>", ""), "item": ("<li>", ""), "answer": ("<p>", "")},
    "fonts": {
        "heading": ("<B><U>", "</U></B><BR><BR>"),
        "paragraph": ("", "<BR><BR>"),
        "item": ("<LI>", ""),
        "question": ("<B>", "</B><BR>"),
        "answer": ("", "<BR><BR>"),
    },
    "wiki": {"question": ("<h2>", '</h2><span class="edit">[<a href="#e">$edit</a>]</span>')},
    "glossary": {
        "heading": ("<dt>", "</dt>"),
        "paragraph": ("<dd>", "</dd>"),
        "question": ("<dt>", "</dt>"),
        "answer": ("<dd>", "</dd>"),
    },
    "faq": {
        "question": ('<section class="item"><h3>', "</h3>"),
        "answer": ("<p>", "</p></section>"),
    },
}
_FRENCH_SPACING = "portal"
"""Layout that sets two ideographic spaces before a Chinese paragraph, as newspapers do."""


@cache
def _template(layout: str) -> Template:
    file = resources.files("tongwen.sample") / "data" / "layouts" / f"{layout}.html"
    return Template(file.read_text(encoding="utf-8"))


@cache
def _chrome(lang: str) -> dict[str, Any]:
    """What surrounds the text, in the page's language or in none."""
    table: dict[str, Any] = packaged("chrome")[lang[:2] if lang[:2] in ("en", "zh") else "other"]
    if lang != "zh-Hant":
        return table
    return {
        key: [traditional(text) for text in value]
        if isinstance(value, list)
        else {label: traditional(text) for label, text in value.items()}
        for key, value in table.items()
    }


@cache
def _linked_names(lang: str) -> re.Pattern[str]:
    """The names that a wiki links to other pages."""
    world = packaged("world")
    names = [row[0 if lang == "en" else 1] for row in (*world["town"], *world["person"])]
    if lang == "zh-Hant":
        names = [traditional(name) for name in names]
    return re.compile("|".join(re.escape(name) for name in names))


def main_html(blocks: Sequence[Block], site: Site, draw: Draw) -> str:
    """The main text in the tags of the host's layout."""
    tags = _SEMANTIC | _TAGS.get(site.layout, {})
    parts = []
    for kind, same in groupby(blocks, key=lambda block: block.kind):
        lines = [_inline(block.text, site) for block in same]
        if kind == "row":
            parts.append(_table(lines))
            continue
        before, after = tags[kind]
        if kind == "paragraph" and site.layout == _FRENCH_SPACING and site.lang != "en":
            before += "　　"
        after = after.replace("$edit", _chrome(site.lang)["labels"]["edit"])
        marked = [f"{before}{line}{after}" for line in lines]
        if kind == "item":
            marked = ["\n".join(["<ul>", *marked, "</ul>"])]
        if site.layout == "forum":
            marked = _posts(marked, site, draw)
        parts += marked
    if site.layout == "news" and len(parts) > 2:
        advert = escape(draw.pick(_chrome(site.lang)["ads"]))
        parts.insert(2, f'<div class="ad-slot in-text"><a href="/ad/9">{advert}</a></div>')
    text = "\n".join(parts)
    return f"<dl>\n{text}\n</dl>" if site.layout == "glossary" else text


def _inline(text: str, site: Site) -> str:
    html = escape(text, quote=False)
    if site.layout not in ("wiki", "blog"):
        return html
    return _linked_names(site.lang).sub(lambda name: f'<a href="/w">{name[0]}</a>', html, count=2)


def _table(rows: Sequence[str]) -> str:
    head, *body = [row.split(" | ") for row in rows]
    lines = ['<table border="1">', "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
    return "\n".join([*lines, "</table>"])


def _posts(texts: Sequence[str], site: Site, draw: Draw) -> list[str]:
    """Forum posts: a list is one post, every other line is a separate post."""
    chrome = _chrome(site.lang)
    posts = []
    for text in texts:
        user, number = escape(draw.pick(chrome["users"])), draw.between(1, 40)
        head = f'<div class="pls"><a href="/u">{user}</a> #{number}</div>'
        signature = escape(draw.pick(chrome["signatures"])) if draw.chance(0.3) else ""
        foot = f'<div class="sign">{signature}</div>' if signature else ""
        posts.append(f'<div class="post">{head}<div class="t_f">{text}</div>{foot}</div>')
    return posts


def _links(texts: Sequence[str], before: str, after: str) -> str:
    return "\n".join(
        f'{before}<a href="/p/{number}">{escape(text)}</a>{after}'
        for number, text in enumerate(texts, start=1)
    )


def render(site: Site, title: str, main: str, related: Sequence[str], draw: Draw) -> str:
    """The whole page: `main` is HTML, `related` the titles that the sidebar links to."""
    chrome = _chrome(site.lang)
    nav = draw.sample(chrome["nav"], 8)
    adverts = draw.sample(chrome["ads"], 2)
    users = draw.sample(chrome["users"], 2)
    comments = draw.sample(chrome["comments"], 2) * 2
    small = " | ".join(draw.sample(chrome["small"], 3))
    date = f"20{draw.between(10, 24)}-{draw.between(1, 12):02}-{draw.between(1, 28):02}"
    labels = {f"{name}_label": escape(text) for name, text in chrome["labels"].items()}
    return _template(site.layout).substitute(
        labels,
        lang=site.lang,
        meta=_meta(site),
        site=escape(site.name),
        title=escape(title),
        main=main,
        date=date,
        nav=_links(nav, "<li>", "</li>"),
        nav_inline=_links(nav, "", " "),
        nav_rows=_links(nav, "<tr><td>", "</td></tr>"),
        related=_links(related, "<li>", "</li>"),
        related_inline=_links(related, "", " - "),
        related_div=_links(related, "<div>", "</div>"),
        side_head=escape(draw.pick(chrome["side_heads"])),
        ad=escape(adverts[0]),
        ad2=escape(adverts[1]),
        cookie=escape(draw.pick(chrome["cookie"])),
        share=_links(chrome["share"], "<span>", "</span>"),
        share_inline=escape(" ".join(chrome["share"])),
        footer=escape(draw.pick(chrome["footers"]).format(site=site.name)),
        small=escape(small),
        byline=escape(draw.pick(chrome["bylines"])),
        user=escape(users[0]),
        user2=escape(users[1]),
        comment=escape(comments[0]),
        comment2=escape(comments[1]),
    )


def _meta(site: Site) -> str:
    if site.meta_label is None:
        return ""
    if site.layout in ("soup", "tables", "fonts", "plain"):
        content = f"text/html; charset={site.meta_label}"
        return f'<meta http-equiv="Content-Type" content="{content}">'
    return f'<meta charset="{site.meta_label}">'
