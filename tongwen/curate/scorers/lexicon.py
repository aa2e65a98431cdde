"""A lexicon of unsafe terms in three levels, found in one pass over a text.

A file has a term a line: level (1, 2 or 3), category and term, separated by tabs; `#` begins a
comment line. `a&&&b` counts once where both parts occur within `NEAR_CHARACTERS` of each other.
Letters are compared as in `hashing`: lower case, simplified, but digits as they are. A term that
begins or ends with a Latin letter or a digit counts only where no other one adjoins: "ass" is not
found in "class".
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import TABLE_SIZE, CodePoints, code_points, script_tables
from tongwen.curate.text.hash_table import find_slot
from tongwen.curate.text.units import mix
from tongwen.errors import InputError
from tongwen.kernels import ZERO, inner, kernel

NEAR_CHARACTERS = 200  # two or three sentences: farther apart two words are about two things
LEVELS = (1, 2, 3)
JOIN = "&&&"
_MOST_TERM_CHARACTERS = 100  # a line without tabs in the right place would be one endless term
_EMPTY = np.uint64(0)


@dataclass(frozen=True, order=True)
class Term:
    """One entry: all of its parts have to occur near each other."""

    level: int
    category: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Hits:
    """Occurrences in one text, by level (index 1 to 3), and characters of the text."""

    counts: tuple[int, int, int, int]
    characters: int
    categories: tuple[str, ...]

    def per_thousand(self, level: int) -> float:
        """Occurrences of terms of a level for each 1,000 characters, of at least 200."""
        return self.counts[level] * 1_000 / max(self.characters, 200)


def read_lexicon(path: Path) -> list[Term]:
    """The terms of a file.

    Raises:
        InputError: it cannot be read, or a line is none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the lexicon {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the lexicon {path} is not UTF-8", hint="convert it") from error
    return _terms(text, str(path))


@cache
def own_lexicon() -> tuple[Term, ...]:
    """Our own short list: trade in gambling, pornography, loans, drugs, forged papers."""
    text = files("tongwen.curate.scorers").joinpath("lexicon.tsv").read_text(encoding="utf-8")
    return tuple(_terms(text, "lexicon.tsv"))


def _terms(text: str, name: str) -> list[Term]:
    terms = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or fields[0].strip() not in ("1", "2", "3"):
            raise InputError(
                f"line {number} of the lexicon {name} is {line[:80]!r}",
                hint="write level (1, 2 or 3), category and term, separated by tabs",
            )
        parts = tuple(folded(part.strip()) for part in fields[2].split(JOIN))
        if not all(0 < len(part) <= _MOST_TERM_CHARACTERS for part in parts):
            raise InputError(
                f"line {number} of the lexicon {name} has an empty or endless part",
                hint=f"a part has 1 to {_MOST_TERM_CHARACTERS} characters",
            )
        terms.add(Term(int(fields[0]), fields[1].strip(), parts))
    return sorted(terms)


@cache
def _fold_table() -> npt.NDArray[np.uint32]:
    table = script_tables()[0].copy()
    narrow = list(range(0xFF10, 0xFF1A)) + list(range(0xFF21, 0xFF5B))
    for point in [*range(0x250), *range(0x370, 0x530), *narrow]:
        text = unicodedata.normalize("NFKC", chr(point)) if point >= 0xFF00 else chr(point)
        if len(text.lower()) == 1:
            table[point] = ord(text.lower())
    table[[0x09, 0x0A, 0x0D, 0xA0, 0x3000]] = 0x20
    return table


@kernel(allocates=True)
def _fold(points: CodePoints, table: npt.NDArray[np.uint32]) -> CodePoints:
    # Character for character, so that a place in the folded text is one in the text.
    result = np.empty(len(points), np.uint32)
    for place in range(len(points)):
        point = points[place]
        result[place] = table[point] if point < len(table) else point
    return result


def _folded_points(text: str) -> CodePoints:
    points: CodePoints = _fold(code_points(text), _fold_table())
    return points


def folded(text: str) -> str:
    """The form in which terms and texts are compared; as many characters as before."""
    return _folded_points(text).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@inner
def _edge_key(node: int, point: int) -> np.uint64:
    """A node and a character as one number; code points have 21 bits, and the one above them keeps
    the key from being 0.
    """
    return np.uint64((np.uint64(node) << np.uint64(22)) | np.uint64(point) | np.uint64(1 << 21))


@kernel(allocates=True)
def _build(
    flat: CodePoints, offsets: npt.NDArray[np.int64], slots: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A trie as a hash table of edges, and for each node the part that ends there, or -1."""
    edges = np.zeros(slots, np.uint64)
    nodes = np.zeros(slots, np.int64)
    ends = np.full(len(flat) + 1, -1, np.int64)
    number = 0
    for part in range(len(offsets) - 1):
        node = ZERO
        for place in range(offsets[part], offsets[part + 1]):
            key = _edge_key(node, flat[place])
            slot = find_slot(edges, key, mix(key))
            if edges[slot] == _EMPTY:
                number += 1
                edges[slot], nodes[slot] = key, number
            node = nodes[slot]
        ends[node] = part
    return edges, nodes, ends


@inner
def _is_latin(point: int) -> bool:
    return 0x30 <= point <= 0x39 or 0x61 <= point <= 0x7A or 0xC0 <= point < 0x250


@kernel(allocates=True)
def _search(
    points: CodePoints,
    begins: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.uint64],
    nodes: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Every occurrence of a part, as rows (part, place of its last character)."""
    found = np.empty((16, 2), np.int64)
    number = 0
    for start in range(len(points)):
        first = points[start]
        if first >= len(begins) or not begins[first]:
            continue
        if start and _is_latin(first) and _is_latin(points[start - 1]):
            continue
        node = ZERO
        for place in range(start, len(points)):
            key = _edge_key(node, points[place])
            node = nodes[find_slot(edges, key, mix(key))]  # 0, the root, where no term goes on so
            if node == 0:
                break
            if ends[node] < 0:
                continue
            if (
                place + 1 < len(points)
                and _is_latin(points[place])
                and _is_latin(points[place + 1])
            ):
                continue
            if number == len(found):
                longer = np.empty((2 * number, 2), np.int64)
                longer[:number] = found
                found = longer
            found[number, 0] = ends[node]
            found[number, 1] = place
            number += 1
    return found[:number].copy()


class Lexicon:
    """Terms, ready to be searched for."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms: Sequence[Term] = sorted(set(terms))
        parts = sorted({part for term in self.terms for part in term.parts})
        self._parts = parts
        numbers = {part: number for number, part in enumerate(parts)}
        self._simple: dict[int, list[Term]] = {}
        self._joined: list[tuple[Term, list[int]]] = []
        for term in self.terms:
            if len(term.parts) == 1:
                self._simple.setdefault(numbers[term.parts[0]], []).append(term)
            else:
                self._joined.append((term, [numbers[part] for part in term.parts]))
        flat = [code_points(part) for part in parts]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(item) for item in flat], out=offsets[1:])
        points = np.concatenate([np.zeros(0, np.uint32), *flat])
        slots = 1 << max(4, int(2 * len(points) + 1).bit_length())
        self._edges, self._nodes, self._ends = _build(points, offsets, slots)
        self._begins = np.zeros(TABLE_SIZE, np.bool_)
        self._begins[[int(item[0]) for item in flat if item[0] < TABLE_SIZE]] = True

    def find(self, text: str) -> Hits:
        """Count the terms in a text."""
        points = _folded_points(text)
        rows = _search(points, self._begins, self._edges, self._nodes, self._ends)
        counts = [0, 0, 0, 0]
        categories = set()
        places: dict[int, list[int]] = {}
        for part, place in rows.tolist():
            places.setdefault(part, []).append(place)
            for term in self._simple.get(part, ()):
                counts[term.level] += 1
                categories.add(term.category)
        for term, parts in self._joined:
            if all(part in places for part in parts) and _are_near([places[p] for p in parts]):
                counts[term.level] += 1
                categories.add(term.category)
        return Hits(
            (counts[0], counts[1], counts[2], counts[3]), len(text), tuple(sorted(categories))
        )


def _are_near(places: list[list[int]]) -> bool:
    """Whether some occurrence of the first part has one of every other near it."""
    return any(
        all(any(abs(place - first) <= NEAR_CHARACTERS for place in other) for other in places[1:])
        for first in places[0]
    )
