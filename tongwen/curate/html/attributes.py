"""What the attributes of a tag say, compiled: class words, numbers, whether it is hidden."""

from typing import Any

import numpy as np

from tongwen.curate.html import tags
from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, hash_of, look_up
from tongwen.kernels import inner

_WHOLE = hash_of("=")  # whole names have this before them in the table


@inner
def name_bits(source: Bytes, start: int, end: int, words: Any) -> Any:
    """Groups of `class_words` that a class, id or role belongs to; 0 for none."""
    bits, position = np.int64(0), start
    while 0 <= position < end:
        first = position
        while position < end and source[position] > 32:
            position += 1
        if position > first:
            bits |= _bits_of_name(source, first, position, words)
        position += 1
    return bits


@inner
def _bits_of_name(source: Bytes, start: int, end: int, words: Any) -> Any:
    """Of the words of one name and of all of it; words end where the case changes too."""
    bits = np.int64(0)
    whole, word = _WHOLE, HASH_START
    length, uppers = 0, 0  # of the open word
    for position in range(start, end + 1):
        byte = np.uint64(source[position]) if position < end else np.uint64(0)
        is_upper = np.uint64(65) <= byte <= np.uint64(90)
        is_lower = np.uint64(97) <= byte <= np.uint64(122)
        if is_upper:
            byte += np.uint64(32)
        is_end = not (is_upper or is_lower)
        # "postBody" is two words, and so is "HTMLBody"; "POST" is one.
        if (is_upper and uppers < length) or (is_lower and length > 1 and uppers == length):
            is_end = True
        if is_end and length:
            bits |= max(look_up(words, word), np.int64(0))
            word, length, uppers = HASH_START, 0, 0
        if is_upper or is_lower:
            word = (word ^ byte) * HASH_PRIME
            length += 1
            uppers += int(is_upper)
        if position < end and byte != np.uint64(45) and byte != np.uint64(95):
            whole = (whole ^ byte) * HASH_PRIME
    return bits | max(look_up(words, whole), np.int64(0))


@inner
def is_hidden(source: Bytes, spans: Any) -> Any:
    """Whether the tag whose attribute values are at `spans` is not shown."""
    start, end = spans[tags.ARIA_HIDDEN, 0], spans[tags.ARIA_HIDDEN, 1]
    if spans[tags.HIDDEN, 0] >= 0:
        return True
    if start >= 0 and end - start == 4 and source[start] == 116:  # "true"
        return True
    start, end = spans[tags.STYLE, 0], spans[tags.STYLE, 1]
    return start >= 0 and (
        _says(source, start, end, _DISPLAY, _NONE)
        or _says(source, start, end, _VISIBILITY, _HIDDEN)
    )


@inner
def number_at(source: Bytes, start: int, end: int) -> Any:
    """The number that an attribute's value begins with; -1 without one."""
    number = -1
    for position in range(max(start, 0), min(end, start + 9)):
        if not 48 <= source[position] <= 57:
            break
        number = max(number, 0) * 10 + source[position] - 48
    return number


@inner
def _says(source: Bytes, start: int, end: int, name: Bytes, value: Bytes) -> Any:
    """Whether a style has `name: value`."""
    for position in range(start, end - len(name) - len(value)):
        if not _is_at(source, position, end, name):
            continue
        place = position + len(name)
        while place < end and source[place] <= 32:
            place += 1
        if place >= end or source[place] != 58:
            continue
        place += 1
        while place < end and source[place] <= 32:
            place += 1
        if _is_at(source, place, end, value):
            return True
    return False


@inner
def _is_at(source: Bytes, position: int, end: int, word: Bytes) -> Any:
    if position + len(word) > end:
        return False
    for offset in range(len(word)):  # noqa: SIM110 (compiled: no generators)
        if source[position + offset] | 32 != word[offset]:
            return False
    return True


_DISPLAY, _NONE, _VISIBILITY, _HIDDEN = (
    np.frombuffer(word, np.uint8).copy() for word in (b"display", b"none", b"visibility", b"hidden")
)
