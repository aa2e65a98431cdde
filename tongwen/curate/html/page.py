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

from tongwen.curate.html import blocks as text_of
from tongwen.curate.html import names as name_of
from tongwen.curate.html.names import names
from tongwen.curate.html.reader import read_page
from tongwen.curate.html.scopes import STACK_COLUMNS
from tongwen.curate.html.tree import ELEMENT_COLUMNS, MAXIMUM_DEPTH, NAME_END, NAME_START

MAXIMUM_CHARACTERS = 20_000_000
MAXIMUM_ELEMENTS = 200_000
MAXIMUM_BLOCKS = 400_000

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
        elements, blocks, tables: rows as described in `html_tree` and `html_text`.
        text: UTF-8 of the text of all blocks.
        is_cut: the end is missing because the page exceeded a limit.
    """

    title: str
    source: bytes
    elements: text_of.Rows
    blocks: text_of.Rows
    tables: text_of.Rows
    text: bytes = field(repr=False)
    is_cut: bool = False

    def block(self, number: int) -> Block:
        """One block, read."""
        return self._block(self.blocks[number].tolist())

    def chosen(self, is_chosen: npt.NDArray[np.int8]) -> list[Block]:
        """The blocks whose place in `is_chosen` is not zero, read."""
        return [self._block(row) for row in self.blocks[is_chosen.nonzero()[0]].tolist()]

    def _block(self, row: list[int]) -> Block:
        kind = row[text_of.KIND]
        return Block(
            kind=_KINDS[kind],
            text=self.text[row[text_of.START] : row[text_of.END]].decode(),
            size=row[text_of.SIZE],
            linked=row[text_of.LINKED_LENGTH],
            prefix=self._prefix(kind, row[text_of.DETAIL], row[text_of.BLOCK_INDENT]),
            table=row[text_of.BLOCK_TABLE],
            row=row[text_of.BLOCK_ROW],
            column=row[text_of.BLOCK_COLUMN],
        )

    def _prefix(self, kind: int, detail: int, indent: int) -> str:
        if kind == text_of.HEADING_KIND:
            return "#" * detail + " "
        if kind == text_of.ITEM_KIND and detail >= -1:
            return "  " * indent + ("- " if detail < 0 else f"{detail}. ")
        if kind == text_of.CODE_KIND:
            start, end = self.elements[detail, NAME_START : NAME_END + 1].tolist()
            name = self.source[start:end] if start >= 0 else b""
            match = _LANGUAGE.search(name.decode("utf-8", "replace"))
            return match[1].lower() if match else ""
        return ""


def parse(html: str) -> Page:
    """The blocks of a page. Never raises; takes time in proportion to the length."""
    is_cut = len(html) > MAXIMUM_CHARACTERS
    html = html[:MAXIMUM_CHARACTERS]
    if "\0" in html:
        html = html.replace("\0", "\ufffd")
    source = html.encode("utf-8", "replace")
    builder = _builder(source)
    builder.state[text_of.IS_QUIRKS] = _is_quirks(html)
    read_page(builder, names(), np.frombuffer(source, np.uint8))
    state = builder.state.tolist()
    title = ""
    if state[text_of.TITLE_START] >= 0:
        title = source[state[text_of.TITLE_START] : state[text_of.TITLE_END]].decode()
        title = " ".join(unescape(title).split())
    return Page(
        title=title,
        source=source,
        elements=builder.elements[: state[text_of.ELEMENTS]],
        blocks=builder.blocks[: state[text_of.BLOCKS]],
        tables=builder.tables[: state[text_of.TABLES]],
        text=builder.out[: state[text_of.PLACE]].tobytes(),
        is_cut=is_cut or bool(state[text_of.IS_CUT]),
    )


def _builder(source: bytes) -> text_of.Builder:
    """Arrays as large as the page can need."""
    tags = source.count(b"<") + 2
    elements = min(2 * tags, MAXIMUM_ELEMENTS)  # a cell may bring a row with it
    return text_of.Builder(
        state=np.zeros(text_of.NUMBERS, np.int64),
        # Line ends between the tags of code, and the few entities that are longer than their names.
        out=np.empty(len(source) + len(source) // 3 + tags + 64, np.uint8),
        scratch=np.empty(16, np.uint8),
        stack=np.empty((MAXIMUM_DEPTH + 1, STACK_COLUMNS), np.int64),
        keys=np.zeros(MAXIMUM_DEPTH + 1, np.uint64),
        open_counts=np.zeros(name_of.LINK + 1, np.int64),
        spans=np.empty((len(name_of.ATTRIBUTES), 2), np.int64),
        elements=np.empty((elements, ELEMENT_COLUMNS), np.int32),
        blocks=np.empty((min(2 * tags, MAXIMUM_BLOCKS), text_of.BLOCK_COLUMNS), np.int32),
        tables=np.empty((elements, text_of.TABLE_COLUMNS), np.int32),
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
