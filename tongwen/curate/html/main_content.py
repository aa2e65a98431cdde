"""The main content of a page, in English and Chinese, as Markdown.

Blocks of prose (long, ended by punctuation, with few links) have mass. The content is the
deepest element that holds most of the mass; what calls itself something else, lists of links
and headings with nothing below are left out of it. The ideas are those of text-density and
link-density extractors (Kohlschütter et al. 2010, doi:10.1145/1718487.1718542); length counts
characters, a Chinese one as three, so that no word has to be found.
"""

import re
from dataclasses import dataclass

from tongwen.curate.html.blocks import LENGTH
from tongwen.curate.html.content import Thresholds, content_blocks
from tongwen.curate.html.formulas import formulas_as_text
from tongwen.curate.html.markdown import render
from tongwen.curate.html.names import names
from tongwen.curate.html.page import Block, Page, parse, visible_size

_LONG_SIZE = 200
THRESHOLDS = Thresholds()
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
        text: paragraphs separated by one empty line; headings, lists, tables and code as Markdown,
            formulas as TeX between dollar signs.
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


def extract(html: str, thresholds: Thresholds = THRESHOLDS) -> Extracted:
    """The main content of an HTML page. Never raises; a page without content gives empty text."""
    return extracted(parse(formulas_as_text(html)), thresholds)


def extracted(page: Page, thresholds: Thresholds = THRESHOLDS) -> Extracted:
    """The main content of a parsed page."""
    chosen = content_blocks(names().traits, page.elements, page.blocks, thresholds)
    blocks = page.chosen(chosen)
    blocks = [block for block in blocks if not _is_boilerplate_text(block)]
    blocks = _without_empty_sections(blocks, page.title)
    characters = sum(len(block.text) for block in blocks)
    linked = sum(block.linked for block in blocks)
    return Extracted(
        title=page.title,
        text=render(page, blocks),
        link_density=linked / characters if characters else 0.0,
        page_characters=int(page.blocks[:, LENGTH].sum()),
        is_cut=page.is_cut,
    )


def _is_boilerplate_text(block: Block) -> bool:
    return (
        block.kind in ("text", "item")
        and block.size < _LONG_SIZE
        and bool(_BOILERPLATE_TEXT.match(block.text))
    )


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
