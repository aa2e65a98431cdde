"""The main content of a page, in English and Chinese, as Markdown.

A page is cut into blocks. Two small forests of trees, trained on pages whose main text people
chose, say how likely each block belongs to it (`features`, `forest`, `training`). The cells of a
table and the lines of a piece of code are kept or dropped together.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.html import blocks as columns
from tongwen.curate.html.features import FEATURES, LONG_SIZE, SECONDS, Features, judge, survey
from tongwen.curate.html.forest import Forest, read_forests
from tongwen.curate.html.hidden_text import article_of_metadata, templates_as_markup
from tongwen.curate.html.markdown import LONGEST_CELL, render
from tongwen.curate.html.page import Block, Page, parse, visible_size
from tongwen.curate.html.tree import END, IS_HIDDEN, PARENT

Truths = npt.NDArray[np.bool_]
WEIGHTS = Path(__file__).with_name("extractor.weights")
# Chosen on three quarters of the hosts of the gold sets (`bench/extraction.py`, 2026-11).
_LEAST_CHANCE, _MOST_CHANCE = 0.2, 0.5
"""Between them a page's threshold is chosen."""
_HIDDEN_CHANCE = 0.5  # least one of hidden text: folded answers are content, stuffed words are not
_ARTICLE_CHANCE = 0.6  # least one on a page of running text, where teasers look like it
_ARTICLE_SHARE = 0.8  # of what is kept in long texts, on such a page
_LEAST_BETWEEN = 0.1  # least one of a table or code between two kept blocks
_MOST_SPREAD = 0.6  # of the chances in a table of data
_FEW_CHARACTERS = 200  # less than two sentences: look elsewhere before the page counts as empty
_RELATED = re.compile(
    r"\s*(?:related|recommended|you (?:may|might)|more (?:from|on|in|stories|posts)|"
    r"read (?:next|more)|(?:latest|recent|popular) (?:posts|news|stories|articles)|相关|相關|推荐|"
    r"猜你喜欢|延伸阅读|热门|最新(?:文章|发布)|近期文章|你可能|您可能)",
    re.IGNORECASE,
)
_EDIT = re.compile(
    r"\s*[\[［【]\s*(?:edit|编辑|編輯|源代码|edit source|\||\s)+\s*[\]］】]\s*$", re.I
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


@cache
def forests() -> tuple[Forest, ...]:
    """The trees that this package ships."""
    return read_forests(WEIGHTS, FEATURES + SECONDS)


def extract(html: str, trees: tuple[Forest, ...] | None = None) -> Extracted:
    """The main content of an HTML page. Never raises; a page without content gives empty text.

    `trees` are other ones than those shipped, two.
    """
    found = extracted(parse(html), trees)
    if len(found.text) >= _FEW_CHARACTERS:
        return found
    # Pages that a script builds have their text in templates, or in what they tell search engines.
    for markup in (templates_as_markup(html), article_of_metadata(html)):
        if markup:
            other = extracted(parse(markup), trees)
            if len(other.text) > max(2 * len(found.text), _FEW_CHARACTERS // 2):
                found = Extracted(
                    found.title or other.title, other.text, other.link_density,
                    other.page_characters, found.is_cut or other.is_cut,
                )  # fmt: skip
    return found


def extracted(page: Page, trees: tuple[Forest, ...] | None = None) -> Extracted:
    """The main content of a parsed page."""
    first, second = trees or forests()
    chances = judge(survey(page), first, second)
    blocks = page.chosen(chosen(page, chances))
    for block in blocks:
        if block.kind == "heading":
            block.text = _EDIT.sub("", block.text)
    blocks = _without_empty_sections([block for block in blocks if block.text], page.title)
    characters = sum(len(block.text) for block in blocks)
    linked = sum(block.linked for block in blocks)
    return Extracted(
        title=page.title,
        text=render(page, blocks),
        link_density=linked / characters if characters else 0.0,
        page_characters=int(page.blocks[:, columns.LENGTH].sum()),
        is_cut=page.is_cut,
    )


def chosen(page: Page, chances: Features) -> Truths:
    """Which blocks to keep: those that make the expected F1 of the page's words the largest.

    With chances p and sizes s it is about 2 sum(p s of kept) / (sum(s of kept) + sum(p s of all))
    and largest for a threshold, which is half of it (Lipton et al. 2014, arXiv:1402.1892): where
    little is certain, as on pages of short texts, the threshold is low.
    """
    rows = page.blocks
    if not len(rows):
        return np.zeros(0, np.bool_)
    is_hidden = _hidden(page) & (chances < _HIDDEN_CHANCE)
    chances, is_unit = _together(page, np.where(is_hidden, 0, chances).astype(np.float32))
    sizes = rows[:, columns.SIZE].astype(np.float64)
    order = np.argsort(-chances, kind="stable")
    expected = np.cumsum((chances * sizes)[order])
    f1 = 2 * expected / (np.cumsum(sizes[order]) + expected[-1])
    threshold = chances[order[int(f1.argmax())]]
    kept = chances >= np.clip(threshold, _LEAST_CHANCE, _MOST_CHANCE)
    if sizes[kept & _long(page)].sum() >= _ARTICLE_SHARE * sizes[kept].sum():
        kept &= chances >= _ARTICLE_CHANCE
    unlinked = sizes * (1 - rows[:, columns.LINKED_LENGTH] / rows[:, columns.LENGTH])
    if unlinked[kept].sum() < _FEW_CHARACTERS <= unlinked.sum():
        # A page like none seen in training is still not empty.
        kept |= (chances >= chances.max() / 2) & (unlinked > 0)
    _keep_between(kept, is_unit, chances)
    _drop_teasers(page, kept)
    return np.asarray(kept)


def _keep_between(kept: Truths, is_unit: Truths, chances: Features) -> None:
    """Keep tables of data and code between two kept blocks: the prose around speaks of them."""
    missing = is_unit & ~kept
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    for first, behind in edges.reshape(-1, 2).tolist():
        is_between = first > 0 and behind < len(kept) and kept[first - 1] and kept[behind]
        if is_between and chances[first:behind].mean() >= _LEAST_BETWEEN:
            kept[first:behind] = True


def _drop_teasers(page: Page, kept: Truths) -> None:
    """Drop sections that only lead elsewhere: links under "Related", headings that are links."""
    rows, elements = page.blocks, page.elements
    sizes, lengths, linked = (
        rows[:, column] for column in (columns.SIZE, columns.LENGTH, columns.LINKED_LENGTH)
    )
    is_article = sizes[kept & _long(page)].sum() >= _ARTICLE_SHARE * sizes[kept].sum()
    is_heading = rows[:, columns.KIND] == columns.HEADING_KIND
    is_link = is_heading & (linked >= 0.9 * lengths)
    for place in np.flatnonzero(is_heading & (kept | (is_link & is_article))).tolist():
        parent = max(int(elements[rows[place, columns.ELEMENT], PARENT]), 0)
        behind = place + 1
        while behind < len(rows) and not is_heading[behind]:
            if not parent <= rows[behind, columns.ELEMENT] < elements[parent, END]:
                break
            behind += 1
        inside = slice(place + 1, behind)
        only_links = behind > place + 1 and linked[inside].sum() >= 0.8 * lengths[inside].sum()
        if (only_links and _RELATED.match(page.block(place).text)) or (
            is_article and is_link[place] and sizes[inside].sum() < LONG_SIZE
        ):
            kept[place:behind] = False


def _long(page: Page) -> Truths:
    """Which blocks are long texts outside of links."""
    rows = page.blocks
    is_free = 2 * rows[:, columns.LINKED_LENGTH] <= rows[:, columns.LENGTH]
    return np.asarray((rows[:, columns.SIZE] >= LONG_SIZE) & is_free)


def _hidden(page: Page) -> Truths:
    """Which blocks are in an element that is not shown."""
    is_hidden = page.elements[:, IS_HIDDEN] > 0
    for element in np.flatnonzero(is_hidden).tolist():  # parents come before what is in them
        is_hidden[element : page.elements[element, END]] = True
    return is_hidden[page.blocks[:, columns.ELEMENT]]


def _together(page: Page, chances: Features) -> tuple[Features, Truths]:
    """Chances with one for all cells of a table of data, their mean by length.

    And whether each block is of such a table, or code.
    """
    rows, count = page.blocks, len(page.tables)
    in_table = np.flatnonzero(rows[:, columns.BLOCK_TABLE] >= 0)
    is_unit = rows[:, columns.KIND] == columns.CODE_KIND
    if not len(in_table):
        return chances, is_unit
    cells = rows[in_table].astype(np.int64)
    tables, lengths = cells[:, columns.BLOCK_TABLE], cells[:, columns.LENGTH].astype(np.float64)

    def summed(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(tables, values, count).astype(np.float64)

    place = columns.BLOCK_TABLE, columns.BLOCK_ROW, columns.BLOCK_COLUMN
    distinct = np.unique(cells[:, place], axis=0)
    # Where cells hold several blocks, links, long texts or things that have nothing to do with one
    # another, the table only lays out the page.
    is_data = page.tables[:, columns.IS_LAYOUT] == 0
    is_data &= summed(np.ones(len(cells))) <= 1.2 * np.bincount(distinct[:, 0], minlength=count)
    is_data &= summed(cells[:, columns.LINKED_LENGTH]) < 0.5 * summed(lengths)
    is_data &= summed(lengths > LONGEST_CELL) == 0
    highest, lowest = np.zeros(count), np.ones(count)
    np.maximum.at(highest, tables, chances[in_table])
    np.minimum.at(lowest, tables, chances[in_table])
    is_data &= highest - lowest < _MOST_SPREAD
    is_code = page.tables[:, columns.IS_LAYOUT] > 0
    is_code &= summed(cells[:, columns.KIND] != columns.CODE_KIND) == 0
    means = summed(lengths * chances[in_table]) / np.maximum(summed(lengths), 1)
    shared = chances.copy()
    shared[in_table] = np.where((is_data | is_code)[tables], means[tables], chances[in_table])
    is_unit[in_table] |= is_data[tables]
    return shared, is_unit


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
