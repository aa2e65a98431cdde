"""Pages that a curator must drop: spam, other languages, broken ones."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from tongwen.sample.draw import Draw
from tongwen.sample.layouts import main_html, render
from tongwen.sample.packaged import Language, packaged
from tongwen.sample.prose import Block
from tongwen.sample.sites import Page, Site, encode, sites, traditional

CUT_RECORD = "cut_record"
"""Kind of the one broken page whose record the WARC file does not hold to its end."""

_HACKED_SHARE = 0.15
"""Spam pages that sit on an honest host somebody broke into."""


def _paragraphs(texts: Sequence[str]) -> list[Block]:
    return [Block("paragraph", text) for text in texts]


def _page_language(site: Site) -> Language:
    return "en" if site.lang == "en" else "zh"


# --- spam ---------------------------------------------------------------------------------------


def _spam_line(wording: str, keywords: Sequence[str], draw: Draw) -> str:
    k1, k2, k3, k4 = draw.sample(keywords, 4)
    return wording.format(k1=k1, k2=k2, k3=k3, k4=k4)


def _keyword_stuffing(site: Site, draw: Draw) -> str:
    data = packaged("spam")[_page_language(site)]
    keywords = draw.sample(data["keywords"], draw.between(6, 12))
    comma = ", " if site.lang == "en" else "，"
    lists = [comma.join(draw.shuffled(keywords * 3)) for _ in range(draw.between(2, 4))]
    lines = [_spam_line(wording, keywords, draw) for wording in draw.sample(data["slogans"], 5)]
    return main_html(_paragraphs(draw.shuffled([*lists, *lines])), site, draw)


def _promises(site: Site, draw: Draw) -> str:
    data = packaged("spam")[_page_language(site)]
    wordings = draw.sample(data["prose"], draw.between(4, 6)) + draw.sample(data["slogans"], 3)
    lines = [_spam_line(wording, data["keywords"], draw) for wording in wordings]
    return main_html(_paragraphs(lines), site, draw)


def _link_farm(site: Site, draw: Draw) -> str:
    data = packaged("spam")[_page_language(site)]
    links = [
        f'<a href="http://{draw.between(1000, 9999)}-{draw.between(1, 99)}.example/">'
        f"{escape(draw.pick(data['keywords']))} {draw.pick(data['link_words'])}</a>"
        for _ in range(draw.between(60, 140))
    ]
    return "<div>" + " | \n".join(links) + "</div>"


def _doorway(site: Site, draw: Draw) -> str:
    """A few sentences again and again, each time for another search word."""
    data = packaged("spam")[_page_language(site)]
    wordings = [draw.pick(data["prose"]), *draw.sample(data["slogans"], 2)]
    lines = []
    for keyword in draw.sample(data["keywords"], draw.between(8, 12)):
        others = draw.sample([each for each in data["keywords"] if each != keyword], 3)
        filled = [
            wording.format(k1=keyword, k2=others[0], k3=others[1], k4=keyword)
            for wording in wordings
        ]
        lines.append(" ".join(filled))
    return main_html(_paragraphs(lines), site, draw)


_SPAM: dict[str, Callable[[Site, Draw], str]] = {
    "keyword_stuffing": _keyword_stuffing,
    "promises": _promises,
    "link_farm": _link_farm,
    "doorway": _doorway,
}


def spam_pages(count: int, *, seed: int) -> Iterator[Page]:
    """Keyword stuffing, false promises, link farms and doorway pages in both languages."""
    for number in range(count):
        draw = Draw(seed, "spam", number)
        kind = list(_SPAM)[number % len(_SPAM)]
        honest = [site for site in sites("content") if site.lang != "zh-Hant"]
        site = draw.pick(honest if draw.chance(_HACKED_SHARE) else sites("spam"))
        keywords = packaged("spam")[_page_language(site)]["keywords"]
        title = " ".join(draw.sample(keywords, 3))
        html = render(site, title, _SPAM[kind](site, draw), draw.sample(keywords, 8), draw)
        url = f"http://{site.host}/{draw.between(100, 999)}/{number}.html"
        body = encode(html, site)
        yield Page(url=url, site=site, label="spam", kind=kind, lang=site.lang, body=body)


# --- other languages ----------------------------------------------------------------------------


def foreign_pages(count: int, *, seed: int) -> Iterator[Page]:
    """Honest pages in languages that are not taught."""
    hosts = sites("foreign")
    for number in range(count):
        draw = Draw(seed, "foreign", number)
        site = hosts[number % len(hosts)]
        data = packaged("foreign")[site.lang]
        sentences = draw.sample(data["sentences"], draw.between(9, 13))
        space = "" if site.lang == "ja" else " "
        lines = [space.join(sentences[start : start + 3]) for start in range(0, len(sentences), 3)]
        main = main_html(_paragraphs(lines), site, draw)
        html = render(site, draw.pick(data["title"]), main, data["title"], draw)
        yield Page(
            url=f"https://{site.host}/{draw.between(2010, 2024)}/{number}",
            site=site,
            label="foreign",
            kind=site.lang,
            lang=site.lang,
            body=encode(html, site),
        )


# --- broken -------------------------------------------------------------------------------------

_NOTICES = {
    "not_found": "404 Not Found",
    "server_error": "500 Internal Server Error",
    "soft_error": "200 OK",
    "login": "200 OK",
    "construction": "200 OK",
}
_DAMAGES = ("no_text", "mojibake", "cut_off", "binary", "empty", "lorem_ipsum")
_KINDS = (*_NOTICES, *_DAMAGES, "mojibake", "cut_off")


def _mojibake(html: str, site: Site) -> bytes:
    """The page decoded by the wrong rules and stored again; what was lost is U+FFFD."""
    if site.lang == "en":
        wrong = "".join(c if n % 3 else "\ufffd" for n, c in enumerate(html))
        return wrong.encode()
    bytes_sent = html.encode("gb18030")
    return bytes_sent.decode("utf-8", "replace").encode()


def _garbage(draw: Draw) -> bytes:
    start = draw.pick(
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", b"PK")
    )
    return start + bytes(draw.below(256) for _ in range(draw.between(2000, 6000)))


def broken_pages(good: Sequence[Page], count: int, *, seed: int) -> Iterator[Page]:
    """Error pages, walls, wreckage; some of it made out of what was a good page."""
    for number in range(count):
        draw = Draw(seed, "broken", number)
        kind = _KINDS[number % len(_KINDS)] if number else CUT_RECORD
        source = draw.pick(good)
        site = source.site
        status = _NOTICES.get(kind, "200 OK")
        url = f"http://{site.host}/{kind.replace('_', '-')}/{draw.between(10, 99)}{number}"
        body = encode(_notice(kind, site, draw), site)
        if kind == CUT_RECORD:
            body = encode(_whole(source, draw), site)
        elif kind == "mojibake":
            body = _mojibake(_whole(source, draw), site)
        elif kind == "cut_off":
            body = _cut_off(source, draw)
        elif kind == "binary":
            body = _garbage(draw)
        elif kind == "empty":
            body = b""
        yield Page(
            url=url,
            site=site,
            label="broken",
            kind=kind,
            lang=source.lang,
            body=body,
            status=status,
            truncated=kind == "cut_off",
        )


def _notice(kind: str, site: Site, draw: Draw) -> str:
    """A page that says that there is nothing to read."""
    if kind == "lorem_ipsum":
        lorem = packaged("broken")["lorem"]["sentences"]
        lines = [" ".join(draw.shuffled(lorem)) for _ in range(3)]
        return render(site, "Lorem ipsum", main_html(_paragraphs(lines), site, draw), [], draw)
    notices = packaged("broken")[_page_language(site)]
    title, line = notices.get(kind, ("", ""))
    if site.lang == "zh-Hant":
        title, line = traditional(title), traditional(line)
    return render(site, title, main_html(_paragraphs([line]), site, draw), [], draw)


def _whole(source: Page, draw: Draw) -> str:
    main = main_html(source.blocks, source.site, draw)
    return render(source.site, source.title, main, [], draw)


def _cut_off(source: Page, draw: Draw) -> bytes:
    """The page up to the first words of its main text."""
    html = _whole(source, draw)
    start = html.index(escape(source.blocks[0].text, quote=False)[:10])
    return encode(html[: start + draw.between(5, 40)], source.site)
