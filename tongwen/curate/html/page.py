"""A page as blocks of text in a tree of elements.

Everything that takes time is compiled and works on arrays: the bytes of the page, a row for each
block element, a row for each block. Time and memory grow with the length of the page and with
nothing else.
"""

import re
from dataclasses import dataclass, field
from html import unescape

import numpy as np
import numpy.typing as npt

from tongwen.curate.html import blocks, tags
from tongwen.curate.html.blocks import STATE, Rows
from tongwen.curate.html.formulas import formulas_as_text
from tongwen.curate.html.names import Integers, names
from tongwen.curate.html.reader import read_page
from tongwen.curate.html.scopes import STACK_COLUMNS
from tongwen.curate.html.tree import ELEMENT_COLUMNS, MAXIMUM_DEPTH, NAME_END, NAME_START

# Bounds the memory and time of a page; `is_cut` says that it was reached.
MAXIMUM_CHARACTERS = 20_000_000
MAXIMUM_ELEMENTS = 200_000  # bounds the arrays of a page of nothing but tags
MAXIMUM_BLOCKS = 400_000  # twice the elements: a block before and one after each

_KINDS = ("text", "heading", "item", "cell", "code")
_LANGUAGE = re.compile(r"(?:language|lang|brush|highlight|src)[-: ]+([A-Za-z][\w+#]*)")
_DOCTYPE = re.compile(r"\s*(?:<!--.*?-->\s*)*<!doctype\s+html([^>]*)>", re.I | re.S)
_OLD_DOCTYPE = re.compile(
    r"-//(?:ietf|w3c)//dtd html (?:2|3|4\.0 (?:transitional|frameset))|"
    r'-//w3c//dtd html 4\.01 (?:transitional|frameset)//en"\s*$',
    re.I,
)
_NOT_HAN = re.compile(r"[^\u3400-\u9fff]+")


@dataclass(slots=True)
class Block:
    """A run of text without a block boundary in it.

    Attributes:
        kind: `text`, `heading`, `item`, `cell` or `code`.
        text: white space collapsed (not in code), line breaks of `<br>` kept.
        size: length of the text, a Chinese character counted as three: about that many Latin
            letters say as much.
        linked: characters that are inside links.
        prefix: Markdown before the text (`## `, `  - `); the language of code.
        table, row, column: place of a cell; table is an index into `Page.tables`, else -1.
    """

    kind: str
    text: str
    size: int
    linked: int
    prefix: str = ""
    table: int = -1
    row: int = -1
    column: int = -1


@dataclass(slots=True)
class Page:
    """A parsed page.

    Attributes:
        title: empty when there is none.
        source: UTF-8 of the page.
        elements, blocks, tables: rows with the columns that `tree` and `blocks` name.
        bits: groups of `class_words` of each element.
        text: UTF-8 of the text of all blocks.
        is_cut: the end is missing because the page exceeded a limit.
    """

    title: str
    source: bytes
    elements: Rows
    blocks: Rows
    tables: Rows
    bits: Integers
    text: bytes = field(repr=False)
    is_cut: bool = False

    def block(self, number: int) -> Block:
        """One block, read."""
        return self._block(self.blocks[number].tolist())

    def chosen(self, is_chosen: npt.NDArray[np.bool_]) -> list[Block]:
        """The blocks whose place in `is_chosen` is true, read."""
        return [self._block(row) for row in self.blocks[is_chosen.nonzero()[0]].tolist()]

    def _block(self, row: list[int]) -> Block:
        kind = row[blocks.KIND]
        return Block(
            kind=_KINDS[kind],
            text=self.text[row[blocks.START] : row[blocks.END]].decode(),
            size=row[blocks.SIZE],
            linked=row[blocks.LINKED_LENGTH],
            prefix=self._prefix(kind, row[blocks.DETAIL], row[blocks.BLOCK_INDENT]),
            table=row[blocks.BLOCK_TABLE],
            row=row[blocks.BLOCK_ROW],
            column=row[blocks.BLOCK_COLUMN],
        )

    def _prefix(self, kind: int, detail: int, indent: int) -> str:
        if kind == blocks.HEADING_KIND:
            return "#" * detail + " "
        if kind == blocks.ITEM_KIND and detail != blocks.NO_PREFIX:
            return "  " * indent + ("- " if detail == blocks.BULLET else f"{detail}. ")
        if kind == blocks.CODE_KIND:
            start, end = self.elements[detail, NAME_START : NAME_END + 1].tolist()
            name = self.source[start:end] if start >= 0 else b""
            match = _LANGUAGE.search(name.decode("utf-8", "replace"))
            return match[1].lower() if match else ""
        return ""


def parse(html: str) -> Page:
    """The blocks of a page. Never raises; takes time in proportion to the length."""
    is_cut = len(html) > MAXIMUM_CHARACTERS
    markup = html[:MAXIMUM_CHARACTERS]
    html = formulas_as_text(markup)
    has_formulas = html != markup
    if "\0" in html:
        html = html.replace("\0", "\ufffd")
    source = html.encode("utf-8", "replace")
    builder = _builder(source)
    builder.state["is_quirks"] = _is_quirks(html)
    builder.state["has_formula"] = has_formulas  # then rendered copies of them are left out
    # A copy: for an array that cannot be written, numba would compile all that reads it again.
    read_page(builder, names(), np.frombuffer(source, np.uint8).copy())
    state = builder.state[0]
    title = ""
    if state["title_start"] >= 0:
        title = source[state["title_start"] : state["title_end"]].decode()
        title = " ".join(unescape(title).split())
    return Page(
        title=title,
        source=source,
        elements=builder.elements[: state["elements"]],
        blocks=builder.blocks[: state["blocks"]],
        tables=builder.tables[: state["tables"]],
        bits=builder.bits[: state["elements"]],
        text=builder.out[: state["place"]].tobytes(),
        is_cut=is_cut or bool(state["is_cut"]),
    )


def _builder(source: bytes) -> blocks.Builder:
    """Arrays as large as the page can need."""
    marks = source.count(b"<") + 2
    elements = min(2 * marks, MAXIMUM_ELEMENTS)  # a cell may bring a row with it
    return blocks.Builder(
        state=np.zeros(1, STATE),
        # Line ends between the tags of code, and the few entities that are longer than their names.
        out=np.empty(len(source) + len(source) // 3 + marks + 64, np.uint8),
        scratch=np.empty(16, np.uint8),
        stack=np.empty((MAXIMUM_DEPTH + 1, STACK_COLUMNS), np.int64),
        keys=np.zeros(MAXIMUM_DEPTH + 1, np.uint64),
        open_counts=np.zeros(tags.TAGS, np.int64),
        spans=np.empty((len(tags.ATTRIBUTES), 2), np.int64),
        elements=np.empty((elements, ELEMENT_COLUMNS), np.int32),
        blocks=np.empty((min(2 * marks, MAXIMUM_BLOCKS), blocks.BLOCK_COLUMNS), np.int32),
        tables=np.empty((elements, blocks.TABLE_COLUMNS), np.int32),
        bits=np.empty(elements, np.int64),
        lists=np.empty(MAXIMUM_DEPTH + 1, np.int64),
    )


def _is_quirks(html: str) -> bool:
    """Whether browsers read the page as one of the nineties: a paragraph may hold a table."""
    match = _DOCTYPE.match(html[:4096])
    return match is None or bool(_OLD_DOCTYPE.search(match[1].strip()))


def visible_size(text: str) -> int:
    """Length of a text with a Chinese character counted as three."""
    if text.isascii():
        return len(text)
    return len(text) + 2 * len(_NOT_HAN.sub("", text))
