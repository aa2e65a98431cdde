"""Text of a page into blocks, compiled: entities, white space, line breaks, code, measures.

All state of one page is in arrays; `State` names the numbers in the first of them.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, Integers, look_up
from tongwen.kernels import inner

Rows = npt.NDArray[np.int32]

# Numbers in `Page.state`.
(
    PLACE,  # where the next byte of text goes
    FIRST,  # where the text of the block in hand starts
    CHARACTERS,  # so many in the block in hand
    HAN,
    LINKED,  # characters inside links
    SPACE,  # white space that waits for a character: 1, or 2 with a line break of the source; in
    # code whether a tag has ended the line
    BREAKS,  # `<br>` that wait for a character
    HAS_PUNCTUATION,
    IS_LINK,
    DEPTH,  # of the stack
    ELEMENTS,
    BLOCKS,
    TABLES,
    LISTS,  # open ones
    CODES,
    HEADING,
    DROPPED,  # open elements whose text nobody reads
    FORM,  # depth of the open form in the stack plus one
    PREFIX,  # of the next item: -2 none, -1 bulleted, else its number
    INDENT,
    OPEN_TABLE,  # index of the innermost table, -1
    IS_CUT,
    IS_QUIRKS,
    TITLE_START,
    TITLE_END,
    IS_BODY_SEEN,
    CODE_ELEMENT,
    NUMBERS,
) = range(28)

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
    BLOCK_COLUMNS,
) = range(14)
# Columns of a table.
OUTER, IS_LAYOUT, ROW_NUMBER, COLUMN_NUMBER, TABLE_COLUMNS = range(5)
MAXIMUM_INDENT = 8

_LINE_FEED, _SPACE_BYTE, _AMPERSAND = 10, 32, 38
_MAXIMUM_ENTITY = 40
_REPLACEMENT = 0xFFFD
# What the code points 0x80 to 0x9f of a numeric entity mean.
_WINDOWS_1252 = np.array(
    [ord(bytes([byte]).decode("cp1252", "ignore") or chr(byte)) for byte in range(0x80, 0xA0)]
)


class Builder(NamedTuple):
    """The arrays of one page.

    Attributes:
        state: the numbers named above.
        out: UTF-8 of the text of all blocks.
        scratch: UTF-8 of the entity in hand.
        stack: for each open element the columns of `html_tree`.
        keys: hash of its name.
        open_counts: how many of each tag are in the stack.
        spans: start and end of attribute values of the tag in hand.
        elements, blocks, tables: rows, see the columns.
        lists: item numbers of open lists; -1 in a bulleted one.
    """

    state: Integers
    out: Bytes
    scratch: Bytes
    stack: Integers
    keys: npt.NDArray[np.uint64]
    open_counts: Integers
    spans: Integers
    elements: Rows
    blocks: Rows
    tables: Rows
    lists: Integers


@inner
def add_text(page: Any, names: Any, source: Bytes, start: int, end: int) -> None:
    """Add text of the source, entities decoded."""
    state = page.state
    if state[DROPPED]:
        return
    before = state[CHARACTERS]
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
            _add(page, page.scratch, 0, count)
            position += length >> 4
    if state[IS_LINK]:
        state[LINKED] += state[CHARACTERS] - before


@inner
def _add(page: Any, source: Bytes, start: int, end: int) -> None:
    if page.state[CODES]:
        _add_code(page, source, start, end)
    else:
        _add_line(page, source, start, end)


@inner
def _add_line(page: Any, source: Bytes, start: int, end: int) -> None:
    """Text whose white space is collapsed."""
    state, out = page.state, page.out
    place, space, characters, han = state[PLACE], state[SPACE], 0, 0
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
                state[HAS_PUNCTUATION] = 1
        if space or state[BREAKS]:
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
                    state[HAS_PUNCTUATION] = 1
            out[place] = byte
            place, position, characters = place + 1, position + 1, characters + 1
    state[PLACE], state[SPACE] = place, space
    state[CHARACTERS] += characters
    state[HAN] += han


@inner
def _gap(state: Integers, out: Bytes, place: int, space: int, code: Any) -> Any:
    """Write what stands for the white space before a character; gives the bytes written."""
    breaks = min(state[BREAKS], 2)
    state[BREAKS] = 0
    if place == state[FIRST]:
        return 0
    last = out[place - 1]
    if not breaks and space == 2 and last >= 128 and is_wide(code):
        # A line break of the source between two Chinese characters is no space.
        is_three = place - state[FIRST] >= 3 and out[place - 3] & 0xF0 == 0xE0
        if is_three and is_wide(_decode(out, place - 3, 3)):
            return 0
    if _is_sentence_mark(last):
        state[HAS_PUNCTUATION] = 1
    if not breaks:
        out[place] = _SPACE_BYTE
        return 1
    for offset in range(breaks):
        out[place + offset] = _LINE_FEED
    return breaks


@inner
def _add_code(page: Any, source: Bytes, start: int, end: int) -> None:
    """Text as it stands; lines lose the white space at their ends."""
    state, out = page.state, page.out
    for position in range(start, end):
        byte = source[position]
        if byte == 13 and position + 1 < end and source[position + 1] == _LINE_FEED:
            continue
        if byte == 10 or byte == 13:
            if not state[SPACE]:
                add_line_end(page)
            state[SPACE] = 0
            continue
        if byte > 32:
            state[SPACE] = 0
        if byte == 0xA0 and state[PLACE] > state[FIRST] and out[state[PLACE] - 1] == 0xC2:
            out[state[PLACE] - 1] = _SPACE_BYTE
            continue
        out[state[PLACE]] = byte
        state[PLACE] += 1
        state[CHARACTERS] += int(byte & 0xC0 != 0x80)
        if byte >= 0xE3 and byte <= 0xE9 and position + 2 < end:
            state[HAN] += int(0x3400 <= _decode(source, position, 3) <= 0x9FFF)


@inner
def add_line_end(page: Any) -> None:
    """A line of code ends; none before the first character of the block."""
    state = page.state
    _strip_end(state, page.out, False)
    if state[PLACE] > state[FIRST]:
        page.out[state[PLACE]] = _LINE_FEED
        state[PLACE] += 1
        state[CHARACTERS] += 1


@inner
def _strip_end(state: Integers, out: Bytes, with_lines: bool) -> None:
    while state[PLACE] > state[FIRST]:
        byte = out[state[PLACE] - 1]
        if not (byte == 32 or byte == 9 or byte == 12 or (with_lines and byte == _LINE_FEED)):
            return
        state[PLACE] -= 1
        state[CHARACTERS] -= 1


@inner
def add_break(page: Any) -> None:
    """A `<br>`."""
    state = page.state
    if state[DROPPED]:
        return
    if state[CODES]:
        if state[PLACE] > state[FIRST]:
            add_line_end(page)
    else:
        state[BREAKS] += 1
        state[SPACE] = 0


@inner
def flush(page: Any) -> None:
    """End the block in hand, if there is one."""
    state = page.state
    if state[CODES]:
        _strip_end(state, page.out, True)
    state[SPACE], state[BREAKS] = 0, 0
    if state[PLACE] > state[FIRST]:
        if state[BLOCKS] >= len(page.blocks):
            state[IS_CUT] = 1
            state[PLACE] = state[FIRST]
        else:
            if _is_sentence_mark(page.out[state[PLACE] - 1]):
                state[HAS_PUNCTUATION] = 1
            _add_block(page, page.blocks[state[BLOCKS]])
            state[BLOCKS] += 1
    state[FIRST] = state[PLACE]
    state[CHARACTERS], state[HAN], state[LINKED], state[HAS_PUNCTUATION] = 0, 0, 0, 0


@inner
def _add_block(page: Any, block: Any) -> None:
    """Kind, prefix, measures and place of a new block."""
    state = page.state
    block[ELEMENT] = page.stack[state[DEPTH] - 1, 0]
    block[KIND], block[DETAIL], block[BLOCK_INDENT] = TEXT_KIND, -2, 0
    block[START], block[END] = state[FIRST], state[PLACE]
    block[LENGTH] = state[CHARACTERS]
    block[SIZE] = state[CHARACTERS] + 2 * state[HAN]
    block[LINKED_LENGTH] = min(state[LINKED], state[CHARACTERS])
    block[ENDS_SENTENCE] = state[HAS_PUNCTUATION]
    block[BLOCK_TABLE], block[BLOCK_ROW], block[BLOCK_COLUMN] = -1, -1, -1
    table = state[OPEN_TABLE]
    if state[CODES]:
        block[KIND], block[DETAIL] = CODE_KIND, state[CODE_ELEMENT]
    elif state[HEADING]:
        block[KIND], block[DETAIL] = HEADING_KIND, state[HEADING]
    elif state[LISTS]:
        block[KIND], block[DETAIL] = ITEM_KIND, state[PREFIX]
        block[BLOCK_INDENT] = state[INDENT]
        state[PREFIX] = -2
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
