"""The text of a Word file (.docx): paragraphs, tables, text boxes and notes, in their order.

Read from the elements that python-docx parses: its own `text` leaves out what was inserted with
changes tracked, content controls, footnotes and text boxes. Names of elements are those of
ECMA-376, part 1, section 17.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tongwen.formats.readers.table import table_text

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEFT_OUT = frozenset(
    {
        f"{_W}del",
        f"{_W}moveFrom",
        f"{_W}pPr",
        f"{_W}rt",  # how a character is pronounced, set above it
        f"{_W}txbxContent",
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    }
)
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_SIGNS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_NOTE_MARKS = (f"{_W}footnoteReference", f"{_W}endnoteReference")
_NOTES = {"footnotes": f"{_W}footnote", "endnotes": f"{_W}endnote"}
_DEEPEST = 100


def word_blocks(path: Path) -> Iterator[str]:
    """Headings with `#`, list items with `-`, tables as rows of cells, notes at the end as
    `[^1]: ...`. Headers, footers, comments and deleted text are left out.
    """
    import docx
    from docx.oxml import parse_xml

    document = docx.Document(str(path))
    marks = {style.style_id: _mark(style.name or "") for style in document.styles}
    yield from _blocks(document.element.body, marks)
    for relation in document.part.rels.values():
        tag = _NOTES.get(relation.reltype.rpartition("/")[2])
        if tag is None or relation.is_external:
            continue
        for note in parse_xml(relation.target_part.blob).iter(tag):
            text = " ".join(block.strip() for block in _blocks(note, {}))
            if text:
                yield f"[^{note.get(f'{_W}id')}]: {text}"


def _mark(style: str) -> str:
    if style.startswith("Heading ") and style[8:].isdigit():
        return "#" * min(6, int(style[8:])) + " "
    return "# " if style == "Title" else "- " if style.startswith("List") else ""


def _blocks(parent: Any, marks: dict[str, str], depth: int = 0) -> Iterator[str]:
    """The paragraphs and tables below an element, whatever they are wrapped in."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for child in parent.iterchildren("*"):
        if child.tag == f"{_W}p":
            yield from _paragraph(child, marks, depth)
        elif child.tag == f"{_W}tbl":
            yield table_text(_rows(child, depth))
        elif child.tag not in _LEFT_OUT:
            yield from _blocks(child, marks, depth + 1)


def _paragraph(paragraph: Any, marks: dict[str, str], depth: int) -> Iterator[str]:
    text = "".join(_text(paragraph, depth))
    if text.strip():
        properties = paragraph.find(f"{_W}pPr")
        yield _paragraph_mark(properties, marks) + text
    for box in _boxes(paragraph, depth):
        yield from _blocks(box, marks, depth + 1)


def _paragraph_mark(properties: Any, marks: dict[str, str]) -> str:
    if properties is None:
        return ""
    style = properties.find(f"{_W}pStyle")
    mark = marks.get(style.get(f"{_W}val"), "") if style is not None else ""
    is_listed = properties.find(f"{_W}numPr") is not None
    return mark or ("- " if is_listed else "")


def _text(parent: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for child in parent.iterchildren("*"):
        if child.tag in (f"{_W}t", _MATH_TEXT):
            yield child.text or ""
        elif child.tag in _SIGNS:
            yield _SIGNS[child.tag]
        elif child.tag in _NOTE_MARKS:
            yield f"[^{child.get(f'{_W}id')}]"
        elif child.tag not in _LEFT_OUT:
            yield from _text(child, depth + 1)


def _boxes(parent: Any, depth: int) -> Iterator[Any]:
    """Text boxes in a paragraph; the form that old programs read repeats them and is left out."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for child in parent.iterchildren("*"):
        if child.tag == f"{_W}txbxContent":
            yield child
        elif child.tag not in _LEFT_OUT:
            yield from _boxes(child, depth + 1)


def _rows(table: Any, depth: int) -> Iterator[list[str]]:
    """The cells of each row; one that spans several columns comes once."""
    for row in _within(table, f"{_W}tr", depth):
        yield [" ".join(_blocks(cell, {}, depth + 1)) for cell in _within(row, f"{_W}tc", depth)]


def _within(parent: Any, tag: str, depth: int) -> Iterator[Any]:
    """The nearest elements of a tag, whatever they are wrapped in."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for child in parent.iterchildren("*"):
        if child.tag == tag:
            yield child
        elif child.tag not in _LEFT_OUT:
            yield from _within(child, tag, depth + 1)
