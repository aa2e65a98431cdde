"""Text of a page into blocks, compiled: entities, white space, line breaks, code, measures.

All that is known of one page is in arrays.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, Integers, look_up
from tongwen.kernels import ZERO, inner

Rows = npt.NDArray[np.int32]

NO_PREFIX, BULLET = -2, -1
"""Of `State.prefix` and of an item's `DETAIL`, where there is no number."""

# Where a page has been read to. All numbers are 64-bit integers, so that a record of them costs
# compiled code no more than an array does.
STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "place",  # where the next byte of text goes
            "first",  # where the text of the open block starts
            "characters",  # so many in the open block
            "han",
            "linked",  # characters inside links
            "space",  # white space that waits for a character: 1, or 2 with a line break of the
            # source; in code whether a tag has ended the line
            "breaks",  # `<br>` that wait for a character
            "has_punctuation",
            "is_link",
            "depth",  # of the stack
            "elements",
            "blocks",
            "tables",
            "lists",  # open ones
            "codes",
            "heading",
            "dropped",  # open elements whose text nobody reads
            "form",  # depth of the open form in the stack plus one
            "prefix",  # of the next item: NO_PREFIX, BULLET or its number
            "indent",
            "open_table",  # index of the innermost table, -1
            "is_cut",
            "is_quirks",
            "title_start",
            "title_end",
            "is_body_seen",
            "code_element",
            "code_cell",  # depth of a cell of code, 0 when none is open
            "is_numbered_row",  # its first cells are line numbers
            "links",  # that begin in the open block
            "link_place",  # `place` where the last link began
            "link_characters",
            "skip_key",  # name of the inline element whose text is left out
            "skip_count",  # open elements of that name; 0 when text is read
            "skip_depth",
            "has_formula",  # a formula's MathML has been seen
        )
    ]
)

TEXT_KIND, HEADING_KIND, ITEM_KIND, CELL_KIND, CODE_KIND = range(5)
# Columns of a block; `DETAIL` is the level of a heading, the number of an item or the element that
# a code block is.
(
    ELEMENT,
    KIND,
    START,
    END,
    LENGTH,
    SIZE,
    LINKED_LENGTH,
    ENDS_SENTENCE,
    DETAIL,
    BLOCK_INDENT,
    BLOCK_TABLE,
    BLOCK_ROW,
    BLOCK_COLUMN,
    LINKS,
    BLOCK_COLUMNS,
) = range(15)
# Columns of a table.
OUTER, IS_LAYOUT, ROW_NUMBER, COLUMN_NUMBER, TABLE_COLUMNS = range(5)
MAXIMUM_INDENT = 8  # of lists in Markdown: deeper ones are layout

_LINE_FEED, _SPACE_BYTE, _AMPERSAND = 10, 32, 38
_MAXIMUM_ENTITY = 40  # bytes: the longest name, `CounterClockwiseContourIntegral`, has 31
_REPLACEMENT = 0xFFFD
# What the code points 0x80 to 0x9f of a numeric entity mean.
_WINDOWS_1252 = np.array(
    [ord(bytes([byte]).decode("cp1252", "ignore") or chr(byte)) for byte in range(0x80, 0xA0)]
)


class Builder(NamedTuple):
    """The arrays of one page.

    Attributes:
        state: one record of `STATE`.
        out: UTF-8 of the text of all blocks.
        scratch: UTF-8 of the entity in hand.
        stack: for each open element the columns of `scopes`.
        keys: hash of its name.
        open_counts: how many of each tag are in the stack.
        spans: start and end of attribute values of the tag in hand.
        elements, blocks, tables: rows, see the columns.
        bits: groups of `class_words` of each element.
        lists: item numbers of open lists; -1 in a bulleted one.
    """

    state: npt.NDArray[np.void]
    out: Bytes
    scratch: Bytes
    stack: Integers
    keys: npt.NDArray[np.uint64]
    open_counts: Integers
    spans: Integers
    elements: Rows
    blocks: Rows
    tables: Rows
    bits: Integers
    lists: Integers


@inner
def add_text(page: Any, names: Any, source: Bytes, start: int, end: int) -> None:
    """Add text of the source, entities decoded."""
    state = page.state[0]
    if state.dropped:
        return
    before = state.characters
    position = start
    while position < end:
        if source[position] != _AMPERSAND:
            start = position
            while position < end and source[position] != _AMPERSAND:
                position += 1
            _add(page, source, start, position)
            continue
        length = _entity(page.scratch, names, source, position, end)
        if length == 0:
            _add(page, source, position, position + 1)
            position += 1
        else:
            count = length & 15
            _add(page, page.scratch, ZERO, count)
            position += length >> 4
    if state.is_link:
        state.linked += state.characters - before


@inner
def _add(page: Any, source: Bytes, start: int, end: int) -> None:
    if page.state[0].codes:
        _add_code(page, source, start, end)
    else:
        _add_line(page, source, start, end)


@inner
def _add_line(page: Any, source: Bytes, start: int, end: int) -> None:
    """Text whose white space is collapsed."""
    state, out = page.state[0], page.out
    place, space, characters, han = state.place, state.space, 0, 0
    position = start
    while position < end:
        byte = np.int64(source[position])
        length, code = 1, byte
        if byte < 128:
            if byte <= 32 and (byte == 32 or 9 <= byte <= 13 or byte >= 28):
                space = max(space, 2 if byte in (10, 13) else 1)
                position += 1
                continue
        else:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            code = _decode(source, position, length)
            if _is_space(code):
                space = max(space, 1)
                position += length
                continue
            han += int(0x3400 <= code <= 0x9FFF)
            if code in (0xFF0C, 0x3002, 0xFF1B, 0xFF01, 0xFF1F, 0x3001):
                state.has_punctuation = 1
        if space or state.breaks:
            gap = _gap(state, out, place, space, code)
            place += gap
            characters += gap
            space = 0
        for offset in range(length):
            out[place + offset] = source[position + offset]
        place += length
        position += length
        characters += 1
        # The rest of a line of Latin words; what is odd goes the long way above.
        while position < end:
            byte = np.int64(source[position])
            if not 32 < byte < 128:
                if byte != 32 or position + 1 >= end or not 32 < source[position + 1] < 128:
                    break
                if _is_sentence_mark(out[place - 1]):
                    state.has_punctuation = 1
            out[place] = byte
            place, position, characters = place + 1, position + 1, characters + 1
    state.place, state.space = place, space
    state.characters += characters
    state.han += han


@inner
def _gap(state: Any, out: Bytes, place: int, space: int, code: Any) -> Any:
    """Write what stands for the white space before a character; gives the bytes written."""
    breaks = min(state.breaks, 2)
    state.breaks = 0
    if place == state.first:
        return 0
    last = out[place - 1]
    if not breaks and space == 2 and last >= 128 and is_wide(code):
        # A line break of the source between two Chinese characters is no space.
        is_three = place - state.first >= 3 and out[place - 3] & 0xF0 == 0xE0
        if is_three and is_wide(_decode(out, place - 3, 3)):
            return 0
    if _is_sentence_mark(last):
        state.has_punctuation = 1
    if not breaks:
        out[place] = _SPACE_BYTE
        return 1
    for offset in range(breaks):
        out[place + offset] = _LINE_FEED
    return breaks


@inner
def _add_code(page: Any, source: Bytes, start: int, end: int) -> None:
    """Text as it stands; lines lose the white space at their ends."""
    state, out = page.state[0], page.out
    for position in range(start, end):
        byte = source[position]
        if byte == 13 and position + 1 < end and source[position + 1] == _LINE_FEED:
            continue
        if byte == 10 or byte == 13:
            if not state.space:
                add_line_end(page)
            state.space = 0
            continue
        if byte > 32:
            state.space = 0
        if byte == 0xA0 and state.place > state.first and out[state.place - 1] == 0xC2:
            out[state.place - 1] = _SPACE_BYTE
            continue
        out[state.place] = byte
        state.place += 1
        state.characters += int(byte & 0xC0 != 0x80)
        if byte >= 0xE3 and byte <= 0xE9 and position + 2 < end:
            state.han += int(0x3400 <= _decode(source, position, 3) <= 0x9FFF)


@inner
def add_line_end(page: Any) -> None:
    """A line of code ends; none before the first character of the block."""
    state = page.state[0]
    _strip_end(state, page.out, False)
    if state.place > state.first:
        page.out[state.place] = _LINE_FEED
        state.place += 1
        state.characters += 1


@inner
def _strip_end(state: Any, out: Bytes, with_lines: bool) -> None:
    while state.place > state.first:
        byte = out[state.place - 1]
        if not (byte == 32 or byte == 9 or byte == 12 or (with_lines and byte == _LINE_FEED)):
            return
        state.place -= 1
        state.characters -= 1


@inner
def add_break(page: Any) -> None:
    """A `<br>`."""
    state = page.state[0]
    if state.dropped:
        return
    if state.codes:
        if state.place > state.first:
            add_line_end(page)
    else:
        state.breaks += 1
        state.space = 0


@inner
def take_back_sign(page: Any) -> None:
    """A link ends inside a heading: "#", "¶" and the like are no text of it."""
    state, out = page.state[0], page.out
    if state.link_place < state.first or state.place > state.link_place + 12:
        return
    for position in range(state.link_place, state.place):
        byte = out[position]
        is_letter = 97 <= (byte | 32) <= 122 or 48 <= byte <= 57
        # Signs of UTF-8 begin with these; Latin, Greek and Chinese letters do not.
        is_other = byte >= 0xC0 and byte not in (0xC2, 0xE2, 0xEF, 0xF0)
        if is_letter or is_other:
            return
    state.linked = max(0, state.linked - (state.characters - state.link_characters))
    state.place, state.characters = state.link_place, state.link_characters
    state.breaks = 0


@inner
def flush(page: Any) -> None:
    """End the block in hand, if there is one."""
    state = page.state[0]
    if state.codes:
        _strip_end(state, page.out, True)
    state.space, state.breaks = 0, 0
    if state.place > state.first:
        if state.blocks >= len(page.blocks):
            state.is_cut = 1
            state.place = state.first
        else:
            if _is_sentence_mark(page.out[state.place - 1]):
                state.has_punctuation = 1
            _add_block(page, page.blocks[state.blocks])
            state.blocks += 1
    state.first = state.place
    state.characters, state.han, state.linked, state.has_punctuation = 0, 0, 0, 0
    state.links = state.is_link


@inner
def _add_block(page: Any, block: Any) -> None:
    """Kind, prefix, measures and place of a new block."""
    state = page.state[0]
    block[ELEMENT] = page.stack[state.depth - 1, 0]
    block[KIND], block[DETAIL], block[BLOCK_INDENT] = TEXT_KIND, NO_PREFIX, 0
    block[START], block[END] = state.first, state.place
    block[LENGTH] = state.characters
    block[SIZE] = state.characters + 2 * state.han
    block[LINKED_LENGTH] = min(state.linked, state.characters)
    block[ENDS_SENTENCE] = state.has_punctuation
    block[LINKS] = state.links
    block[BLOCK_TABLE], block[BLOCK_ROW], block[BLOCK_COLUMN] = -1, -1, -1
    table = state.open_table
    if state.codes:
        block[KIND], block[DETAIL] = CODE_KIND, state.code_element
        if state.code_cell:  # its rows are the lines of one block
            block[BLOCK_TABLE], block[BLOCK_ROW] = table, page.tables[table, ROW_NUMBER]
    elif state.heading:
        block[KIND], block[DETAIL] = HEADING_KIND, state.heading
    elif state.lists:
        block[KIND], block[DETAIL] = ITEM_KIND, state.prefix
        block[BLOCK_INDENT] = state.indent
        state.prefix = NO_PREFIX
    elif table >= 0:
        block[KIND], block[BLOCK_TABLE] = CELL_KIND, table
        block[BLOCK_ROW] = page.tables[table, ROW_NUMBER]
        block[BLOCK_COLUMN] = page.tables[table, COLUMN_NUMBER]
    if table >= 0 and block[KIND] in (CODE_KIND, HEADING_KIND, ITEM_KIND):
        page.tables[table, IS_LAYOUT] = 1


@inner
def _entity(scratch: Bytes, names: Any, source: Bytes, start: int, end: int) -> Any:
    """Write what the entity at `start` stands for to `scratch`.

    Gives `bytes read << 4 | bytes written`, or 0 when it is no entity.
    """
    end = min(end, start + _MAXIMUM_ENTITY)
    if start + 1 < end and source[start + 1] == 35:
        return _number_entity(scratch, source, start + 2, end, start)
    key, best, found = HASH_START, 0, np.int64(-1)
    for position in range(start + 1, end):
        byte = np.uint64(source[position])
        key = (key ^ byte) * HASH_PRIME
        is_name = 97 <= (byte | 32) <= 122 or 48 <= byte <= 57
        if not is_name and byte != 59:
            break
        value = look_up(names.entities, key)
        if value >= 0:
            best, found = position + 1 - start, value
        if byte == 59:
            break
    if found < 0:
        return 0
    length = found & 255
    for offset in range(length):
        scratch[offset] = names.characters[(found >> 8) + offset]
    return best << 4 | length


@inner
def _number_entity(scratch: Bytes, source: Bytes, position: int, end: int, start: int) -> Any:
    base = 10
    if position < end and source[position] | 32 == 120:
        base, position = 16, position + 1
    first, code = position, 0
    while position < end:
        byte = np.int64(source[position])
        digit = byte - 48 if 48 <= byte <= 57 else (byte | 32) - 87
        if not 0 <= digit < base or (digit > 9 and not 97 <= (byte | 32) <= 102):
            break
        code = min(code * base + int(digit), 0x110000)
        position += 1
    if position == first:
        return 0
    if position < end and source[position] == 59:
        position += 1
    if 0x80 <= code < 0xA0:
        code = _WINDOWS_1252[code - 0x80]
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        code = _REPLACEMENT
    return (position - start) << 4 | _encode(scratch, code)


@inner
def _encode(scratch: Bytes, code: int) -> Any:
    """Write a character as UTF-8; gives the bytes written."""
    if code < 0x80:
        scratch[0] = code
        return 1
    length = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for offset in range(length - 1, 0, -1):
        scratch[offset] = 0x80 | (code & 0x3F)
        code >>= 6
    scratch[0] = code | (0xF0 if length == 4 else 0xE0 if length == 3 else 0xC0)
    return length


@inner
def _decode(source: Bytes, position: int, length: int) -> Any:
    """The character whose UTF-8 is at `position`; the text is well-formed."""
    first = np.int64(source[position])
    code = first & (0x1F if length == 2 else 0x0F if length == 3 else 0x07)
    for offset in range(1, length):
        code = code << 6 | (np.int64(source[position + offset]) & 0x3F)
    return code


@inner
def _is_space(code: int) -> Any:
    if code < 0x1680:
        return code in (0x85, 0xA0)
    return code in (0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000) or 0x2000 <= code <= 0x200A


@inner
def is_wide(code: int) -> Any:
    """Whether no space stands beside the character in Chinese."""
    return (
        0x3000 <= code <= 0x303F
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFF00 <= code <= 0xFFEF
    )


@inner
def _is_sentence_mark(byte: int) -> Any:
    return byte in (44, 46, 59, 33, 63)
