"""What is known of each block of a page, as numbers for the model that keeps or drops it, compiled.

Most are those of text-density and boilerplate classifiers (Kohlschütter et al. 2010,
doi:10.1145/1718487.1718542; Vogels et al. 2018, arXiv:1801.02607): size, links, tags and class
words of ancestors, position, the same of the containers and of the neighbours. Sizes count
characters, a Chinese one as three, so that no word has to be found. Order and meaning of the
columns are part of the weights: whoever changes them trains again (`tongwen curate
train-extractor`).
"""

import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html import blocks, tags
from tongwen.curate.html.blocks import Rows
from tongwen.curate.html.class_words import GROUPS
from tongwen.curate.html.cues import CUES, cue_table
from tongwen.curate.html.forest import Forest, add_log_odds
from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, Integers, look_up
from tongwen.curate.html.page import Page
from tongwen.curate.html.tree import IS_HIDDEN, NAME_END, NAME_START, PARENT, TAG
from tongwen.kernels import ZERO, inner, kernel

Features = npt.NDArray[np.float32]

# Tags whose presence above a block is a feature each.
_TAG_GROUPS = (
    "article", "main", "section", "nav", "header", "footer", "aside", "form", "table", "ul ol",
    "li", "dl", "dd", "dt", "p", "blockquote", "pre", "figure", "figcaption", "button", "details",
    "summary", "h1", "h2", "h3", "h4 h5 h6", "td", "th", "div", "center", "label"
    " legend fieldset", "menu",
    "address", "hgroup",
)  # fmt: skip
_TAGS = len(_TAG_GROUPS)
_CLASSES = len(GROUPS)
_NEAR = 8  # of an element's own tag and words; one less for each element between, at least 1

# Of the block itself.
(
    SIZE, LENGTH, LINK_SHARE, LINKS, WORDS, DIGITS, UPPERS, COMMAS, STOPS, END_MARK, FIRST_LETTER,
    HAN_SHARE, KIND, LEVEL, INDENT, LINES, REPEATS, TITLE_SHARE, TITLE_COVER, SIGNS, MARKS, YEARS,
    INDEX_SHARE, PLACE_SHARE, BEFORE, AFTER, SINCE_HEADING, HEADING_LEVEL, HEADINGS_1, SINCE_H1,
    SINCE_LONG, UNTIL_LONG, SINCE_LONG_SIZE, UNTIL_LONG_SIZE, DEPTH, HIDDEN, IN_PARENT, SIBLINGS,
    OWN,
) = range(39)  # fmt: skip
_LEVELS = (0, 1, 2, 3, 5, 8)  # so many elements up
_PER_LEVEL = 4  # share of the page's text, links, blocks, share in long blocks
_ALIKE_LEVELS = (0, 1, 2, 3)
_PER_ALIKE = 4  # elements of the same tag and class: how many, text, links, long
_NEIGHBOURS = (-3, -2, -1, 1, 2, 3)
_PER_NEIGHBOUR = 6  # columns of one, as `_describe_neighbours` fills them
_PAGE = 12
HINTS = 13
_AT_LEVELS = OWN
_AT_ALIKE = _AT_LEVELS + len(_LEVELS) * _PER_LEVEL
_AT_NEIGHBOURS = _AT_ALIKE + len(_ALIKE_LEVELS) * _PER_ALIKE
_AT_PAGE = _AT_NEIGHBOURS + len(_NEIGHBOURS) * _PER_NEIGHBOUR
_AT_HINTS = _AT_PAGE + _PAGE
_AT_CUES = _AT_HINTS + HINTS
_AT_TAGS = _AT_CUES + len(CUES)
_AT_CLASSES = _AT_TAGS + _TAGS
FEATURES = _AT_CLASSES + _CLASSES
_BLOCKS_AT_ONCE = 32
_HOPELESS = 0.03  # a block of a lower first chance is not looked at again
SECONDS = 25
"""Columns that the second forest looks at besides."""
LONG_SIZE = 100
"""A block of this size, most of it outside of links, is long: it speaks for running text."""

_TYPE_MARKS = (
    (b'"@type"', re.compile(rb'"@type"\s{0,3}:\s{0,3}\[?\s{0,3}"(\w+)')),
    (b"schema.org/", re.compile(rb"schema\.org/(\w+)")),
)
_MOST_TYPES = 40  # a shop lists thousands of products; the first types say what the page is
_OPEN_GRAPH = re.compile(rb"og:type[\"'][^>]{0,60}content=[\"']([\w.]+)")
_HINT_TYPES = (
    b"Article NewsArticle BlogPosting TechArticle Report ReportageNewsArticle ScholarlyArticle",
    b"Product Offer AggregateOffer ProductGroup",
    b"DiscussionForumPosting QAPage Question Answer Comment",
    b"ItemList CollectionPage SearchResultsPage OfferCatalog Blog",
    b"FAQPage",
    b"Recipe HowTo",
    b"Organization LocalBusiness Service ProfessionalService",
)
_HINT_OF_TYPE = {name: n for n, names in enumerate(_HINT_TYPES) for name in names.split()}
_HINT_OF_GRAPH = {b"article": 7, b"product": 8, b"og": 8, b"website": 9}
_HINT_WORDS = (
    (10, (b"phpbb", b"discourse", b"vbulletin", b"xenforo", b"Discuz", b"stackexchange", b"smf_")),
    (11, (b"sphinx", b"mkdocs", b"docusaurus", b"readthedocs", b"javadoc", b"vuepress",
          b"doxygen")),
    (12, (b"woocommerce", b"Shopify", b"shopify", b"magento", b"Magento", b"add-to-cart",
          b"BigCommerce")),
)  # fmt: skip


_HEAD_BYTES = 30_000  # where a page names the program that made it


@cache
def _tag_groups() -> Integers:
    groups = np.full(tags.TAGS, -1, np.int64)
    numbers = tags.numbers_of_tags()
    for place, listed in enumerate(_TAG_GROUPS):
        for name in listed.split():
            groups[numbers[name]] = place
    return groups


def page_hints(source: bytes) -> Features:
    """What a page says of its type in metadata and by the names of the programs that made it."""
    hints = np.zeros(HINTS, np.float32)
    for mark, pattern in _TYPE_MARKS:
        at = source.find(mark)
        for _ in range(_MOST_TYPES):
            if at < 0:
                break
            found = pattern.match(source, at)
            place = _HINT_OF_TYPE.get(found[1]) if found else None
            if place is not None:
                hints[place] += 1
            at = source.find(mark, at + len(mark))
    at = source.find(b"og:type")
    graph = _OPEN_GRAPH.match(source, at) if at >= 0 else None
    if graph:
        place = _HINT_OF_GRAPH.get(graph[1].split(b".")[0].lower())
        if place is not None:
            hints[place] = 1
    head = source[:_HEAD_BYTES]
    for place, words in _HINT_WORDS:
        hints[place] = any(word in head for word in words)
    return hints


class Surveyed(NamedTuple):
    """What rows are assembled from.

    Attributes:
        elements, rows: of the page; `rows` are its blocks.
        own: the columns before `_AT_LEVELS` of each block, and behind them its cues.
        near: for each element how near each tag and class word is, from it upwards.
        sums: for each element characters, linked ones, blocks and characters in long blocks inside;
            then see `_number_alike`.
        page: what is the same for all blocks.
    """

    elements: Rows
    rows: Rows
    own: Features
    near: Bytes
    sums: npt.NDArray[np.float64]
    page: Features


def survey(page: Page) -> Surveyed:
    """Go over a page once; takes time and memory in proportion to its blocks and elements."""
    surveyed = Surveyed(
        page.elements,
        page.blocks,
        np.zeros((len(page.blocks), OWN + len(CUES)), np.float32),
        np.zeros((len(page.elements), _TAGS + _CLASSES), np.uint8),
        np.zeros((len(page.elements), 8), np.float64),
        np.concatenate([np.zeros(_PAGE, np.float32), page_hints(page.source)]),
    )
    if len(page.blocks):
        _survey(
            surveyed, _tag_groups(), cue_table(), page.bits,
            np.frombuffer(page.text, np.uint8), np.frombuffer(page.source, np.uint8),
            np.frombuffer(page.title.encode() or b" ", np.uint8),
            np.zeros(_table_size(4 * len(page.elements)), np.int64),
            np.zeros(_table_size(4 * len(page.blocks) + 4096), np.int64),
        )  # fmt: skip
    return surveyed


def features_of(surveyed: Surveyed) -> Features:
    """A row of numbers for each block."""
    rows = np.zeros((len(surveyed.rows), FEATURES), np.float32)
    _assemble_all(surveyed, rows)
    return rows


def chances_of(surveyed: Surveyed, forest: Forest, seconds: Features | None = None) -> Features:
    """How likely each block is main content, 0 to 1, as one forest says."""
    chances = np.zeros(len(surveyed.rows), np.float32)
    if seconds is None:
        seconds = np.zeros((0, SECONDS), np.float32)
    rows = np.zeros((_BLOCKS_AT_ONCE, FEATURES + SECONDS), np.float32)
    places, odds = np.zeros(_BLOCKS_AT_ONCE, np.int64), np.zeros(_BLOCKS_AT_ONCE, np.float32)
    _chances(surveyed, forest, rows, places, odds, seconds, chances)
    return chances


def seconds_of(surveyed: Surveyed, chances: Features) -> Features:
    """A row of numbers for each block: what the first forest thinks of those around it."""
    rows = np.zeros((len(chances), SECONDS), np.float32)
    if len(chances):
        _fill_seconds(surveyed, chances, np.zeros((len(surveyed.elements), 4)), rows)
    return rows


def judge(surveyed: Surveyed, first: Forest, second: Forest) -> Features:
    """How likely each block is main content: the second forest sees the first's answers."""
    seconds = seconds_of(surveyed, chances_of(surveyed, first))
    return chances_of(surveyed, second, seconds)


def _table_size(entries: int) -> int:
    return 1 << max(4, entries.bit_length())


@kernel
def _survey(
    page: Any, tag_groups: Integers, cues: Any, bits: Integers, text: Bytes, source: Bytes,
    title: Bytes, alike: Any, seen: Any,
) -> None:  # fmt: skip
    """Fill in a `Surveyed`; `alike` and `seen` are hash tables, empty at first."""
    elements, rows, sums, count = page.elements, page.rows, page.sums, len(page.rows)
    _inherit(tag_groups, elements, bits, page.near)
    _survey_texts(cues, rows, text, title, seen, page.own)
    _sum_up(elements, rows, sums)
    _number_alike(elements, source, sums, alike)
    _places(elements, rows, sums, page.own)
    han = 0.0
    for n in range(count):
        page.page[7 + rows[n, blocks.KIND]] += 1.0 / count
        han += page.own[n, HAN_SHARE] * rows[n, blocks.LENGTH]
    total = max(sums[0, 0], 1.0)
    page.page[0], page.page[1], page.page[2] = count, total, sums[0, 1] / total
    page.page[3], page.page[4], page.page[5] = sums[0, 3] / total, han / total, total / count
    page.page[6] = len(elements)


@kernel
def _assemble_all(page: Any, out: Features) -> None:
    for n in range(len(out)):
        _assemble(page, n, out[n])


@kernel
def _chances(
    page: Any, forest: Any, rows: Features, places: Integers, odds: Features, seconds: Features,
    out: Features,
) -> None:  # fmt: skip
    """`rows`, `places` and `odds` are scratch; `seconds` is empty for the first forest.

    A tree goes over many blocks before the next one does: it stays in the nearest cache.
    """
    count, n = ZERO, ZERO
    while n < len(out) or count:
        if n < len(out) and count < len(rows):
            if len(seconds) and seconds[n, 0] < _HOPELESS:
                out[n] = seconds[n, 0]
            else:
                _assemble(page, n, rows[count])
                if len(seconds):
                    for column in range(SECONDS):
                        rows[count, FEATURES + column] = seconds[n, column]
                places[count], odds[count] = n, 0.0
                count += 1
            n += 1
            continue
        add_log_odds(forest, rows, count, odds)
        for place in range(count):
            out[places[place]] = 1.0 / (1.0 + np.exp(-np.float64(odds[place])))
        count = ZERO


@kernel
def _fill_seconds(page: Any, chances: Features, pools: Any, out: Features) -> None:
    """Means of the first chances, weighted by length, near, in containers and in what is alike."""
    elements, rows, sums, count = page.elements, page.rows, page.sums, len(chances)
    for n in range(count):
        element, weight = rows[n, blocks.ELEMENT], rows[n, blocks.LENGTH] + 5.0
        pools[element, 0] += weight
        pools[element, 1] += weight * chances[n]
    for index in range(len(elements) - 1, 0, -1):
        pools[elements[index, PARENT], 0] += pools[index, 0]
        pools[elements[index, PARENT], 1] += pools[index, 1]
    for index in range(len(elements)):
        group = np.int64(sums[index, 4])
        pools[group, 2] += pools[index, 0]
        pools[group, 3] += pools[index, 1]
    whole, before, best = max(pools[0, 0], 1.0), 0.0, np.float32(0.0)
    for n in range(count):
        best = max(best, chances[n])
    for n in range(count):
        row = out[n]
        row[0] = chances[n]
        for offset in range(1, 6):
            row[2 * offset - 1] = chances[n - offset] if n >= offset else -1
            row[2 * offset] = chances[n + offset] if n + offset < count else -1
        at, place = np.int64(rows[n, blocks.ELEMENT]), 11
        for level in range(9):
            if _level_place(level) >= 0:
                row[place] = pools[at, 1] / max(pools[at, 0], 1.0)
                place += 1
            if level < 4:
                group = np.int64(sums[at, 4])
                row[17 + level] = pools[group, 3] / max(pools[group, 2], 1.0)
            at = max(np.int64(elements[at, PARENT]), np.int64(0))
        row[21], row[22] = pools[0, 1] / whole, best
        row[23] = before / max(pools[0, 1], 1.0)  # so much of what is kept comes before
        before += (rows[n, blocks.LENGTH] + 5.0) * chances[n]
        near, weights = 0.0, 0.0
        for other in range(max(0, n - 12), min(count, n + 13)):
            near += (rows[other, blocks.LENGTH] + 5.0) * chances[other]
            weights += rows[other, blocks.LENGTH] + 5.0
        row[24] = near / weights


@inner
def _assemble(page: Any, n: int, row: Features) -> None:
    """Write the numbers of a block."""
    elements, rows, sums, own = page.elements, page.rows, page.sums, page.own[n]
    element, total = np.int64(rows[n, blocks.ELEMENT]), max(sums[0, 0], 1.0)
    for column in range(OWN):
        row[column] = own[column]
    for column in range(_AT_TAGS - _AT_CUES):
        row[_AT_CUES + column] = own[OWN + column]
    at = element
    for level in range(9):
        place = _level_place(level)
        if place >= 0:
            start = _AT_LEVELS + place * _PER_LEVEL
            size = max(sums[at, 0], 1.0)
            row[start] = sums[at, 0] / total
            row[start + 1] = sums[at, 1] / size
            row[start + 2] = sums[at, 2]
            row[start + 3] = sums[at, 3] / size
        if level < 4:
            group, start = np.int64(sums[at, 4]), _AT_ALIKE + level * _PER_ALIKE
            size = max(sums[group, 6], 1.0)
            row[start] = sums[group, 5]
            row[start + 1] = sums[group, 6] / total
            row[start + 2] = sums[group, 7] / size
            row[start + 3] = size / sums[group, 5]
        at = max(np.int64(elements[at, PARENT]), np.int64(0))
    _describe_neighbours(elements, rows, n, page.own, row)
    for column in range(_AT_CUES - _AT_PAGE):
        row[_AT_PAGE + column] = page.page[column]
    near = page.near[element]
    for column in range(FEATURES - _AT_TAGS):
        row[_AT_TAGS + column] = near[column]


@inner
def _level_place(level: int) -> Any:
    return level if level <= 3 else 4 if level == 5 else 5 if level == 8 else -1


@inner
def _inherit(tag_groups: Integers, elements: Rows, bits: Integers, near: Any) -> None:
    """How near each tag and class word is, from an element upwards."""
    for index in range(len(elements)):
        own = near[index]
        if index:
            above = near[elements[index, PARENT]]
            for place in range(len(own)):
                own[place] = above[place] - 1 if above[place] > 1 else above[place]
        group = tag_groups[elements[index, TAG]]
        if group >= 0:
            own[group] = _NEAR
        found = bits[index]
        place = _TAGS
        while found:
            if found & 1:
                own[place] = _NEAR
            found >>= 1
            place += 1


@inner
def _survey_texts(
    cues: Any, rows: Rows, text: Bytes, title: Bytes, seen: Any, out: Features
) -> None:
    """Letters, marks and words of each block; how often its text is on the page."""
    mask = len(seen) - 1
    title_words = _note_words(title, seen)
    for n in range(len(rows)):
        row, start, end = out[n], rows[n, blocks.START], rows[n, blocks.END]
        whole, word = HASH_START, HASH_START
        letters, digits, uppers, commas, stops, signs, marks, words, lines, han = (
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        shared, length, run, years = 0, 0, 0, 0
        previous = HASH_START
        for position in range(start, end + 1):
            byte = np.int64(text[position]) if position < end else np.int64(32)
            if 65 <= byte <= 90:
                uppers += 1
                byte += 32
            is_digit = 48 <= byte <= 57
            if is_digit:
                digits += 1
                run += 1
            else:
                years += int(run == 4)
                run = 0
            if is_digit or 97 <= byte <= 122 or byte >= 128:
                letters += 1
                word = (word ^ np.uint64(byte)) * HASH_PRIME
                length += 1
                is_han = byte >= 0xE3 and byte <= 0xE9
                han += int(is_han)
                if byte >= 0xE2 and position + 2 < end:
                    second, third = text[position + 1], text[position + 2]
                    commas += int(byte == 0xEF and second == 0xBC and third == 0x8C)
                    commas += int(byte == 0xE3 and second == 0x80 and third == 0x81)
                    stops += int(byte == 0xE3 and second == 0x80 and third == 0x82)
                    stops += int(
                        byte == 0xEF and second == 0xBC and (third == 0x81 or third == 0x9F)
                    )
            else:
                if byte == 44:
                    commas += 1
                elif byte == 46 or byte == 33 or byte == 63:
                    stops += int(position + 1 >= end or text[position + 1] <= 32)
                elif byte == 10:
                    lines += 1
                elif byte == 124 or byte == 47 or byte == 62 or byte == 35 or byte == 64:
                    signs += 1
                elif byte == 36 or byte == 37:
                    marks += 1
            is_end = not (is_digit or 97 <= byte <= 122 or byte >= 128)
            # Chinese has no spaces: each two or three characters count as a word.
            is_end |= length >= 6 and position + 1 < end and text[position + 1] >= 0xE3
            if is_end and length:
                words += 1
                shared += int(_has(seen, word ^ np.uint64(1)))
                if words <= 2:
                    found = look_up(cues, word)
                    if words == 2:
                        found = max(found, look_up(cues, previous ^ (word * HASH_PRIME)))
                    if found >= 0:
                        row[OWN + found] = 3 - words
                previous, word, length = word, HASH_START, 0
            whole = (whole ^ np.uint64(byte)) * HASH_PRIME
        row[SIZE], row[LENGTH] = rows[n, blocks.SIZE], rows[n, blocks.LENGTH]
        characters = max(1, rows[n, blocks.LENGTH])
        row[LINK_SHARE] = rows[n, blocks.LINKED_LENGTH] / characters
        row[LINKS], row[WORDS], row[DIGITS] = rows[n, blocks.LINKS], words, digits / characters
        row[UPPERS], row[COMMAS], row[STOPS] = uppers / characters, commas, stops
        row[HAN_SHARE] = min(1.0, han / characters)
        row[KIND], row[LEVEL] = rows[n, blocks.KIND], rows[n, blocks.DETAIL]
        if rows[n, blocks.KIND] == blocks.CODE_KIND:
            row[LEVEL] = 0
        row[INDENT], row[LINES], row[YEARS] = rows[n, blocks.BLOCK_INDENT], lines, years
        row[SIGNS], row[MARKS] = signs, marks
        row[TITLE_SHARE] = shared / max(1, words)
        row[TITLE_COVER] = shared / max(1, title_words)
        row[END_MARK] = _end_mark(text, start, end)
        row[FIRST_LETTER] = _letter_class(text[start])
        key = np.int64(whole >> np.uint64(1)) | 1
        place = np.int64(key >> 7) & mask
        while seen[place] != 0 and seen[place] >> 8 != key >> 8:
            place = (place + 1) & mask
        if seen[place] == 0:
            seen[place] = key & ~255
        if seen[place] & 255 < 255:
            seen[place] += 1
        out[n, REPEATS] = place
    for n in range(len(rows)):
        out[n, REPEATS] = seen[np.int64(out[n, REPEATS])] & 255


@inner
def _note_words(title: Bytes, seen: Any) -> Any:
    """Put the words of the title into a table; their number."""
    word, length, words = HASH_START, 0, 0
    for position in range(len(title) + 1):
        byte = np.int64(title[position]) if position < len(title) else np.int64(32)
        if 65 <= byte <= 90:
            byte += 32
        is_part = 48 <= byte <= 57 or 97 <= byte <= 122 or byte >= 128
        if is_part:
            word = (word ^ np.uint64(byte)) * HASH_PRIME
            length += 1
        is_wide = length >= 6 and position + 1 < len(title) and title[position + 1] >= 0xE3
        if (not is_part or is_wide) and length:
            words += 1
            if words < 512:
                _put(seen, word ^ np.uint64(1))
            word, length = HASH_START, 0
    return words


@inner
def _put(seen: Any, word: Any) -> None:
    key, mask = np.int64(word >> np.uint64(1)) | 1, len(seen) - 1
    place = np.int64(key >> 7) & mask
    while seen[place] != 0 and seen[place] >> 8 != key >> 8:
        place = (place + 1) & mask
    seen[place] = key & ~255


@inner
def _has(seen: Any, word: Any) -> Any:
    key, mask = np.int64(word >> np.uint64(1)) | 1, len(seen) - 1
    place = np.int64(key >> 7) & mask
    while seen[place] != 0:
        if seen[place] >> 8 == key >> 8:
            return True
        place = (place + 1) & mask
    return False


@inner
def _end_mark(text: Bytes, start: int, end: int) -> Any:
    """3 for the end of a sentence, 2 for a colon, 1 for another sign, 0 for a letter."""
    last = text[end - 1]
    if last == 46 or last == 33 or last == 63:
        return 3
    if last == 58:
        return 2
    if last == 34 or last == 39 or last == 41:
        before = text[end - 2] if end - start > 1 else last
        return 3 if before == 46 or before == 33 or before == 63 else 1
    if end - start >= 3 and text[end - 3] >= 0xE2:
        first, second = text[end - 3], text[end - 2]
        if first == 0xE3 and second == 0x80:
            return 3 if last == 0x82 else 1
        if first == 0xEF and second == 0xBC:
            return 3 if last == 0x81 or last == 0x9F else 2 if last == 0x9A else 1
        if first == 0xE2 and second == 0x80:
            return 3 if last == 0x9D or last == 0xA6 else 1
        return 0
    is_letter = 48 <= last <= 57 or 97 <= (last | 32) <= 122 or last >= 128
    return 0 if is_letter else 1


@inner
def _letter_class(byte: int) -> Any:
    if 97 <= byte <= 122:
        return 0
    if 65 <= byte <= 90:
        return 1
    if 48 <= byte <= 57:
        return 2
    return 4 if byte >= 0xE3 else 3


@inner
def _is_long(row: Any) -> Any:
    return row[blocks.SIZE] >= LONG_SIZE and 2 * row[blocks.LINKED_LENGTH] <= row[blocks.LENGTH]


@inner
def _sum_up(elements: Rows, rows: Rows, sums: Any) -> None:
    """Characters, linked ones, blocks and characters in long blocks of everything inside."""
    for n in range(len(rows)):
        element = rows[n, blocks.ELEMENT]
        sums[element, 0] += rows[n, blocks.LENGTH]
        sums[element, 1] += rows[n, blocks.LINKED_LENGTH]
        sums[element, 2] += 1
        if _is_long(rows[n]):
            sums[element, 3] += rows[n, blocks.LENGTH]
    for index in range(len(elements) - 1, 0, -1):
        for column in range(4):
            sums[elements[index, PARENT], column] += sums[index, column]


@inner
def _number_alike(elements: Rows, source: Bytes, sums: Any, table: Any) -> None:
    """Elements of one tag and one class stand for one another: templates become visible.

    Column 4 is the first of them, whose columns 5 to 7 have their number, characters and links.
    """
    mask = len(table) // 2 - 1
    for index in range(len(elements)):
        key = HASH_START ^ np.uint64(elements[index, TAG])
        start, end = elements[index, NAME_START], elements[index, NAME_END]
        if start < 0:  # without a class: those of the same parent
            key = (key ^ np.uint64(elements[index, PARENT] + 1)) * HASH_PRIME
        for position in range(max(start, 0), end):
            key = (key ^ np.uint64(source[position])) * HASH_PRIME
        key |= np.uint64(1)
        place = np.int64(key >> np.uint64(20)) & mask
        signed = np.int64(key)
        while table[2 * place] != 0 and table[2 * place] != signed:
            place = (place + 1) & mask
        if table[2 * place] == 0:
            table[2 * place], table[2 * place + 1] = signed, index
        first = table[2 * place + 1]
        sums[index, 4] = first
        sums[first, 5] += 1
        sums[first, 6] += sums[index, 0]
        sums[first, 7] += sums[index, 1]


@inner
def _places(elements: Rows, rows: Rows, sums: Any, out: Features) -> None:
    """Where each block is on the page, and how far the next long texts are."""
    count = len(rows)
    before, since_heading, level, headings, since_h1 = 0.0, 0, 0.0, 0, -1.0
    since_long, since_long_size = 100, 5000.0
    total = max(sums[0, 0], 1.0)
    parent, siblings = -1, 0
    for n in range(count):
        row, length = out[n], rows[n, blocks.LENGTH]
        element = rows[n, blocks.ELEMENT]
        if rows[n, blocks.KIND] == blocks.HEADING_KIND:
            since_heading, level = 0, rows[n, blocks.DETAIL]
            if level == 1:
                headings += 1
                since_h1 = 0.0
        row[INDEX_SHARE], row[PLACE_SHARE] = n / count, before / total
        row[BEFORE], row[AFTER] = before, total - before - length
        row[SINCE_HEADING], row[HEADING_LEVEL] = since_heading, level
        row[HEADINGS_1], row[SINCE_H1] = headings, since_h1
        row[SINCE_LONG], row[SINCE_LONG_SIZE] = since_long, since_long_size
        since_heading += 1
        before += length
        if since_h1 >= 0:
            since_h1 += length
        since_long, since_long_size = min(since_long + 1, 100), since_long_size + length
        if _is_long(rows[n]):
            since_long, since_long_size = 0, 0.0
        above = elements[element, PARENT]
        siblings = siblings + 1 if above == parent else 0
        parent = above
        row[IN_PARENT] = siblings
        depth, hidden, at = 0, 0, element
        while at > 0:
            depth += 1
            hidden += elements[at, IS_HIDDEN]
            at = elements[at, PARENT]
        row[DEPTH], row[HIDDEN] = depth, hidden
    until, until_size = 100, 5000.0
    for n in range(count - 1, -1, -1):
        out[n, UNTIL_LONG], out[n, UNTIL_LONG_SIZE] = until, until_size
        until, until_size = min(until + 1, 100), until_size + rows[n, blocks.LENGTH]
        if _is_long(rows[n]):
            until, until_size = 0, 0.0
        element = rows[n, blocks.ELEMENT]
        out[n, SIBLINGS] = sums[max(elements[element, PARENT], 0), 2]


@inner
def _describe_neighbours(elements: Rows, rows: Rows, n: int, out: Features, row: Features) -> None:
    """Size, links, kind and end of the blocks around one, and how close in the tree they are."""
    own = rows[n, blocks.ELEMENT]
    place = _AT_NEIGHBOURS
    for offset in range(-3, 4):
        if offset == 0:
            continue
        other = n + offset
        if 0 <= other < len(rows):
            row[place] = rows[other, blocks.SIZE]
            row[place + 1] = out[other, LINK_SHARE]
            row[place + 2] = rows[other, blocks.KIND]
            row[place + 3] = out[other, END_MARK]
            row[place + 4] = _steps_up(elements, own, rows[other, blocks.ELEMENT])
            row[place + 5] = elements[rows[other, blocks.ELEMENT], TAG] == elements[own, TAG]
        else:
            row[place] = -1
            for column in range(1, _PER_NEIGHBOUR):
                row[place + column] = 0
        place += _PER_NEIGHBOUR


@inner
def _steps_up(elements: Rows, own: int, other: int) -> Any:
    """How many levels up the nearest element is that holds both; at most 12."""
    for steps in range(12):
        while other > own:  # elements are numbered in the order of the page
            other = elements[other, PARENT]
        if other == own:
            return steps
        own = elements[own, PARENT]
    return 12
