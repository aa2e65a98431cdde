"""The sample web: which page is on which host, and the files it is written to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.files import write_bytes, write_jsonl
from tongwen.sample.articles import write_articles
from tongwen.sample.bad import CUT_RECORD, broken_pages, foreign_pages, spam_pages
from tongwen.sample.copies import duplicate_pages
from tongwen.sample.draw import Draw
from tongwen.sample.labels import dialogue_rows, fact_rows, question_rows
from tongwen.sample.layouts import main_html, render
from tongwen.sample.prose import Article, Block
from tongwen.sample.records import gzip_member, response_record, warcinfo_record
from tongwen.sample.settings import SampleWebSettings
from tongwen.sample.sites import LABELS, Page, Site, encode, respond, sites, traditional
from tongwen.sample.talk import greeting_rows, outside_rows
from tongwen.sample.world import World, build_world

SHARES = {
    "en": 0.36,
    "zh-Hans": 0.30,
    "zh-Hant": 0.08,
    "spam": 0.09,
    "duplicate": 0.07,
    "foreign": 0.05,
    "broken": 0.05,
}
"""What the pages are: good ones by language, bad ones by label."""

WARC_FILES = 6  # several, so that tasks read side by side and hosts span no two files
_CONTACT_SHARE = 0.06  # enough personal data to measure how much is hidden
_RELATED_TITLES = 6  # links behind the text, which extraction must leave out

# Layouts whose hosts publish only some genres; all other hosts take anything.
_ONLY = {
    "faq": ("answers",),
    "forum": ("answers", "diary"),
    "shop": ("market",),
    "wiki": ("article", "guide", "school"),
    "glossary": ("answers", "school", "market"),
    "news": ("article", "guide", "diary", "market"),
    "blog": ("article", "guide", "diary", "school"),
}
_PATHS = {
    "news": "/2024/{day:02}/story-{number}.html",
    "blog": "/archives/{number}",
    "soup": "/show.asp?id={number}",
    "tables": "/~home/page{number}.htm",
    "fonts": "/{number}.htm",
    "wiki": "/wiki?curid={number}",
    "glossary": "/lesson/{number}",
    "forum": "/thread-{number}-1-1.html",
    "shop": "/item/{number}?ref=list",
    "faq": "/q/{number}",
    "portal": "/a/2023{day:02}/{number}.shtml",
    "plain": "/{number}.html",
}


def page_url(site: Site, number: int) -> str:
    """Address of the host's `number`-th page."""
    path = _PATHS[site.layout].format(number=1000 + number, day=1 + number % 12)
    scheme = "https" if site.layout in ("news", "wiki", "shop", "faq") else "http"
    return f"{scheme}://{site.host}{path}"


def good_pages(world: World, counts: Mapping[str, int], *, seed: int) -> list[Page]:
    """All pages worth keeping, every article on one host of its language."""
    english = write_articles(world, "en", counts["en"], seed=seed)
    chinese = write_articles(world, "zh", counts["zh-Hans"] + counts["zh-Hant"], seed=seed)
    simplified = chinese[: counts["zh-Hans"]]
    in_traditional = [_in_traditional(each) for each in chinese[counts["zh-Hans"] :]]
    pages: list[Page] = []
    for lang, articles in (("en", english), ("zh-Hans", simplified), ("zh-Hant", in_traditional)):
        hosts = [site for site in sites("content") if site.lang == lang]
        pages += _publish(articles, hosts, lang, seed=seed)
    return pages


def _in_traditional(article: Article) -> Article:
    blocks = tuple(Block(block.kind, traditional(block.text)) for block in article.blocks)
    return replace(article, title=traditional(article.title), blocks=blocks)


def _publish(
    articles: Sequence[Article], hosts: Sequence[Site], lang: str, *, seed: int
) -> Iterator[Page]:
    """Each article on the host that takes its genre and has the fewest pages so far."""
    published = dict.fromkeys((site.host for site in hosts), 0)
    for number, article in enumerate(articles):
        draw = Draw(seed, "page", lang, number)
        takers = [
            site for site in hosts if article.genre in _ONLY.get(site.layout, (article.genre,))
        ]
        site = min(takers, key=lambda each: published[each.host])
        published[site.host] += 1
        blocks = article.blocks
        personal_data: tuple[str, ...] = ()
        if draw.chance(_CONTACT_SHARE):
            line, personal_data = _contact(site, draw)
            blocks += (Block("paragraph", line),)
        related = [each.title for each in draw.sample(articles, _RELATED_TITLES)]
        html = render(site, article.title, main_html(blocks, site, draw), related, draw)
        yield Page(
            url=page_url(site, published[site.host]),
            site=site,
            label="good",
            kind=article.genre,
            lang=lang,
            body=encode(html, site),
            title=article.title,
            blocks=blocks,
            fact_ids=article.fact_ids,
            personal_data=personal_data,
        )


def _contact(site: Site, draw: Draw) -> tuple[str, tuple[str, ...]]:
    """A line with invented personal data, and the data in it. No such number can be called."""
    address = f"{draw.pick(('anna', 'editor', 'lin.hua', 'post.box', 'tomm77'))}@{site.host}"
    if site.lang == "en":
        phone = f"+1 202-555-01{draw.between(10, 99)}"
        return f"If you have a question, write to {address} or call {phone}.", (address, phone)
    phone = f"138-0000-{draw.between(1000, 9999)}"
    line = f"如果有问题，请写信到{address}，或者拨打电话{phone}。"
    return traditional(line) if site.lang == "zh-Hant" else line, (address, phone)


def page_counts(pages: int) -> dict[str, int]:
    """How many pages of each sort a web of `pages` pages has."""
    counts = {name: round(pages * share) for name, share in SHARES.items()}
    counts["en"] += pages - sum(counts.values())
    return counts


def gold_row(page: Page, duplicated: frozenset[str]) -> dict[str, Any]:
    """The labels of a page; title and main text for good pages and their copies."""
    row: dict[str, Any] = {
        "url": page.url,
        "label": page.label,
        "kind": page.kind,
        "lang": page.lang,
        "fact_ids": list(page.fact_ids),
    }
    if page.blocks:
        row |= {"title": page.title, "text": page.text}
    if page.personal_data:
        row["personal_data"] = list(page.personal_data)
    if page.label == "duplicate":
        row |= {"duplicate_of": page.group, "group": page.group}
    elif page.url in duplicated:
        row["group"] = page.url
    return row


def _write_warc(path: Path, pages: Sequence[Page]) -> None:
    """One file; a page that is to be truncated comes last, and most of its record is missing."""
    pages = sorted(pages, key=lambda page: page.kind == CUT_RECORD)
    members = [gzip_member(warcinfo_record(path.name))]
    for seconds, page in enumerate(pages, start=1):
        response = respond(page)
        record = response_record(page.url, response, seconds=seconds, truncated=page.truncated)
        members.append(gzip_member(record))
    if pages and pages[-1].kind == CUT_RECORD:
        # As after a broken download: the file ends in the middle of a gzip member.
        members[-1] = members[-1][: len(members[-1]) // 5]
    write_bytes(path, b"".join(members))


def _write_warcs(pages: Sequence[Page], out: Path, *, seed: int) -> None:
    """One file a group of hosts, the pages of a group in a drawn order."""
    hosts = list(dict.fromkeys(page.site.host for page in pages))
    group_of = {host: number * WARC_FILES // len(hosts) for number, host in enumerate(hosts)}
    for number in range(WARC_FILES):
        chosen = [page for page in pages if group_of[page.site.host] == number]
        ordered = Draw(seed, "warc", number).shuffled(chosen)
        _write_warc(out / f"sample-{number:05}.warc.gz", ordered)


def write_sample_web(settings: SampleWebSettings, out: Path) -> Mapping[str, int]:
    """Write the sample web that `settings` describe; returns the counts.

    `out/warc/` gets WARC/1.0 files, one gzip member a record. `out/gold/` gets `pages.jsonl`
    (labels and main text of every page), `facts.jsonl`, `dialogues.jsonl` (for training), and
    `questions.jsonl`, `outside.jsonl` and `greetings.jsonl` (to be asked).
    Equal settings result in equal bytes.
    """
    seed = settings.seed
    world = build_world(pages=settings.pages, seed=seed)
    counts = page_counts(settings.pages)
    good = good_pages(world, counts, seed=seed)
    copies = list(duplicate_pages(good, counts["duplicate"], seed=seed))
    pages = [
        *good,
        *copies,
        *spam_pages(counts["spam"], seed=seed),
        *foreign_pages(counts["foreign"], seed=seed),
        *broken_pages(good, counts["broken"], seed=seed),
    ]
    _write_warcs(pages, out / "warc", seed=seed)
    duplicated = frozenset(page.group for page in copies)
    gold = out / "gold"
    return {
        "pages": write_jsonl(gold / "pages.jsonl", [gold_row(page, duplicated) for page in pages]),
        "facts": write_jsonl(gold / "facts.jsonl", fact_rows(world)),
        "dialogues": write_jsonl(gold / "dialogues.jsonl", dialogue_rows(world, seed=seed)),
        "questions": write_jsonl(gold / "questions.jsonl", question_rows(world, seed=seed)),
        "outside": write_jsonl(gold / "outside.jsonl", outside_rows()),
        "greetings": write_jsonl(gold / "greetings.jsonl", greeting_rows()),
        **{name: sum(page.label == name for page in pages) for name in LABELS},
    }
