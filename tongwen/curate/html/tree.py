"""The tree of a page, compiled: which element a tag opens and which ones it closes.

A part of the tree construction of the HTML standard (WHATWG, section 13.2.6): all that decides in
which block element a text stands. Inline elements are not in the tree, and what stands in a table
outside of its cells stays in place.
"""

from typing import Any

import numpy as np

from tongwen.curate.html import blocks as text_of
from tongwen.curate.html import names as name_of
from tongwen.curate.html.blocks import add_break, add_line_end, flush
from tongwen.curate.html.names import Bytes
from tongwen.curate.html.priors import prior_of
from tongwen.curate.html.scopes import (
    STACK_COLUMNS,
    STACK_ELEMENT,
    STACK_KIND,
    STACK_TAG,
    WAS_LINK,
    heading_in_scope,
    in_scope,
    in_table_scope,
    is_in_table,
    item_in_scope,
    paragraph_in_scope,
    top,
)
from tongwen.kernels import inner

MAXIMUM_DEPTH = 512
"""Deeper elements are siblings, as in browsers."""

# Columns of an element; `END` is the index behind the last element inside.
PARENT, TAG, PRIOR, IS_HIDDEN, END, NAME_START, NAME_END, ELEMENT_COLUMNS = range(8)
# Elements inside code and dropped ones are in the stack only.
_NO_ELEMENT, _IS_ELEMENT, _IS_DROPPED = range(3)


@inner
def start_tag(page: Any, names: Any, source: Bytes, tag: int, key: Any, is_empty: bool) -> None:
    """Open an element, and close what it closes. `is_empty`: written `<x/>`."""
    state, traits = page.state, names.traits[tag]
    if not _is_kept(page, tag, traits, is_empty):
        return
    if tag == name_of.LINK:
        if not state[text_of.DROPPED]:
            state[text_of.IS_LINK] = 1
    elif tag == name_of.BREAK:
        add_break(page)
    elif tag == name_of.BODY:
        if not state[text_of.IS_BODY_SEEN]:
            state[text_of.IS_BODY_SEEN] = 1
            _describe(page, names, source, 0, tag)
    elif tag == name_of.HTML or tag == name_of.HEAD:
        return
    elif tag == name_of.RULE:
        _close_paragraph(page, names)
        _end_run(page)
    elif traits & name_of.TABLE_PART:
        _start_table_part(page, names, source, tag, key)
    elif is_empty and (tag == name_of.SVG or tag == name_of.MATH):
        return
    elif not traits & (name_of.INLINE | name_of.VOID):
        _start_block(page, names, source, tag, key)


@inner
def _start_block(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    state, traits = page.state, names.traits[tag]
    if tag == name_of.FORM and state[text_of.FORM]:
        return  # no form stands in a form
    if tag == name_of.FORM and is_in_table(page):
        state[text_of.FORM] = MAXIMUM_DEPTH + 1  # it is there, and holds nothing
        return
    if tag == name_of.TABLE and is_in_table(page):
        _pop_through(page, name_of.TABLE)
    if tag == name_of.TABLE and state[text_of.IS_QUIRKS]:
        pass
    elif traits & name_of.CLOSES_PARAGRAPH:
        _close_paragraph(page, names)
    if tag == name_of.ITEM or tag == name_of.TERM or tag == name_of.DEFINITION:
        _close_item(page, names, tag)
        _close_paragraph(page, names)
    elif tag == name_of.BUTTON and in_scope(page, names, tag):
        _pop_through(page, tag)
    elif traits & name_of.HEADING and names.traits[top(page)] & name_of.HEADING:
        _pop(page)
    _push(page, names, source, tag, key)
    if tag == name_of.FORM:
        state[text_of.FORM] = state[text_of.DEPTH]


@inner
def _start_table_part(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    """A row, cell, caption or group of rows; nothing outside of a table."""
    if not in_table_scope(page, name_of.TABLE):
        return
    is_cell = tag == name_of.CELL or tag == name_of.HEAD_CELL
    while top(page) != name_of.TABLE and not (is_cell and top(page) == name_of.ROW):
        _pop(page)
    if is_cell and top(page) == name_of.TABLE:
        _push(page, names, source, name_of.ROW, name_of.ROW_KEY)
    if is_cell or tag == name_of.ROW or tag == name_of.CAPTION:
        _push(page, names, source, tag, key)
    else:
        _end_run(page)


@inner
def end_tag(page: Any, names: Any, tag: int, key: Any) -> None:
    """Close an element, if it is open and nothing stands in the way."""
    state, traits = page.state, names.traits[tag]
    if tag == name_of.LINK:
        if not state[text_of.DROPPED]:
            state[text_of.IS_LINK] = 0
    elif tag == name_of.BREAK:
        add_break(page)
    elif tag == name_of.PARAGRAPH:
        _close_paragraph(page, names)
        _end_run(page)
    elif traits & (name_of.INLINE | name_of.VOID) and not traits & name_of.TABLE_PART:
        return
    elif traits & name_of.HEADING:
        if heading_in_scope(page, names):
            while not names.traits[top(page)] & name_of.HEADING:
                _pop(page)
            _pop(page)
    elif traits & name_of.TABLE_PART and tag not in (
        name_of.ROW,
        name_of.CELL,
        name_of.HEAD_CELL,
        name_of.CAPTION,
    ):
        if in_table_scope(page, name_of.TABLE):
            while top(page) != name_of.TABLE:
                _pop(page)
    elif page.open_counts[tag] == 0:
        if tag == name_of.FORM:
            state[text_of.FORM] = 0
    elif tag == name_of.FORM:
        _end_form(page, names)
    elif tag == name_of.TABLE or traits & name_of.TABLE_PART:
        if in_table_scope(page, tag):
            _pop_through(page, tag)
    elif tag == name_of.TEMPLATE or tag == name_of.SVG or tag == name_of.MATH:
        _pop_through(page, tag)
    elif tag == name_of.ITEM:
        if item_in_scope(page, names):
            _pop_through(page, tag)
    elif traits & name_of.SCOPED:
        if in_scope(page, names, tag):
            _pop_through(page, tag)
    else:
        _end_other(page, names, key)


@inner
def _end_other(page: Any, names: Any, key: Any) -> None:
    """An element of no special meaning ends, unless one with a meaning stands above it."""
    depth = page.state[text_of.DEPTH]
    while depth > 1:
        depth -= 1
        if page.keys[depth] == key:
            while page.state[text_of.DEPTH] > depth:
                _pop(page)
            return
        if names.traits[page.stack[depth, STACK_TAG]] & name_of.SPECIAL:
            return


@inner
def _end_form(page: Any, names: Any) -> None:
    """A form ends; what is still open in it stays open."""
    state = page.state
    place = state[text_of.FORM] - 1
    state[text_of.FORM] = 0
    if place >= state[text_of.DEPTH] or not in_scope(page, names, name_of.FORM):
        return
    if page.stack[place, STACK_TAG] != name_of.FORM:
        return
    while state[text_of.DEPTH] > place + 1 and _is_implied(top(page)):
        _pop(page)
    if state[text_of.DEPTH] == place + 1:
        _pop(page)
        return
    _end_run(page)
    page.open_counts[name_of.FORM] -= 1
    for depth in range(place, state[text_of.DEPTH] - 1):
        for column in range(STACK_COLUMNS):
            page.stack[depth, column] = page.stack[depth + 1, column]
        page.keys[depth] = page.keys[depth + 1]
    state[text_of.DEPTH] -= 1


@inner
def _push(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    """Put an element on the stack; it is in the tree unless it stands in code or is dropped."""
    state, traits = page.state, names.traits[tag]
    if state[text_of.DEPTH] >= MAXIMUM_DEPTH:
        _pop(page)
    kind = _IS_ELEMENT
    if traits & name_of.DROPPED or tag == name_of.FOREIGN_OBJECT:
        kind = _IS_DROPPED
        state[text_of.DROPPED] += 1
    elif state[text_of.DROPPED] or (state[text_of.CODES] and tag != name_of.CODE):
        kind = _NO_ELEMENT
        _end_run(page)
    else:
        _end_run(page, tag == name_of.CODE)
    depth = state[text_of.DEPTH]
    element = page.stack[depth - 1, STACK_ELEMENT]
    if kind == _IS_ELEMENT:
        if state[text_of.ELEMENTS] >= len(page.elements):
            state[text_of.IS_CUT] = 1
            return
        page.elements[state[text_of.ELEMENTS], PARENT] = element
        element = state[text_of.ELEMENTS]
        state[text_of.ELEMENTS] += 1
        _describe(page, names, source, element, tag)
    page.stack[depth, STACK_ELEMENT], page.stack[depth, STACK_TAG] = element, tag
    page.stack[depth, STACK_KIND], page.stack[depth, WAS_LINK] = kind, state[text_of.IS_LINK]
    page.keys[depth] = key
    page.open_counts[tag] += 1
    state[text_of.DEPTH] = depth + 1
    if kind == _IS_ELEMENT:
        _enter(page, names, tag, element)


@inner
def _describe(page: Any, names: Any, source: Bytes, number: int, tag: int) -> None:
    """Fill in what a tag and its attributes say of an element."""
    element, spans = page.elements[number], page.spans
    element[TAG], element[END] = tag, number + 1
    element[PRIOR] = prior_of(source, names.traits[tag], spans, names.words)
    element[NAME_START], element[NAME_END] = spans[name_of.CLASS, 0], spans[name_of.CLASS, 1]
    start, end = spans[name_of.ARIA_HIDDEN, 0], spans[name_of.ARIA_HIDDEN, 1]
    is_hidden = spans[name_of.HIDDEN, 0] >= 0
    is_hidden |= start >= 0 and end - start == 4 and source[start] == 116  # "true"
    start, end = spans[name_of.STYLE, 0], spans[name_of.STYLE, 1]
    if not is_hidden and start >= 0:
        is_hidden = _says(source, start, end, _DISPLAY, _NONE) or _says(
            source, start, end, _VISIBILITY, _HIDDEN
        )
    element[IS_HIDDEN] = is_hidden


@inner
def _says(source: Bytes, start: int, end: int, name: Bytes, value: Bytes) -> Any:
    """Whether a style has `name: value`."""
    for position in range(start, end - len(name) - len(value)):
        if not _stands_at(source, position, end, name):
            continue
        place = position + len(name)
        while place < end and source[place] <= 32:
            place += 1
        if place >= end or source[place] != 58:
            continue
        place += 1
        while place < end and source[place] <= 32:
            place += 1
        if _stands_at(source, place, end, value):
            return True
    return False


@inner
def _stands_at(source: Bytes, position: int, end: int, word: Bytes) -> Any:
    if position + len(word) > end:
        return False
    for offset in range(len(word)):  # noqa: SIM110 (compiled: no generators)
        if source[position + offset] | 32 != word[offset]:
            return False
    return True


_DISPLAY, _NONE, _VISIBILITY, _HIDDEN = (
    np.frombuffer(word, np.uint8).copy() for word in (b"display", b"none", b"visibility", b"hidden")
)


@inner
def _enter(page: Any, names: Any, tag: int, element: int) -> None:
    """Take note of a list, item, table, row, cell, code or heading that begins."""
    state = page.state
    if tag == name_of.BULLETED or tag == name_of.NUMBERED:
        page.lists[state[text_of.LISTS]] = 0 if tag == name_of.NUMBERED else -1
        state[text_of.LISTS] += 1
    elif tag == name_of.ITEM:
        depth = state[text_of.LISTS]
        state[text_of.PREFIX] = -1
        state[text_of.INDENT] = max(0, min(depth - 1, text_of.MAXIMUM_INDENT))
        if depth and page.lists[depth - 1] >= 0:
            page.lists[depth - 1] += 1
            state[text_of.PREFIX] = page.lists[depth - 1]
    elif tag == name_of.TABLE:
        outer = state[text_of.OPEN_TABLE]
        if outer >= 0:
            page.tables[outer, text_of.IS_LAYOUT] = 1
        table = state[text_of.TABLES]
        page.tables[table, text_of.OUTER] = outer
        page.tables[table, text_of.IS_LAYOUT] = 0
        page.tables[table, text_of.ROW_NUMBER] = -1
        page.tables[table, text_of.COLUMN_NUMBER] = -1
        state[text_of.OPEN_TABLE] = table
        state[text_of.TABLES] += 1
    elif tag == name_of.CODE:
        state[text_of.CODES] += 1
        state[text_of.CODE_ELEMENT] = element
    elif names.traits[tag] & name_of.HEADING:
        state[text_of.HEADING] = tag - name_of.HEADING_1 + 1
    elif state[text_of.OPEN_TABLE] >= 0:
        table = state[text_of.OPEN_TABLE]
        if tag == name_of.ROW:
            page.tables[table, text_of.ROW_NUMBER] += 1
            page.tables[table, text_of.COLUMN_NUMBER] = -1
        elif tag == name_of.CELL or tag == name_of.HEAD_CELL:
            page.tables[table, text_of.COLUMN_NUMBER] += 1


@inner
def _pop(page: Any) -> None:
    """Close the innermost element."""
    state = page.state
    depth = state[text_of.DEPTH] - 1
    if depth < 1:
        return
    tag, kind = page.stack[depth, STACK_TAG], page.stack[depth, STACK_KIND]
    if kind != _IS_DROPPED:
        _end_run(page, kind == _IS_ELEMENT)
    state[text_of.DEPTH] = depth
    page.open_counts[tag] -= 1
    if tag == name_of.CELL or tag == name_of.HEAD_CELL or tag == name_of.CAPTION:
        state[text_of.IS_LINK] = page.stack[depth, WAS_LINK]
    if tag == name_of.FORM and state[text_of.FORM] == depth + 1:
        state[text_of.FORM] = 0
    if kind == _IS_DROPPED:
        state[text_of.DROPPED] -= 1
    if kind != _IS_ELEMENT:
        return
    if tag == name_of.BULLETED or tag == name_of.NUMBERED:
        state[text_of.LISTS] -= 1
    elif tag == name_of.ITEM:
        state[text_of.PREFIX] = -2
    elif tag == name_of.TABLE:
        state[text_of.OPEN_TABLE] = page.tables[state[text_of.OPEN_TABLE], text_of.OUTER]
    elif tag == name_of.CODE:
        state[text_of.CODES] -= 1
    elif name_of.HEADING_1 <= tag < name_of.HEADING_1 + 6:
        state[text_of.HEADING] = 0


@inner
def _end_run(page: Any, ends_code: bool = False) -> None:
    """A block ends, or a line where the text is code."""
    state = page.state
    if state[text_of.DROPPED]:
        return
    if state[text_of.CODES] and not ends_code:
        place = state[text_of.PLACE]
        if place > state[text_of.FIRST] and page.out[place - 1] != 10:
            add_line_end(page)
            state[text_of.SPACE] = 1
    else:
        flush(page)


@inner
def _pop_through(page: Any, tag: int) -> None:
    """Close everything up to and with the innermost element of a tag."""
    while page.state[text_of.DEPTH] > 1:
        is_last = top(page) == tag
        _pop(page)
        if is_last:
            return


@inner
def _is_implied(tag: int) -> Any:
    return tag in (name_of.PARAGRAPH, name_of.ITEM, name_of.DEFINITION, name_of.TERM)


@inner
def _close_paragraph(page: Any, names: Any) -> None:
    if paragraph_in_scope(page, names):
        _pop_through(page, name_of.PARAGRAPH)


@inner
def _close_item(page: Any, names: Any, tag: int) -> None:
    """An item, or a term or definition, ends the one before it in the same list."""
    for depth in range(page.state[text_of.DEPTH] - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        is_other = found in (name_of.TERM, name_of.DEFINITION) and tag != name_of.ITEM
        if found == tag or is_other:
            while page.state[text_of.DEPTH] > depth:
                _pop(page)
            return
        is_plain = found in (name_of.DIVISION, name_of.ADDRESS, name_of.PARAGRAPH)
        if names.traits[found] & name_of.SPECIAL and not is_plain:
            return


@inner
def _is_kept(page: Any, tag: int, traits: int, is_empty: bool) -> Any:
    """Whether a start tag counts where the place is in a drawing, a formula or a choice."""
    found = top(page)
    if found == name_of.SVG or found == name_of.MATH:
        if traits & name_of.LEAVES_FOREIGN:
            while top(page) == name_of.SVG or top(page) == name_of.MATH:
                _pop(page)
            return True
        is_drawing = tag in (name_of.SVG, name_of.MATH, name_of.FOREIGN_OBJECT)
        return is_drawing and not is_empty
    if found == name_of.SELECT:
        if tag == name_of.SCRIPT or tag == name_of.TEMPLATE:
            return True
        is_end = tag in (name_of.SELECT, name_of.INPUT, name_of.TEXTAREA, name_of.KEYGEN)
        is_end |= tag == name_of.TABLE or traits & name_of.TABLE_PART != 0
        if is_end:
            _pop(page)
        return is_end and tag != name_of.SELECT
    return True
