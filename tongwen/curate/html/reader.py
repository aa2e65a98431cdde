"""Tags, attributes and comments of a page, compiled: one pass over its bytes.

The tokenizer of the HTML standard (WHATWG, section 13.2.5) without what no text depends on.
"""

from typing import Any

import numpy as np

from tongwen.curate.html import tags
from tongwen.curate.html.blocks import NO_PREFIX, add_text, flush
from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, hash_lower, look_up
from tongwen.curate.html.tree import END, PARENT, end_tag, start_tag
from tongwen.kernels import ZERO, inner, kernel

_LESS, _GREATER, _SLASH, _EQUALS, _QUOTE, _APOSTROPHE, _DASH = 60, 62, 47, 61, 34, 39, 45
_EXCLAMATION, _QUESTION = 33, 63


@kernel
def read_page(page: Any, names: Any, source: Bytes) -> None:
    """Read a whole page into the arrays of `page`, a `Builder`."""
    state, length = page.state[0], len(source)
    page.spans[:] = -1
    page.elements[0] = 0
    page.elements[0, PARENT], page.elements[0, END] = -1, 1
    page.bits[0] = 0
    page.stack[0] = 0
    page.stack[0, 1] = tags.BODY
    state.elements, state.depth = 1, 1
    state.open_table, state.prefix, state.title_start = -1, NO_PREFIX, -1
    position = ZERO
    while position < length and not state.is_cut:
        start = position
        while position < length and source[position] != _LESS:
            position += 1
        if position > start:
            add_text(page, names, source, start, position)
        if position < length:
            position = _markup(page, names, source, position)
    flush(page)
    elements = page.elements
    for index in range(state.elements - 1, 0, -1):
        parent = elements[index, PARENT]
        elements[parent, END] = max(elements[parent, END], elements[index, END])


@inner
def _markup(page: Any, names: Any, source: Bytes, start: int) -> Any:
    """Read what begins with `<`; gives the position behind it."""
    length = len(source)
    byte = source[start + 1] if start + 1 < length else np.uint8(0)
    is_end = byte == _SLASH and start + 2 < length
    if _is_letter(source[start + 2] if is_end else byte):
        return _tag(page, names, source, start + 1 + is_end, is_end)
    if is_end:
        return _after(source, start + 2, _GREATER)
    if byte == _EXCLAMATION:
        if start + 3 < length and source[start + 2] == _DASH and source[start + 3] == _DASH:
            return _after_comment(source, start + 4)
        return _after(source, start + 2, _GREATER)
    if byte == _QUESTION:
        return _after(source, start + 2, _GREATER)
    add_text(page, names, source, start, start + 1)
    return start + 1


@inner
def _tag(page: Any, names: Any, source: Bytes, start: int, is_end: bool) -> Any:
    """Read a tag whose name begins at `start`, and what it hides from the reader."""
    length, position = len(source), start
    while position < length and not _ends_name(source[position]):
        position += 1
    name_end = position
    key = hash_lower(source, start, name_end)
    tag = look_up(names.tags, key)
    if tag < 0:
        tag = np.int64(tags.OTHER)
    is_read = not is_end and not names.traits[tag] & tags.VOID
    if is_read:
        page.spans[:] = -1
    position = _attributes(page, names, source, position, is_read)
    if position < 0:
        return length
    if is_end:
        end_tag(page, names, tag, key)
        return position
    is_empty = source[position - 2] == _SLASH
    if names.traits[tag] & tags.RAW:
        end = length
        if tag != tags.PLAINTEXT:
            end = _end_of_raw(source, position, start, name_end)
        is_first = tag == tags.TITLE and page.state[0].title_start < 0
        if is_first and not page.open_counts[tags.SVG]:
            page.state[0].title_start, page.state[0].title_end = position, end
        if tag == tags.PLAINTEXT or tag == tags.XMP:
            flush(page)
        return _after(source, end, _GREATER)
    start_tag(page, names, source, tag, key, is_empty)
    return position


@inner
def _attributes(page: Any, names: Any, source: Bytes, position: int, is_read: bool) -> Any:
    """Position behind the tag, -1 when it does not end; values go to `page.spans`."""
    length, spans = len(source), page.spans
    while position < length:
        byte = source[position]
        if byte == _GREATER:
            return position + 1
        if byte <= 32 or byte == _SLASH:
            position += 1
            continue
        key, start = HASH_START, position
        while position < length:
            byte = source[position]
            if (position > start and byte == _EQUALS) or (byte != _EQUALS and _ends_name(byte)):
                break
            lower = np.uint64(byte + 32 if 65 <= byte <= 90 else byte)
            key = (key ^ lower) * HASH_PRIME
            position += 1
        while position < length and source[position] <= 32:
            position += 1
        first = last = position
        if position < length and source[position] == _EQUALS:
            position += 1
            while position < length and source[position] <= 32:
                position += 1
            if position >= length:
                return -1
            mark = source[position]
            if mark in (_QUOTE, _APOSTROPHE):
                first = position + 1
                position = _after(source, first, mark)
                last = position - 1
            else:
                first = position
                while position < length and source[position] > 32 and source[position] != _GREATER:
                    position += 1
                last = position
        if is_read:
            number = look_up(names.wanted, key)
            if number >= 0 and spans[number, 0] < 0:
                spans[number, 0], spans[number, 1] = first, last
    return -1


@inner
def _end_of_raw(source: Bytes, position: int, start: int, end: int) -> Any:
    """Where the end tag stands of an element that holds no tags; its name is at `start`."""
    length, size = len(source), end - start
    while position + size + 2 <= length:
        if source[position] == _LESS and source[position + 1] == _SLASH:
            offset = 0
            while (
                offset < size and source[position + 2 + offset] | 32 == source[start + offset] | 32
            ):
                offset += 1
            after = position + 2 + size
            if offset == size and (after >= length or _ends_name(source[after])):
                return position
        position += 1
    return length


@inner
def _after(source: Bytes, position: int, byte: int) -> Any:
    """Position behind the next such byte; the end when there is none."""
    length = len(source)
    while position < length and source[position] != byte:
        position += 1
    return min(position + 1, length)


@inner
def _after_comment(source: Bytes, position: int) -> Any:
    """Position behind a comment whose text begins at `position`."""
    length = len(source)
    if position < length and source[position] == _GREATER:
        return position + 1
    if position + 1 < length and source[position] == _DASH and source[position + 1] == _GREATER:
        return position + 2
    while position + 2 < length:
        if source[position] == _DASH and source[position + 1] == _DASH:
            if source[position + 2] == _GREATER:
                return position + 3
            is_odd = source[position + 2] == _EXCLAMATION
            if is_odd and position + 3 < length and source[position + 3] == _GREATER:
                return position + 4
        position += 1
    return length


@inner
def _is_letter(byte: Any) -> Any:
    return 97 <= (byte | 32) <= 122


@inner
def _ends_name(byte: int) -> Any:
    return byte == 32 or 9 <= byte <= 13 or byte in (_SLASH, _GREATER)
