"""Blocks of a page as Markdown: headings, lists, tables, fenced code, paragraphs."""

from dataclasses import replace
from itertools import groupby, pairwise

from tongwen.curate.html.blocks import IS_LAYOUT
from tongwen.curate.html.page import Block, Page

LONGEST_CELL = 300
"""Characters; a table with a longer one only lays out the page."""


def render(page: Page, blocks: list[Block]) -> str:
    """The text of `blocks`; paragraphs and sections are separated by one empty line."""
    parts: list[str] = []
    for (table, kind), group in groupby(blocks, key=lambda block: (block.table, _shape(block))):
        members = list(group)
        if kind == "code" and table >= 0:
            parts.append(_plain(_joined(members)))
        elif table >= 0:
            parts += _table(page, table, members)
        elif kind == "item":
            parts.append("\n".join(_item(block) for block in members))
        else:
            parts += [_plain(block) for block in members]
    return "\n\n".join(parts)


def _shape(block: Block) -> str:
    return block.kind if block.kind in ("item", "code") else ""


def _joined(lines: list[Block]) -> Block:
    """Rows of a table that numbers the lines of code, as one piece of code; some rows are empty."""
    text = lines[0].text
    for before, line in pairwise(lines):
        text += "\n" * max(1, line.row - before.row) + line.text
    return replace(lines[0], text=text)


def _plain(block: Block) -> str:
    if block.kind == "code":
        fence = "```"
        while fence in block.text:
            fence += "`"
        return f"{fence}{block.prefix}\n{block.text}\n{fence}"
    if block.kind == "heading":
        return block.prefix + " ".join(block.text.split())
    return block.text


def _item(block: Block) -> str:
    return block.prefix + block.text.replace("\n\n", "\n")


def _table(page: Page, table: int, blocks: list[Block]) -> list[str]:
    """One Markdown table, or a paragraph for each cell of a table that only lays out the page."""
    rows: dict[int, dict[int, str]] = {}
    for block in blocks:
        cells = rows.setdefault(block.row, {})
        text = " ".join(block.text.split())
        cells[block.column] = f"{cells[block.column]} {text}" if block.column in cells else text
    width = 1 + max(column for cells in rows.values() for column in cells)
    longest = max(len(text) for cells in rows.values() for text in cells.values())
    is_data = (
        not page.tables[table, IS_LAYOUT]
        and len(rows) > 1
        and 1 < width <= 50
        and longest <= LONGEST_CELL
        and sum(len(cells) for cells in rows.values()) * 2 > len(rows) * width
    )
    if not is_data:
        return [block.text for block in blocks]
    lines = [
        "| " + " | ".join(cells.get(n, "").replace("|", "\\|") for n in range(width)) + " |"
        for cells in rows.values()
    ]
    lines.insert(1, "|" + " --- |" * width)
    return ["\n".join(lines)]
