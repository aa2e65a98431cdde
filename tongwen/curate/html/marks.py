"""Which words of programs and formats are in the bytes of a page, found in one compiled pass."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html.names import Bytes, Integers
from tongwen.kernels import kernel

FORMULAS = (b"math", b"latex", b"?tex=")
"""A page without any of them has no formulas."""
TYPE, SCHEMA, GRAPH = b'"@type"', b"schema.org/", b"og:type"
PROGRAMS = (
    (b"phpbb", b"discourse", b"vbulletin", b"xenforo", b"Discuz", b"stackexchange", b"smf_"),
    (b"sphinx", b"mkdocs", b"docusaurus", b"readthedocs", b"javadoc", b"vuepress", b"doxygen"),
    (b"woocommerce", b"Shopify", b"shopify", b"magento", b"Magento", b"add-to-cart",
     b"BigCommerce"),
)  # fmt: skip
"""Of forums, documentation and shops. They name themselves in the head of a page."""
_HEAD_BYTES = 30_000
_WORDS = (*FORMULAS, TYPE, SCHEMA, GRAPH, *(word for words in PROGRAMS for word in words))


class Marks(NamedTuple):
    """Where words occur in a page.

    Attributes:
        places: byte offset of the first occurrence of each word, (words,); -1 where it does not
            occur.
    """

    places: npt.NDArray[np.int64]

    def place(self, word: bytes) -> int:
        """Byte offset of the first occurrence of a word; -1 where it does not occur."""
        return int(self.places[_numbers()[word]])

    def has(self, words: Sequence[bytes]) -> bool:
        """Whether any of the words is there, those of programs in the head."""
        return any(self.place(word) >= 0 for word in words)


class _Table(NamedTuple):
    """The words: by their first two bytes one of them, and for each the next with the same two."""

    first: npt.NDArray[np.int8]
    following: npt.NDArray[np.int8]
    starts: Integers
    letters: Bytes
    ends: Integers


def marks_of(source: bytes) -> Marks:
    """Find all words."""
    places = np.full(len(_WORDS), -1, np.int64)
    _find(np.frombuffer(source, np.uint8).copy(), _table(), places)
    return Marks(places)


@cache
def _numbers() -> dict[bytes, int]:
    return {word: number for number, word in enumerate(_WORDS)}


@cache
def _table() -> _Table:
    first, following = np.full(1 << 16, -1, np.int8), np.full(len(_WORDS), -1, np.int8)
    for number, word in enumerate(_WORDS):
        key = word[0] << 8 | word[1]
        following[number], first[key] = first[key], number
    in_head = {word for words in PROGRAMS for word in words}
    return _Table(
        first, following, np.cumsum([0, *map(len, _WORDS)]).astype(np.int64),
        np.frombuffer(b"".join(_WORDS), np.uint8).copy(),
        np.array([_HEAD_BYTES if word in in_head else 1 << 62 for word in _WORDS], np.int64),
    )  # fmt: skip


@kernel
def _find(source: Bytes, table: _Table, places: Integers) -> None:
    for place in range(len(source) - 1):
        word = np.int64(table.first[np.uint64(source[place]) << np.uint64(8) | source[place + 1]])
        while word >= 0:
            if places[word] < 0:
                start, end = table.starts[word], table.starts[word + 1]
                length = np.int64(0)
                if place + end - start <= min(np.int64(len(source)), table.ends[word]):
                    while (
                        start + length < end
                        and source[place + length] == table.letters[start + length]
                    ):
                        length += 1
                    if start + length == end:
                        places[word] = place
            word = np.int64(table.following[word])
