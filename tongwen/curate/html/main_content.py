"""The main content of a page, in English and Chinese, as Markdown.

A page is cut into blocks. Two small forests of trees, trained on pages whose main text people
chose, say how likely each block belongs to it (`features`, `forest`, `training`). The cells of a
table and the lines of a piece of code are kept or dropped together.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tongwen.curate.html import blocks as columns
from tongwen.curate.html.features import FEATURES, SECONDS, Features, judge, survey
from tongwen.curate.html.forest import Forest, read_forests
from tongwen.curate.html.hidden_text import article_of_metadata, templates_as_markup
from tongwen.curate.html.markdown import render
from tongwen.curate.html.page import Block, Page, parse, visible_size

WEIGHTS = Path(__file__).with_name("extractor.weights")
_LEAST_CHANCE, _MOST_CHANCE = 0.2, 0.5
"""Between them a page's threshold is chosen: what is least likely to be content is never kept, and
what is likelier content than not always is."""

_FEW_CHARACTERS = 200
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


def chosen(page: Page, chances: Features) -> npt.NDArray[np.bool_]:
    """Which blocks to keep: those that make the expected F1 of the page's words the largest.

    With chances p and sizes s it is about 2 sum(p s of kept) / (sum(s of kept) + sum(p s of all))
    and largest for a threshold, which is half of it (Lipton et al. 2014, arXiv:1402.1892): where
    little is certain, as on pages of short texts, the threshold is low.
    """
    rows = page.blocks
    if not len(rows):
        return np.zeros(0, np.bool_)
    chances = _together(page, chances)
    sizes = rows[:, columns.SIZE].astype(np.float64)
    order = np.argsort(-chances, kind="stable")
    expected = np.cumsum((chances * sizes)[order])
    f1 = 2 * expected / (np.cumsum(sizes[order]) + expected[-1])
    threshold = chances[order[int(f1.argmax())]]
    kept = chances >= np.clip(threshold, _LEAST_CHANCE, _MOST_CHANCE)
    unlinked = sizes * (1 - rows[:, columns.LINKED_LENGTH] / rows[:, columns.LENGTH])
    if unlinked[kept].sum() < _FEW_CHARACTERS <= unlinked.sum():
        # A page like none seen in training is still not empty.
        kept |= (chances >= chances.max() / 2) & (unlinked > 0)
    return np.asarray(kept)


def _together(page: Page, chances: Features) -> Features:
    """Chances with one for all rows of a table and of a piece of code: their mean by length."""
    rows = page.blocks
    lengths = rows[:, columns.LENGTH].astype(np.float64)
    tables = rows[:, columns.BLOCK_TABLE]
    is_cell = tables >= 0
    if not is_cell.any():
        return chances
    count = len(page.tables)
    is_data = page.tables[:, columns.IS_LAYOUT] == 0
    sums = np.bincount(tables[is_cell], (lengths * chances)[is_cell], count)
    means = sums / np.maximum(np.bincount(tables[is_cell], lengths[is_cell], count), 1)
    is_shared = is_cell & (is_data[tables] | (rows[:, columns.KIND] == columns.CODE_KIND))
    return np.where(is_shared, means[tables], chances).astype(np.float32)


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
