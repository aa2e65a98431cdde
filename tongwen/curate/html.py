"""A page as blocks of text in a tree of elements.

The parser is lexbor (through selectolax); its well-formed output is read once, token by token.
That is twice as fast as walking its tree from Python, needs no recursion, and every limit is
in one place.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from tongwen.curate.priors import prior_of

MAXIMUM_CHARACTERS = 20_000_000
_MAXIMUM_DEPTH = 400  # browsers stop at 512; the parser's time grows with the square
_MAXIMUM_UNCLOSED = 2_000  # `<br>` and `<img>` counted with the others
_MAXIMUM_ELEMENTS = 200_000

_DROPPED_NAMES = """
script style noscript template svg math iframe object embed applet canvas audio video map
textarea select button input datalist noembed noframes xmp plaintext dialog
"""
_DROPPED = _DROPPED_NAMES.split()
_INLINE_NAMES = """
abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark nobr q rp
rt ruby s samp small span strike strong sub sup time tt u var wbr tbody thead tfoot colgroup col
picture source
"""
_INLINE = frozenset(_INLINE_NAMES.split())
_STRUCTURAL = frozenset({"ul", "ol", "li", "table", "tr", "td", "th", "pre"}) | {
    f"h{level}" for level in range(1, 7)
}
_VOID_NAMES = """
area base br col embed hr img input link meta source track wbr param frame
"""
_VOID = frozenset(_VOID_NAMES.split())
# White space before a tag that ends the line anyway is read with the tag before it.
_TOKEN = re.compile(
    r"""<(/?)([a-zA-Z][^\s>/]*)([^>"]*(?:"[^"]*"[^>"]*)*)>(?:\s+(?=</?(?:div|p|li|ul|t[dr])[\s>]))?"""
    r"""|<!--.*?-->|([^<]+)""",
    re.S,
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_LONG_TAG = 4_000
_CROWDED_TAG = re.compile(rf"<([a-zA-Z][a-zA-Z0-9-]*)([^<>]{{{_LONG_TAG},}})")
_MAXIMUM_ATTRIBUTES = 400
_ATTRIBUTE = re.compile(r'\s(class|id|role|itemprop|style|hidden|aria-hidden)="([^"]*)"')
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_LANGUAGE = re.compile(r"(?:language|lang|brush|highlight|src)[-: ]+([A-Za-z][\w+#]*)")
# A line break of the source between two Chinese characters is no space.
_WIDE = "\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_WIDE_BREAK = re.compile(rf"(?<=[{_WIDE}])\s*\n\s*(?=[{_WIDE}])")
_NOT_HAN = re.compile(r"[^\u3400-\u9fff]+")
_LINE_BREAK = "\v"


@dataclass(slots=True)
class Element:
    """A block element. Elements are in document order; the first is the body.

    Attributes:
        parent: index of the parent; -1 for the body.
        tag: lower case.
        prior: what tag, class and id promise, see `prior_of`.
        is_hidden: taken out of sight by an attribute.
        end: index behind the last element inside.
    """

    parent: int
    tag: str
    prior: int
    is_hidden: bool
    end: int = 0


@dataclass(slots=True)
class Block:
    """A run of text without a block boundary in it.

    Attributes:
        element: index of the element it stands in.
        kind: `text`, `heading`, `item`, `cell` or `code`.
        text: white space collapsed (not in code), line breaks of `<br>` kept.
        size: length of the text, a Chinese character counted as three: about that many Latin
            letters say as much.
        linked: share of the text that is inside links, 0 to 1.
        prefix: Markdown before the text (`## `, `  - `); the language of code.
        table, row, column: place of a cell; table is an index into `Page.tables`, else -1.
    """

    element: int
    kind: str
    text: str
    size: int
    linked: float
    prefix: str = ""
    table: int = -1
    row: int = -1
    column: int = -1


@dataclass(slots=True)
class Table:
    """A table; `is_layout` when cells hold more than short texts."""

    element: int
    is_layout: bool = False
    row: int = -1
    column: int = -1


@dataclass(slots=True)
class Page:
    """A parsed page. `is_cut`: the end is missing because the page exceeded a limit."""

    title: str = ""
    elements: list[Element] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    is_cut: bool = False


def parse(html: str) -> Page:
    """The blocks of a page. Never raises; takes time in proportion to the length."""
    page = Page(is_cut=len(html) > MAXIMUM_CHARACTERS)
    # The parser takes no lone surrogates and stops at a zero character.
    html = _flatten(html[:MAXIMUM_CHARACTERS].replace("\0", "\ufffd"))
    try:
        tree = LexborHTMLParser(html.encode("utf-8", "replace"))
        title = tree.css_first("title")
        page.title = " ".join(title.text().split()) if title is not None else ""
        tree.strip_tags(_DROPPED)
        body = tree.body
        source = (body.html or "") if body is not None else ""
    except SelectolaxError:
        source = ""
    _Reader(page).read(source)
    return page


def _flatten(html: str) -> str:
    """Leave out what would take the parser a time that grows with the square of it.

    These are the attributes of a tag with hundreds of them, and tags nested deeper than any page
    needs; all text stays.
    """

    def thin(match: re.Match[str]) -> str:
        return match[0] if match[2].count("=") < _MAXIMUM_ATTRIBUTES else f"<{match[1]}"

    if _has_long_tag(html):
        html = _CROWDED_TAG.sub(thin, html)
    if html.count("<") - 2 * html.count("</") < _MAXIMUM_UNCLOSED:
        return html
    depth = 0

    def keep(match: re.Match[str]) -> str:
        nonlocal depth
        name = match[2].lower()
        if name in _VOID:
            return match[0]
        if match[1]:
            depth = max(0, depth - 1)
            return match[0] if depth < _MAXIMUM_DEPTH else "</span"
        depth += 1
        if name in ("p", "li", "td", "tr", "option", "dt", "dd", "th"):
            depth -= 1  # these close one another when their end tags are left out
            return match[0]
        return match[0] if depth <= _MAXIMUM_DEPTH else "<br"

    return _TAG.sub(keep, html)


def _has_long_tag(html: str) -> bool:
    """Whether a tag of `_LONG_TAG` characters may be there: looks at every so many only."""
    step = _LONG_TAG // 2
    was_run = False
    for start in range(0, len(html), step):
        end = start + step
        is_run = html.find("<", start, end) < 0 and html.find(">", start, end) < 0
        if is_run and not was_run:
            opened = html.rfind("<", 0, start)
            if html.rfind(">", 0, start) < opened and html[opened + 1].isalpha():
                return True
        was_run = is_run
    return False


def visible_size(text: str) -> int:
    """Length of a text with a Chinese character counted as three."""
    if text.isascii():
        return len(text)
    return len(text) + 2 * len(_NOT_HAN.sub("", text))


@lru_cache(maxsize=8192)
def _traits(tag: str, attributes: str) -> tuple[int, bool]:
    """Prior and hiddenness of an element; pages repeat the same few tags."""
    values = dict(_ATTRIBUTE.findall(attributes))
    is_hidden = (
        "hidden" in values
        or values.get("aria-hidden") == "true"
        or bool(_HIDDEN.search(values.get("style", "")))
    )
    return prior_of(tag, values), is_hidden


class _Reader:
    """Turns the tokens of a well-formed page into elements and blocks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pieces: list[str] = []
        self.links: list[tuple[int, int]] = []  # ranges of pieces that are inside a link
        self.link_start = -1
        self.stack: list[int] = []
        self.tables: list[int] = []
        self.lists: list[int] = []  # item number in each open list; -1 in a bulleted one
        self.prefix = ""
        self.heading = 0
        self.code_depth = 0
        self.language = ""

    def read(self, source: str) -> None:
        """Read the whole source."""
        pieces = self.pieces
        for match in _TOKEN.finditer(source):
            end, tag, attributes, text = match.groups("")
            if text:
                if pieces or not text.isspace():
                    pieces.append(text)
            elif tag in _INLINE:
                continue
            elif tag == "a":
                self._link(end)
            elif tag == "br":
                pieces.append("\n" if self.code_depth else _LINE_BREAK)
            elif tag == "hr":
                self._flush()
            elif not tag or tag in _VOID:
                continue
            elif self.code_depth and tag != "pre":
                if pieces and not pieces[-1].endswith("\n"):
                    pieces.append("\n")
            elif end:
                self._close(tag)
            elif len(self.page.elements) >= _MAXIMUM_ELEMENTS:
                self.page.is_cut = True
                break
            else:
                self._open(tag, attributes)
        self._flush()
        while self.stack:
            self.page.elements[self.stack.pop()].end = len(self.page.elements)

    def _link(self, end: str) -> None:
        if not end:
            self.link_start = len(self.pieces)
        elif self.link_start >= 0:
            self.links.append((self.link_start, len(self.pieces)))
            self.link_start = -1

    def _open(self, tag: str, attributes: str) -> None:
        if self.pieces:
            self._flush()
        elements, stack = self.page.elements, self.stack
        parent = stack[-1] if stack else -1
        prior, is_hidden = _traits(tag, attributes if len(attributes) < 2000 else "")
        stack.append(len(elements))
        elements.append(Element(parent, tag, prior, is_hidden))
        if tag in _STRUCTURAL:
            self._enter(tag, attributes)

    def _enter(self, tag: str, attributes: str) -> None:
        """Take note of a list, item, table, row, cell, code or heading that begins."""
        if tag in ("ul", "ol"):
            self.lists.append(0 if tag == "ol" else -1)
        elif tag == "li":
            self.prefix = self._item_prefix()
        elif tag == "table":
            self._mark_layout()
            self.tables.append(len(self.page.tables))
            self.page.tables.append(Table(self.stack[-1]))
        elif tag == "pre":
            self.code_depth += 1
            match = _LANGUAGE.search(attributes)
            self.language = match[1].lower() if match else ""
        elif tag[0] == "h":
            self.heading = int(tag[1:])
        elif self.tables:
            table = self.page.tables[self.tables[-1]]
            if tag == "tr":
                table.row, table.column = table.row + 1, -1
            else:
                table.column += 1

    def _close(self, tag: str) -> None:
        if self.pieces:
            self._flush()
        elements, stack = self.page.elements, self.stack
        if not stack or elements[stack[-1]].tag != tag:
            return  # beside the body; the parser's output is balanced otherwise
        elements[stack.pop()].end = len(elements)
        if tag not in _STRUCTURAL:
            return
        if tag in ("ul", "ol"):
            self.lists.pop()
        elif tag == "li":
            self.prefix = ""
        elif tag == "table":
            self.tables.pop()
        elif tag == "pre":
            self.code_depth -= 1
        elif tag[0] == "h":
            self.heading = 0

    def _item_prefix(self) -> str:
        if not self.lists:
            return "- "
        indent = "  " * min(len(self.lists) - 1, 8)
        if self.lists[-1] < 0:
            return f"{indent}- "
        self.lists[-1] += 1
        return f"{indent}{self.lists[-1]}. "

    def _mark_layout(self) -> None:
        if self.tables:
            self.page.tables[self.tables[-1]].is_layout = True

    def _flush(self) -> None:
        """End the block in hand."""
        if not self.pieces:
            return
        text = "".join(self.pieces)
        if self.link_start >= 0:
            self.links.append((self.link_start, len(self.pieces)))
            self.link_start = 0
        inside = 0
        for start, end in self.links:
            inside += len("".join(self.pieces[start:end]).strip())
        self.pieces.clear()
        self.links.clear()
        if "&" in text:
            text = unescape(text)
        text = _code_text(text) if self.code_depth else _line_text(text)
        if not text:
            return
        linked = min(1.0, inside / len(text))
        block = Block(
            self.stack[-1] if self.stack else -1, "text", text, visible_size(text), linked
        )
        self._describe(block)
        if block.element >= 0:
            self.page.blocks.append(block)

    def _describe(self, block: Block) -> None:
        """Kind, prefix and place of a new block."""
        if self.code_depth:
            block.kind, block.prefix = "code", self.language
            self._mark_layout()
        elif self.heading:
            block.kind, block.prefix = "heading", "#" * self.heading + " "
            self._mark_layout()
        elif self.lists:
            block.kind, block.prefix, self.prefix = "item", self.prefix, ""
            self._mark_layout()
        elif self.tables:
            table = self.page.tables[self.tables[-1]]
            block.kind, block.table = "cell", self.tables[-1]
            block.row, block.column = table.row, table.column


def _line_text(text: str) -> str:
    """White space collapsed; one line for each line break of the page."""
    if "\n" in text and not text.isascii():
        text = _WIDE_BREAK.sub("", text)
    if _LINE_BREAK not in text:
        return " ".join(text.split())
    lines = (" ".join(line.split()) for line in text.split(_LINE_BREAK))
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def _code_text(text: str) -> str:
    lines = [line.rstrip() for line in text.replace("\xa0", " ").split("\n")]
    return "\n".join(lines).strip("\n")
