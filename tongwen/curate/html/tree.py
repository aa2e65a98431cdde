"""The tree of a page, compiled: which element a tag opens and which ones it closes.

A part of the tree construction of the HTML standard (WHATWG, section 13.2.6): all that decides in
which block element a text stands. Inline elements are not in the tree, and what stands in a table
outside of its cells stays in place.
"""

from typing import Any

import numpy as np

from tongwen.curate.html import blocks, tags
from tongwen.curate.html.attributes import is_hidden, name_bits, number_at
from tongwen.curate.html.blocks import add_break, add_line_end, flush, take_back_sign
from tongwen.curate.html.class_words import (
    CODE_NAME,
    FORMULA,
    GUTTER,
    LINE_NUMBERS,
    PERMALINK,
    RENDERED_FORMULA,
)
from tongwen.curate.html.names import ROW_KEY, Bytes
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
from tongwen.kernels import ZERO, inner

MAXIMUM_DEPTH = 512
"""Deeper elements are siblings, as in browsers."""

# Columns of an element; `END` is the index behind the last element inside.
PARENT, TAG, IS_HIDDEN, END, NAME_START, NAME_END, ELEMENT_COLUMNS = range(7)
# Elements inside code and dropped ones are in the stack only.
_NO_ELEMENT, _IS_ELEMENT, _IS_DROPPED = range(3)


@inner
def start_tag(page: Any, names: Any, source: Bytes, tag: int, key: Any, is_empty: bool) -> None:
    """Open an element, and close what it closes. `is_empty`: written `<x/>`."""
    state, traits, spans = page.state[0], names.traits[tag], page.spans
    if not _is_kept(page, tag, traits, is_empty):
        return
    is_inline = traits & (tags.INLINE | tags.TRANSPARENT) and not traits & tags.VOID
    if is_inline and not is_empty and _start_skip(page, names, source, tag, key):
        return
    # Insertion mode "in body" (13.2.6.4.7), unless a helper names another one.
    if tag == tags.LINK:
        if not state.dropped:
            state.is_link = 1
            state.links += 1
            state.link_place, state.link_characters = state.place, state.characters
    elif tag == tags.BREAK:
        add_break(page)
    elif tag == tags.BODY:
        if not state.is_body_seen:
            state.is_body_seen = 1
            _describe(
                page,
                source,
                ZERO,
                tag,
                name_bits(source, spans[tags.CLASS, 0], spans[tags.CLASS, 1], names.words),
            )
    elif tag == tags.HTML or tag == tags.HEAD:
        return
    elif tag == tags.RULE:
        _close_paragraph(page, names)
        _end_run(page, False)
    elif traits & tags.TABLE_PART:
        _start_table_part(page, names, source, tag, key)
    elif is_empty and (tag == tags.SVG or tag == tags.MATH or tag == tags.OTHER):
        return
    elif tag == tags.OTHER:
        _push(page, names, source, tag, key)
    elif tag == tags.BUTTON and state.heading:
        # The button of an accordion is its heading; one behind a heading's text is not.
        if state.place > state.first and not state.dropped:
            start_skip(page, key)
    elif tag == tags.INLINE_CODE and state.codes:
        _name_code(page)
    elif not traits & (tags.INLINE | tags.VOID):
        _start_block(page, names, source, tag, key)


@inner
def _start_block(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    state, traits = page.state[0], names.traits[tag]
    if tag == tags.FORM and state.form:
        return  # the standard's form element pointer: forms do not nest
    if tag == tags.FORM and is_in_table(page):
        state.form = MAXIMUM_DEPTH + 1  # it is there, and holds nothing
        return
    if tag == tags.TABLE and is_in_table(page):
        _pop_through(page, tags.TABLE)
    if tag == tags.TABLE and state.is_quirks:
        pass
    elif traits & tags.CLOSES_PARAGRAPH:
        _close_paragraph(page, names)
    if tag == tags.ITEM or tag == tags.TERM or tag == tags.DEFINITION:
        _close_item(page, names, tag)
        _close_paragraph(page, names)
    elif tag == tags.BUTTON and in_scope(page, names, tag):
        _pop_through(page, tag)
    elif traits & tags.HEADING and names.traits[top(page)] & tags.HEADING:
        _pop(page)
    _push(page, names, source, tag, key)
    if tag == tags.FORM:
        state.form = state.depth


@inner
def _start_table_part(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    """A row, cell, caption or group of rows; nothing outside of a table.

    Insertion modes "in table", "in table body" and "in row" (13.2.6.4.9, .13, .14); groups of rows
    are no elements here, for nothing depends on them.
    """
    if not in_table_scope(page, tags.TABLE):
        return
    is_cell = tag == tags.CELL or tag == tags.HEAD_CELL
    while top(page) != tags.TABLE and not (is_cell and top(page) == tags.ROW):
        _pop(page)
    if is_cell and top(page) == tags.TABLE:
        _push(page, names, source, tags.ROW, ROW_KEY)
    if is_cell or tag == tags.ROW or tag == tags.CAPTION:
        _push(page, names, source, tag, key)
    else:
        _end_run(page, False)


@inner
def end_tag(page: Any, names: Any, tag: int, key: Any) -> None:
    """Close an element, if it is open and no scope boundary comes before it."""
    state, traits = page.state[0], names.traits[tag]
    if state.skip_count and (key == np.uint64(state.skip_key) or tag == tags.RUBY):
        state.skip_count -= 1
        if state.skip_count == 0 or tag == tags.RUBY:
            end_skip(page)
        return
    if tag == tags.LINK:
        if not state.dropped:
            if state.is_link and state.heading:
                take_back_sign(page)
            state.is_link = 0
    elif tag == tags.BREAK:
        add_break(page)
    elif tag == tags.PARAGRAPH:
        _close_paragraph(page, names)
        _end_run(page, False)
    elif traits & (tags.INLINE | tags.VOID) and not traits & tags.TABLE_PART:
        return
    elif traits & tags.HEADING:
        if heading_in_scope(page, names):
            while not names.traits[top(page)] & tags.HEADING:
                _pop(page)
            _pop(page)
    elif traits & tags.TABLE_PART and tag not in (
        tags.ROW,
        tags.CELL,
        tags.HEAD_CELL,
        tags.CAPTION,
    ):
        if in_table_scope(page, tags.TABLE):
            while top(page) != tags.TABLE:
                _pop(page)
    elif page.open_counts[tag] == 0:
        if tag == tags.FORM:
            state.form = 0
    elif tag == tags.FORM:
        _end_form(page, names)
    elif tag == tags.TABLE or traits & tags.TABLE_PART:
        if in_table_scope(page, tag):
            _pop_through(page, tag)
    elif tag == tags.TEMPLATE or tag == tags.SVG or tag == tags.MATH:
        _pop_through(page, tag)
    elif tag == tags.ITEM:
        if item_in_scope(page, names):
            _pop_through(page, tag)
    elif traits & tags.SCOPED:
        if in_scope(page, names, tag):
            _pop_through(page, tag)
    else:
        _end_other(page, names, key)


@inner
def _end_other(page: Any, names: Any, key: Any) -> None:
    """An element of no special meaning ends, unless one with a meaning is open inside it.

    "Any other end tag" of the mode "in body"; names are compared as hashes, for the element may be
    one that HTML does not know.
    """
    depth = page.state[0].depth
    while depth > 1:
        depth -= 1
        if page.keys[depth] == key:
            while page.state[0].depth > depth:
                _pop(page)
            return
        if names.traits[page.stack[depth, STACK_TAG]] & tags.SPECIAL:
            return


@inner
def _end_form(page: Any, names: Any) -> None:
    """A form ends; what is still open in it stays open.

    Forms are opened in one cell and closed in another on many old pages: the element leaves the
    stack and those above it move down, as the standard asks.
    """
    state = page.state[0]
    place = state.form - 1
    state.form = 0
    if place >= state.depth or not in_scope(page, names, tags.FORM):
        return
    if page.stack[place, STACK_TAG] != tags.FORM:
        return
    while state.depth > place + 1 and _is_implied(top(page)):
        _pop(page)
    if state.depth == place + 1:
        _pop(page)
        return
    _end_run(page, False)
    page.open_counts[tags.FORM] -= 1
    for depth in range(place, state.depth - 1):
        for column in range(STACK_COLUMNS):
            page.stack[depth, column] = page.stack[depth + 1, column]
        page.keys[depth] = page.keys[depth + 1]
    state.depth -= 1


@inner
def _push(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> None:
    """Push an element on the stack; it joins the tree unless it is inside code or dropped."""
    state, traits, spans = page.state[0], names.traits[tag], page.spans
    if state.depth >= MAXIMUM_DEPTH:
        _pop(page)
    bits = np.int64(0)
    for attribute in (tags.CLASS, tags.ID, tags.ROLE, tags.PROPERTY):
        if spans[attribute, 0] >= 0:
            start, end = spans[attribute, 0], spans[attribute, 1]
            bits |= name_bits(source, start, end, names.words)
    kind = _IS_ELEMENT
    is_dropped = traits & tags.DROPPED and not (tag == tags.TEMPLATE and spans[tags.SHADOW, 0] >= 0)
    is_dropped |= tag == tags.FOREIGN_OBJECT or (tag == tags.BUTTON and state.codes > 0)
    if not is_dropped and _are_line_numbers(page, tag, bits):
        is_dropped = True
        # What stands beside line numbers is code, whatever its tag.
        state.is_numbered_row |= tag == tags.CELL
    if is_dropped:
        kind = _IS_DROPPED
        state.dropped += 1
    elif state.dropped or (state.codes and tag != tags.CODE):
        kind = _NO_ELEMENT
    if not is_dropped and tag != tags.OTHER:
        _end_run(page, kind == _IS_ELEMENT and tag == tags.CODE)
    depth = state.depth
    element = page.stack[depth - 1, STACK_ELEMENT]
    if kind == _IS_ELEMENT:
        if state.elements >= len(page.elements):
            state.is_cut = 1
            return
        page.elements[state.elements, PARENT] = element
        element = state.elements
        state.elements += 1
        _describe(page, source, element, tag, bits)
    page.stack[depth, STACK_ELEMENT], page.stack[depth, STACK_TAG] = element, tag
    page.stack[depth, STACK_KIND], page.stack[depth, WAS_LINK] = kind, state.is_link
    page.keys[depth] = key
    page.open_counts[tag] += 1
    state.depth = depth + 1
    if kind == _IS_ELEMENT:
        _enter(page, names, source, tag, element)


@inner
def _name_code(page: Any) -> None:
    """`<pre><code class="language-x">`: the class of `code` counts when `pre` has none."""
    element = page.elements[page.state[0].code_element]
    if element[NAME_START] < 0:
        element[NAME_START], element[NAME_END] = (
            page.spans[tags.CLASS, 0],
            page.spans[tags.CLASS, 1],
        )


@inner
def _are_line_numbers(page: Any, tag: int, bits: Any) -> Any:
    if bits & LINE_NUMBERS:
        return True
    if not bits & GUTTER or tag == tags.CODE:
        return False  # `<pre class="line-numbers">` is the code itself
    element = page.stack[page.state[0].depth - 1, STACK_ELEMENT]
    while element > 0:  # a "gutter" is a column of numbers only inside of code
        if page.bits[element] & CODE_NAME:
            return True
        element = page.elements[element, PARENT]
    return False


@inner
def _describe(page: Any, source: Bytes, number: int, tag: int, bits: Any) -> None:
    """Fill in what a tag and its attributes say of an element."""
    element, spans = page.elements[number], page.spans
    element[TAG], element[END] = tag, number + 1
    element[NAME_START], element[NAME_END] = spans[tags.CLASS, 0], spans[tags.CLASS, 1]
    element[IS_HIDDEN] = is_hidden(source, spans)
    page.bits[number] = bits


@inner
def _start_skip(page: Any, names: Any, source: Bytes, tag: int, key: Any) -> Any:
    """Whether the text of an inline element is left out.

    So are readings of ruby, what is hidden, line numbers, signs that link to a heading, and the
    rendered copy of a formula whose TeX is on the page too.
    """
    state, spans = page.state[0], page.spans
    is_reading = tag == tags.READING or tag == tags.READING_BRACKET or tag == tags.READINGS
    if state.skip_count:
        if tag == tags.RUBY_BASE:
            end_skip(page)
        elif not is_reading and key == np.uint64(state.skip_key):
            state.skip_count += 1
        return True
    if state.dropped:
        return False
    is_skipped = is_reading
    if spans[tags.CLASS, 0] >= 0:
        bits = name_bits(source, spans[tags.CLASS, 0], spans[tags.CLASS, 1], names.words)
        if bits & FORMULA:
            state.has_formula = 1
            return False  # Wikipedia hides its MathML
        if bits & RENDERED_FORMULA:
            # Without MathML, as some servers render it, this copy is the only one.
            is_skipped = tag != tags.OTHER and state.has_formula != 0
        is_skipped |= bits & (LINE_NUMBERS | PERMALINK) != 0
        is_skipped |= bits & GUTTER != 0 and state.codes > 0
        if bits & RENDERED_FORMULA and not is_skipped:
            return False
    if is_skipped or is_hidden(source, spans):
        start_skip(page, key)
        return True
    return False


@inner
def start_skip(page: Any, key: Any) -> None:
    """Leave out text up to the end tag of an inline element, or the end of its block."""
    state = page.state[0]
    state.skip_key, state.skip_count, state.skip_depth = np.int64(key), 1, state.depth
    state.dropped += 1


@inner
def end_skip(page: Any) -> None:
    """Read text again."""
    state = page.state[0]
    state.skip_count = 0
    state.dropped -= 1


@inner
def _enter(page: Any, names: Any, source: Bytes, tag: int, element: int) -> None:
    """Take note of a list, item, table, row, cell, code or heading that begins."""
    state, spans = page.state[0], page.spans
    if tag == tags.BULLETED or tag == tags.NUMBERED:
        page.lists[state.lists] = -1
        if tag == tags.NUMBERED:
            first = number_at(source, spans[tags.START, 0], spans[tags.START, 1])
            page.lists[state.lists] = max(0, first - 1)
        state.lists += 1
    elif tag == tags.ITEM:
        depth = state.lists
        state.prefix = blocks.BULLET
        state.indent = max(0, min(depth - 1, blocks.MAXIMUM_INDENT))
        if depth and page.lists[depth - 1] >= 0:
            value = number_at(source, spans[tags.VALUE, 0], spans[tags.VALUE, 1])
            page.lists[depth - 1] = value if value >= 0 else page.lists[depth - 1] + 1
            state.prefix = page.lists[depth - 1]
    elif tag == tags.TABLE:
        outer = state.open_table
        if outer >= 0:
            page.tables[outer, blocks.IS_LAYOUT] = 1
        table = state.tables
        page.tables[table, blocks.OUTER] = outer
        page.tables[table, blocks.IS_LAYOUT] = 0
        page.tables[table, blocks.ROW_NUMBER] = -1
        page.tables[table, blocks.COLUMN_NUMBER] = -1
        state.open_table = table
        state.tables += 1
    elif tag == tags.CODE:
        state.codes += 1
        state.code_element = element
    elif names.traits[tag] & tags.HEADING:
        state.heading = tag - tags.HEADING_1 + 1
    elif state.open_table >= 0:
        table = state.open_table
        if tag == tags.ROW:
            page.tables[table, blocks.ROW_NUMBER] += 1
            page.tables[table, blocks.COLUMN_NUMBER] = -1
            state.is_numbered_row = 0
        elif tag == tags.CELL or tag == tags.HEAD_CELL:
            page.tables[table, blocks.COLUMN_NUMBER] += 1
            if state.is_numbered_row and not state.code_cell:
                state.code_cell = state.depth
                state.codes += 1
                state.code_element = element


@inner
def _pop(page: Any) -> None:
    """Close the innermost element."""
    state = page.state[0]
    depth = state.depth - 1
    if depth < 1:
        return
    tag, kind = page.stack[depth, STACK_TAG], page.stack[depth, STACK_KIND]
    if kind != _IS_DROPPED and tag != tags.OTHER:
        _end_run(page, kind == _IS_ELEMENT)
    state.depth = depth
    if state.skip_count and depth < state.skip_depth:
        end_skip(page)
    page.open_counts[tag] -= 1
    if tag == tags.CELL or tag == tags.HEAD_CELL or tag == tags.CAPTION:
        state.is_link = page.stack[depth, WAS_LINK]
    if tag == tags.FORM and state.form == depth + 1:
        state.form = 0
    if kind == _IS_DROPPED:
        state.dropped -= 1
    if kind != _IS_ELEMENT:
        return
    if tag == tags.BULLETED or tag == tags.NUMBERED:
        state.lists -= 1
    elif tag == tags.ITEM:
        state.prefix = blocks.NO_PREFIX
    elif tag == tags.TABLE:
        state.open_table = page.tables[state.open_table, blocks.OUTER]
    elif tag == tags.CODE or state.code_cell == depth + 1:
        state.codes -= 1
        if tag != tags.CODE:
            state.code_cell = 0
    elif tags.HEADING_1 <= tag < tags.HEADING_1 + 6:
        state.heading = 0


@inner
def _end_run(page: Any, ends_code: bool) -> None:
    """A block ends, or a line where the text is code."""
    state = page.state[0]
    if state.dropped:
        return
    if state.codes and not ends_code:
        place = state.place
        if place > state.first and page.out[place - 1] != 10:
            add_line_end(page)
            state.space = 1
    else:
        flush(page)


@inner
def _pop_through(page: Any, tag: int) -> None:
    """Close everything up to and with the innermost element of a tag."""
    while page.state[0].depth > 1:
        is_last = top(page) == tag
        _pop(page)
        if is_last:
            return


@inner
def _is_implied(tag: int) -> Any:
    return tag in (tags.PARAGRAPH, tags.ITEM, tags.DEFINITION, tags.TERM)


@inner
def _close_paragraph(page: Any, names: Any) -> None:
    if paragraph_in_scope(page, names):
        _pop_through(page, tags.PARAGRAPH)


@inner
def _close_item(page: Any, names: Any, tag: int) -> None:
    """An item, or a term or definition, ends the one before it in the same list.

    The loop of `li`, `dd` and `dt` in the mode "in body": special elements other than `address`,
    `div` and `p` stop it, so that an item of an inner list leaves the outer one open.
    """
    for depth in range(page.state[0].depth - 1, 0, -1):
        found = page.stack[depth, STACK_TAG]
        is_other = found in (tags.TERM, tags.DEFINITION) and tag != tags.ITEM
        if found == tag or is_other:
            while page.state[0].depth > depth:
                _pop(page)
            return
        is_plain = found in (tags.DIVISION, tags.ADDRESS, tags.PARAGRAPH)
        if names.traits[found] & tags.SPECIAL and not is_plain:
            return


@inner
def _is_kept(page: Any, tag: int, traits: int, is_empty: bool) -> Any:
    """Whether a start tag counts where the place is in a drawing, a formula or a choice.

    Foreign content (13.2.6.5) and the mode "in select" (13.2.6.4.16): pages that forget an end tag
    there would lose all that follows if HTML's own elements did not leave them.
    """
    found = top(page)
    if found == tags.SVG or found == tags.MATH:
        if traits & tags.LEAVES_FOREIGN:
            while top(page) == tags.SVG or top(page) == tags.MATH:
                _pop(page)
            return True
        is_drawing = tag in (tags.SVG, tags.MATH, tags.FOREIGN_OBJECT)
        return is_drawing and not is_empty
    if found == tags.SELECT:
        if tag == tags.SCRIPT or tag == tags.TEMPLATE:
            return True
        is_end = tag in (tags.SELECT, tags.INPUT, tags.TEXTAREA, tags.KEYGEN)
        is_end |= tag == tags.TABLE or traits & tags.TABLE_PART != 0
        if is_end:
            _pop(page)
        return is_end and tag != tags.SELECT
    return True
