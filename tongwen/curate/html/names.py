"""Tags, entities and words of class names as hash tables that compiled code can ask.

A name is known by 64 bits (FNV-1a: Fowler, Noll, Vo 1991). The tables are built without collisions;
that a name of a page that is none of ours has the same 64 bits is left to chance (1 in 10^15).
"""

from collections.abc import Mapping
from functools import cache
from html.entities import html5
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html.class_words import class_words
from tongwen.curate.html.tags import ATTRIBUTES, numbers_of_tags, traits_of_tags
from tongwen.kernels import inner

Bytes = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

HASH_START = np.uint64(14695981039346656037)
HASH_PRIME = np.uint64(1099511628211)


class Table(NamedTuple):
    """A hash table: 64-bit keys, zero where nothing is, and a number for each."""

    keys: Keys
    values: Integers


class Names(NamedTuple):
    """Everything that is known of names.

    Attributes:
        tags: a tag's number.
        traits: bits of each tag number, see above.
        words: bits of a word of a class, id, role or itemprop, see `class_words`.
        entities: `start << 8 | length` of what an entity stands for.
        characters: UTF-8 of all entities.
        wanted: number of an attribute that is looked at.
    """

    tags: Table
    traits: Integers
    words: Table
    entities: Table
    characters: Bytes
    wanted: Table


def hash_of(name: str) -> np.uint64:
    """The 64 bits of a name, as compiled code finds them."""
    value = int(HASH_START)
    for byte in name.encode():
        value = ((value ^ byte) * int(HASH_PRIME)) & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


ROW_KEY = hash_of("tr")


def table_of(entries: Mapping[str, int]) -> Table:
    """A hash table; half or more of its places stay empty."""
    size = 1 << (2 * len(entries)).bit_length()
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for name, value in entries.items():
        key = hash_of(name)
        place = int(key) & (size - 1)
        while keys[place]:
            assert keys[place] != key
            place = (place + 1) & (size - 1)
        keys[place], values[place] = key, value
    return Table(keys, values)


@cache
def names() -> Names:
    """The tables; built once, in some 30 ms."""
    characters, places = bytearray(), {}
    for name, text in html5.items():
        encoded = text.encode()
        places[name] = len(characters) << 8 | len(encoded)
        characters += encoded
    return Names(
        tags=table_of(numbers_of_tags()),
        traits=traits_of_tags(),
        words=table_of(class_words()),
        entities=table_of(places),
        characters=np.frombuffer(bytes(characters), np.uint8),
        wanted=table_of({name: number for number, name in enumerate(ATTRIBUTES)}),
    )


@inner
def look_up(table: Any, key: Any) -> Any:
    """The number of a key; -1 when it is not there."""
    mask = np.uint64(len(table.keys) - 1)
    place = key & mask
    while table.keys[place] != np.uint64(0):
        if table.keys[place] == key:
            return table.values[place]
        place = (place + np.uint64(1)) & mask
    return np.int64(-1)


@inner
def hash_lower(source: Bytes, start: int, end: int) -> Any:
    """The 64 bits of a name in lower case."""
    value = HASH_START
    for position in range(start, end):
        byte = np.uint64(source[position])
        if np.uint64(65) <= byte <= np.uint64(90):
            byte += np.uint64(32)
        value = (value ^ byte) * HASH_PRIME
    return value
