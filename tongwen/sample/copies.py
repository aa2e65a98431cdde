"""Copies of good pages: mirrors, print versions, and copies with a few words changed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tongwen.sample.draw import Draw
from tongwen.sample.layouts import main_html, render
from tongwen.sample.packaged import packaged
from tongwen.sample.prose import Block
from tongwen.sample.sites import Page, Site, encode, sites, traditional

KINDS = ("mirror", "near_duplicate", "mirror", "near_duplicate", "print_version")
_COPIED_AGAIN_SHARE = 0.25  # so that there are clusters of three
_MOST_CHANGES = 2  # keeps an edited copy above the threshold of near-duplicates

_HEADERS = {"en": "{title} (updated)", "zh": "【转载】{title}"}
_EXCHANGED_SLOTS = ("food", "thing", "sky")
"""Only words that carry no fact are exchanged: a copy never contradicts the world."""


def duplicate_pages(good: Sequence[Page], count: int, *, seed: int) -> Iterator[Page]:
    """Copies on other hosts or under another address; a few originals are copied twice."""
    originals = Draw(seed, "originals").sample(good, count)
    for number in range(count):
        draw = Draw(seed, "copy", number)
        again = number > 0 and draw.chance(_COPIED_AGAIN_SHARE)
        original = originals[number - 1 if again else number]
        kind = KINDS[number % len(KINDS)]
        site, url = original.site, f"{original.url}{'&' if '?' in original.url else '?'}print=1"
        if kind == "print_version":
            site = replace(site, layout="plain")
        else:
            site = _another_host(original, draw)
            url = f"http://{site.host}/copy/{draw.between(100, 999)}/{number}.html"
        title, blocks = original.title, original.blocks
        if kind == "near_duplicate":
            title, blocks = _edited(original, draw)
        html = render(site, title, main_html(blocks, site, draw), [], draw)
        yield Page(
            url=url,
            site=site,
            label="duplicate",
            kind=kind,
            lang=original.lang,
            body=encode(html, site),
            title=title,
            blocks=blocks,
            fact_ids=original.fact_ids,
            personal_data=original.personal_data,
            group=original.url,
        )


def _another_host(original: Page, draw: Draw) -> Site:
    """A mirror of the page's language or, without one, another honest host of it."""
    others = [site for site in sites("mirror") if site.lang == original.lang]
    if not others or draw.chance(0.3):
        hosts = [site for site in sites("content") if site.lang == original.lang]
        others = [site for site in hosts if site.layout not in (original.site.layout, "forum")]
    return draw.pick(others)


def _edited(original: Page, draw: Draw) -> tuple[str, tuple[Block, ...]]:
    """Another header, and up to two phrases exchanged for others of their kind."""
    language = "en" if original.lang == "en" else "zh"
    slots = packaged(f"prose_{language}")["slots"]
    header = _HEADERS[language]
    exchanges: list[tuple[str, str]] = []
    for slot in _EXCHANGED_SLOTS:
        phrases = slots[slot]
        if original.lang == "zh-Hant":
            header, phrases = traditional(header), [traditional(phrase) for phrase in phrases]
        found = [phrase for phrase in phrases if phrase in original.text]
        fresh = [phrase for phrase in phrases if phrase not in original.text]
        exchanges += zip(draw.sample(found, 1), draw.sample(fresh, 1), strict=False)
    blocks = original.blocks
    for old, new in draw.sample(exchanges, _MOST_CHANGES):
        blocks = tuple(Block(block.kind, block.text.replace(old, new)) for block in blocks)
    return header.format(title=original.title), blocks
