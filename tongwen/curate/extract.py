"""The main content of a page, in English and Chinese, as Markdown.

Blocks of prose (long, ended by punctuation, with few links) have mass. The content is the
deepest element that holds most of the mass; what calls itself something else, lists of links
and headings with nothing below are left out of it. The ideas are those of text-density and
link-density extractors (Kohlschütter et al. 2010, doi:10.1145/1718487.1718542); length counts
characters, a Chinese one as three, so that no word has to be found.
"""

import re
from dataclasses import dataclass

from tongwen.curate.html import Block, Page, parse, visible_size
from tongwen.curate.markdown import render

_PUNCTUATION = re.compile(r"[,.;!?，。；！？、](?:\s|$|(?<=[，。；！？、]))")
_CONTAINERS_NAMES = """
body div section article main td tr table center form dl dd blockquote font
"""
_CONTAINERS = frozenset(_CONTAINERS_NAMES.split())
_PARTS_OF_TEXT_NAMES = "p li ul ol dl dt dd blockquote pre h1 h2 h3 h4 h5 h6 figure figcaption"
_PARTS_OF_TEXT = frozenset(_PARTS_OF_TEXT_NAMES.split()) | {"table", "tr", "td", "th", "summary"}
_PROSE_SIZE = 80
_LONG_SIZE = 200
_CONTAINER_SHARE = 0.75
_NAMED_CONTAINER_SHARE = 0.5
_INNER_SHARE = 0.9
_HOME_SHARE = 0.2
_ONE_PLACE_SHARE = 0.9
_SHORT_WEIGHT = 0.2
_ITEM_WEIGHT = 0.5
_LONELY_MASS = 500.0
_BOILERPLATE_SHARE = 0.5
_FOREIGN_SHARE = 0.85
_LINK_LIST_SHARE = 0.6
_BOILERPLATE_TEXT = re.compile(
    r"^(上一篇|下一篇|上一页|下一页|返回|相关(文章|阅读|推荐)|版权(所有|声明)|本文链接|转载请|责任编辑|"
    r"作者[:：]|来源[:：]|标签[:：]|分类[:：]|分享|点赞|收藏|阅读全文|展开|扫一扫|copyright|©|"
    r"all rights reserved|share (this|on)|related|read (more|next)|previous|next( post)?$|tags?:|"
    r"posted (by|on|in)|filed under|leave a (comment|reply)|advertisement|sign up|subscribe|"
    r"follow us|comments?( \(\d+\))?$|permalink|print$|e-?mail$)",
    re.I,
)


@dataclass(frozen=True)
class Extracted:
    """What a page says, without what surrounds it.

    Attributes:
        title: of the page; empty when it has none.
        text: paragraphs separated by one empty line; headings, lists, tables and code as Markdown.
        link_density: share of the text's characters that were inside links.
        page_characters: visible characters of the whole page, boilerplate included.
        is_cut: the page exceeded a limit (20 million characters, 200,000 block elements), and
            what lies behind was not read.
    """

    title: str
    text: str
    link_density: float
    page_characters: int
    is_cut: bool = False


def extract(html: str) -> Extracted:
    """The main content of an HTML page. Never raises; a page without content gives empty text."""
    page = parse(html)
    homes = _homes(page)
    masses = _masses(page, homes)
    left_out = _left_out(page, masses)
    container = _container(page, masses, left_out)
    blocks = _content_blocks(page, masses, homes, container, left_out)
    blocks = _without_empty_sections(blocks, page.title)
    characters = sum(len(block.text) for block in blocks)
    linked = sum(len(block.text) * block.linked for block in blocks)
    return Extracted(
        title=page.title,
        text=render(page, blocks),
        link_density=linked / characters if characters else 0.0,
        page_characters=sum(len(block.text) for block in page.blocks),
        is_cut=page.is_cut,
    )


def _is_prose(block: Block) -> bool:
    if block.kind == "code":
        return True
    if block.linked > 0.5:
        return False
    if block.size >= _LONG_SIZE:
        return True
    return block.size >= _PROSE_SIZE and bool(_PUNCTUATION.search(block.text))


def _masses(page: Page, homes: list[int]) -> list[float]:
    """How much each block speaks for being main content.

    A paragraph among many weighs more than one that stands alone, as teasers of other pages do.
    """
    masses = []
    home_masses = [0.0] * len(page.elements)
    for block in page.blocks:
        mass = block.size * (1 - block.linked) ** 2
        if not _is_prose(block):
            mass *= _SHORT_WEIGHT
        elif block.kind == "item":
            mass *= _ITEM_WEIGHT
        masses.append(mass)
        home_masses[homes[block.element]] += mass
    return [
        mass * home / (home + _LONELY_MASS)
        for mass, home in (
            (mass, home_masses[homes[block.element]])
            for block, mass in zip(page.blocks, masses, strict=True)
        )
    ]


def _sums(page: Page, values: list[float]) -> list[float]:
    """For each element the sum of the values of all blocks in it."""
    sums = [0.0] * len(page.elements)
    for block, value in zip(page.blocks, values, strict=True):
        sums[block.element] += value
    for index in range(len(sums) - 1, 0, -1):
        sums[page.elements[index].parent] += sums[index]
    return sums


def _left_out(page: Page, masses: list[float]) -> list[bool]:
    """Which elements are boilerplate by name or hidden, unless they hold most of the mass."""
    sums = _sums(page, masses)
    left_out = [False] * len(page.elements)
    for index, element in enumerate(page.elements):
        if index and left_out[element.parent]:
            left_out[index] = True
        elif element.is_hidden or element.prior < 0:
            share = _FOREIGN_SHARE if element.prior == -2 else _BOILERPLATE_SHARE
            left_out[index] = sums[index] < share * sums[0]
    return left_out


def _container(page: Page, masses: list[float], left_out: list[bool]) -> int:
    """The deepest element with most of the mass; 0 (the body) when it is spread."""
    kept = [
        0.0 if left_out[block.element] else mass
        for block, mass in zip(page.blocks, masses, strict=True)
    ]
    sums = _sums(page, kept)
    if not sums or not sums[0]:
        return 0
    best, needed = 0, _CONTAINER_SHARE * sums[0]
    for index in range(1, len(sums)):
        element = page.elements[index]
        inside = best == 0 or index < page.elements[best].end
        if not inside or element.tag not in _CONTAINERS:
            continue
        is_named = element.prior > 0
        wanted = needed if not is_named else min(needed, _NAMED_CONTAINER_SHARE * sums[0])
        if page.elements[best].prior > 0:
            wanted = _INNER_SHARE * sums[best]
        if sums[index] >= wanted:
            best = index
    return best


def _homes(page: Page) -> list[int]:
    """For each element the nearest one around it (or itself) that is no part of running text."""
    homes: list[int] = []
    for index, element in enumerate(page.elements):
        is_part = index > 0 and element.tag in _PARTS_OF_TEXT
        homes.append(homes[element.parent] if is_part else index)
    return homes


def _content_blocks(
    page: Page, masses: list[float], homes: list[int], container: int, out: list[bool]
) -> list[Block]:
    """Blocks of the container, without those left out.

    Where much of the prose stands side by side, short and linked texts belong to it. Elsewhere
    lists of links go, and so do the short texts before the first and after the last prose.
    """
    if not page.elements:
        return []
    end = page.elements[container].end
    inside = [
        (block, mass)
        for block, mass in zip(page.blocks, masses, strict=True)
        if container <= block.element < end and not out[block.element]
    ]
    home_masses: dict[int, float] = {}
    for block, mass in inside:
        home = homes[block.element]
        home_masses[home] = home_masses.get(home, 0.0) + mass
    total = sum(home_masses.values())
    main_homes = {home for home, mass in home_masses.items() if mass >= _HOME_SHARE * total}
    is_in_one_place = sum(home_masses[home] for home in main_homes) >= _ONE_PLACE_SHARE * total
    sections = _sections([block for block, _ in inside], homes)
    is_link_list = _link_lists(page, container, end)
    prose = [n for n, (block, _) in enumerate(inside) if _is_prose(block)]
    if not prose:
        return []
    kept = []
    for n, (block, _) in enumerate(inside):
        if homes[block.element] in main_homes:
            if not _is_boilerplate_text(block):
                kept.append(block)
        elif is_link_list[block.element - container]:
            continue
        elif (
            is_in_one_place
            and block.kind in ("text", "item")
            and homes[block.element] not in sections
        ):
            continue  # captions, boxes and teasers between the paragraphs
        elif prose[0] <= n <= prose[-1] and _is_kept(block):
            kept.append(block)
    return kept


def _sections(blocks: list[Block], homes: list[int]) -> set[int]:
    """Homes with a heading of their own and no link at all: short answers, not teasers."""
    headed = {homes[block.element] for block in blocks if block.kind == "heading"}
    return headed - {homes[block.element] for block in blocks if block.linked}


def _link_lists(page: Page, container: int, end: int) -> list[bool]:
    """For each element from `container` to `end` whether it is inside a list of links."""
    characters = _sums(page, [float(len(block.text)) for block in page.blocks])
    linked = _sums(page, [len(block.text) * block.linked for block in page.blocks])
    counts = _sums(page, [1.0] * len(page.blocks))
    found = [False]
    for index in range(container + 1, end):
        parent = page.elements[index].parent
        is_list = (
            linked[index] > _LINK_LIST_SHARE * characters[index]
            and characters[index] < _LONG_SIZE * counts[index]
        )
        found.append(found[parent - container] or is_list)
    return found


def _is_boilerplate_text(block: Block) -> bool:
    return (
        block.kind in ("text", "item")
        and block.size < _LONG_SIZE
        and bool(_BOILERPLATE_TEXT.search(block.text))
    )


def _is_kept(block: Block) -> bool:
    if block.linked > 0.8 and block.size < _LONG_SIZE and block.kind == "text":
        return False
    return not _is_boilerplate_text(block)


def _without_empty_sections(blocks: list[Block], title: str) -> list[Block]:
    """Without headings that have nothing below, and without the page's title at the top."""
    kept: list[Block] = []
    for block in reversed(blocks):
        if block.kind == "heading" and (
            not kept or (kept[-1].kind == "heading" and len(kept[-1].prefix) <= len(block.prefix))
        ):
            continue
        kept.append(block)
    if kept and kept[-1].kind == "heading" and kept[-1].text in title:
        kept.pop()
    return kept[::-1]


__all__ = ["Extracted", "extract", "visible_size"]
