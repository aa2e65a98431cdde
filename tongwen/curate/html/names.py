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

from tongwen.kernels import inner

Bytes = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

HASH_START = np.uint64(14695981039346656037)
HASH_PRIME = np.uint64(1099511628211)

# What a tag does; the names are those of the HTML standard, section 13.2.
INLINE, VOID, DROPPED, RAW = 1, 2, 4, 8
CLOSES_PARAGRAPH, SPECIAL, SCOPED, BOUNDARY = 16, 32, 64, 128
LEAVES_FOREIGN, TABLE_PART, HEADING, MARKER = 256, 512, 1024, 2048
CONTAINER, PART_OF_TEXT, BOILERPLATE, PLAIN, NAMED_CONTENT = 4096, 8192, 16384, 32768, 65536

_HEADINGS = "h1 h2 h3 h4 h5 h6"
_TAG_NAMES: dict[int, str] = {
    INLINE: """
        abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark nobr q
        rp rt ruby s samp small span strike strong sub sup time tt u var wbr picture source
        """,
    VOID: """
        area base br col embed hr img input link meta source track wbr param frame basefont bgsound
        keygen
        """,
    DROPPED: """
        script style noscript template svg math iframe object applet canvas audio video map
        textarea select button datalist noembed noframes xmp plaintext dialog title
        """,
    RAW: "script style iframe textarea noembed noframes xmp plaintext title",
    CLOSES_PARAGRAPH: f"""
        address article aside blockquote center details dialog dir div dl fieldset figcaption figure
        footer header hgroup main menu nav ol p search section summary ul pre listing form li dd dt
        plaintext hr xmp table {_HEADINGS}
        """,
    SPECIAL: f"""
        address applet article aside blockquote body button caption center dd details dir div dl dt
        fieldset figcaption figure footer form frameset head header hgroup html li listing main
        marquee menu nav noembed noframes noscript object ol p plaintext pre search section select
        summary table td template th tr ul {_HEADINGS}
        """,
    SCOPED: """
        address applet article aside blockquote button center dd details dialog dir div dl dt
        fieldset figcaption figure footer header hgroup listing main marquee menu nav object ol pre
        search section summary ul
        """,
    BOUNDARY: "applet caption html table td th marquee object template svg math foreignobject",
    LEAVES_FOREIGN: f"""
        b big blockquote body br center code dd div dl dt em embed head hr i img li menu meta nobr
        ol p pre ruby s small span strong strike sub sup table tt u ul var {_HEADINGS}
        """,
    TABLE_PART: "tr td th tbody thead tfoot caption col colgroup",
    HEADING: _HEADINGS,
    MARKER: "td th caption applet object marquee template",
    CONTAINER: "body div section article main td tr table center form dl dd blockquote font",
    PART_OF_TEXT: f"""
        p li ul ol dl dt dd blockquote pre figure figcaption table tr td th summary {_HEADINGS}
        """,
    BOILERPLATE: "nav footer aside form menu fieldset figcaption",
    PLAIN: f"html body pre tr {_HEADINGS}",
    NAMED_CONTENT: "article main",
}
TAG_NAMES = ("", *sorted({name for names in _TAG_NAMES.values() for name in names.split()}))
_IDS = {name: number for number, name in enumerate(TAG_NAMES)}

BODY, HTML, HEAD, TITLE = (_IDS[name] for name in ("body", "html", "head", "title"))
FORM, BUTTON, SELECT, TEXTAREA = (_IDS[name] for name in ("form", "button", "select", "textarea"))
PARAGRAPH, ITEM, TERM, DEFINITION = (_IDS[name] for name in ("p", "li", "dt", "dd"))
TABLE, ROW, CELL, HEAD_CELL = (_IDS[name] for name in ("table", "tr", "td", "th"))
BULLETED, NUMBERED, CODE, BREAK = (_IDS[name] for name in ("ul", "ol", "pre", "br"))
RULE, SVG, MATH, TEMPLATE = (_IDS[name] for name in ("hr", "svg", "math", "template"))
FOREIGN_OBJECT, PLAINTEXT, INPUT = (_IDS[name] for name in ("foreignobject", "plaintext", "input"))
CAPTION, HEADING_1, SCRIPT, KEYGEN = (_IDS[name] for name in ("caption", "h1", "script", "keygen"))
XMP = _IDS["xmp"]
DIVISION, ADDRESS = (_IDS[name] for name in ("div", "address"))
LINK = len(TAG_NAMES)  # the tag `a`
assert TAG_NAMES[HEADING_1 + 5] == "h6"


class Table(NamedTuple):
    """A hash table: 64-bit keys, zero where nothing is, and a number for each."""

    keys: Keys
    values: Integers


class Names(NamedTuple):
    """Everything that is known of names.

    Attributes:
        tags: a tag's number.
        traits: bits of each tag number, see above.
        words: bits of a word of a class, id, role or itemprop, see `priors`.
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


ATTRIBUTES = ("class", "id", "role", "itemprop", "style", "hidden", "aria-hidden")
CLASS, ID, ROLE, PROPERTY, STYLE, HIDDEN, ARIA_HIDDEN = range(7)


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
    from tongwen.curate.html.priors import words

    traits = np.zeros(len(TAG_NAMES) + 1, np.int64)
    for bit, listed in _TAG_NAMES.items():
        for name in listed.split():
            traits[_IDS[name]] |= bit
    traits[LINK] = INLINE
    characters, places = bytearray(), {}
    for name, text in html5.items():
        encoded = text.encode()
        places[name] = len(characters) << 8 | len(encoded)
        characters += encoded
    return Names(
        tags=table_of({name: number for name, number in _IDS.items() if name} | {"a": LINK}),
        traits=traits,
        words=table_of(words()),
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
