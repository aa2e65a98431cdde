"""Kernels for repeated spans: window hashes, the sampling of them, cuts at the ends of sentences.

All work on the units of one text, see `piece_kernels.placed_units`.
"""

from typing import Any

import numpy as np

from tongwen.curate.repeats.units import Flags, Places, Units
from tongwen.curate.text.characters import CodePoints, code_points
from tongwen.curate.text.units import GOLDEN, SECOND, Hashes, mix
from tongwen.kernels import ZERO, inner, kernel

_NEWLINE = np.uint32(10)


def _table(characters: str) -> Flags:
    """Which code points below U+10000 are among some characters."""
    table = np.zeros(1 << 16, bool)
    table[[ord(character) for character in characters]] = True
    return table


_WIDE_ENDS = _table("。！？；…")
_NARROW_ENDS = _table(".!?")
_CLOSERS = _table("”’\"')]）」』】》。！？…!?.")


@inner(allocates=True)
def _rolled(hashes: Hashes, size: int, base: np.uint64) -> Hashes:
    """A hash of every run of `size` units, by a rolling polynomial modulo 2^64."""
    number = len(hashes) - size + 1
    keys = np.empty(max(0, number), np.uint64)
    if number < 1:
        return keys
    power, value = np.uint64(1), np.uint64(0)
    for place in range(size - 1):
        power *= base
        value = value * base + hashes[place]
    for start in range(number):
        value = value * base + hashes[start + size - 1]
        keys[start] = mix(value)
        value -= hashes[start] * power
    return keys


@inner(allocates=True)
def _selected(keys: Hashes, window: int) -> Places:
    """For every window of keys the place of its smallest, the last of equal ones."""
    number = len(keys) - window + 1
    places = np.empty(max(0, number), np.int64)
    best = -1
    for start in range(number):
        end = start + window
        if best < start:
            best = start
            for place in range(start + 1, end):
                if keys[place] <= keys[best]:
                    best = place
        elif keys[end - 1] <= keys[best]:
            best = end - 1
        places[start] = best
    return places


def gram_units(units: int) -> int:
    """Length of the runs that are sampled, for repeats of at least so many units."""
    return (units + 1) // 2


@kernel(allocates=True)
def _anchors(hashes: Hashes, units: int, gram: int) -> Any:
    keys = _rolled(hashes, gram, GOLDEN + np.uint64(2 * units))
    selected = _selected(keys, units - gram + 1)
    number = 0
    for place in range(len(selected)):
        # Windows move on one unit at a time, so equal selections are neighbours. Written over
        # `keys` and `selected`: the n-th selected run lies at n or later.
        if place == 0 or selected[place] != selected[number - 1]:
            selected[number] = selected[place]
            number += 1
    found = np.empty(number, np.uint64)
    for place in range(number):
        found[place] = keys[selected[place]]
    return found, selected[:number].copy()


def anchors(hashes: Hashes, units: int) -> tuple[Hashes, Places]:
    """Keys and places of the sampled runs of a text, by winnowing (Schleimer, Wilkerson and Aiken
    2003): of any two equal runs of `units` units, the same run inside them is sampled. About one
    in `units` / 4 is.
    """
    keys, places = _anchors(hashes, units, gram_units(units))
    return keys, places


@kernel(allocates=True)
def _windows(hashes: Hashes, units: int, gram: int, repeated: Places) -> Any:
    # Every window of `units` selects one short n-gram inside it, the same in every text, so windows
    # whose n-gram is in one text only need no comparison: most of the web ends here.
    selected = _selected(_rolled(hashes, gram, GOLDEN + np.uint64(2 * units)), units - gram + 1)
    is_repeated = np.zeros(len(hashes), np.bool_)
    for place in range(len(repeated)):
        is_repeated[repeated[place]] = True
    keys = _rolled(hashes, units, SECOND + np.uint64(2 * units))
    number = 0
    for start in range(len(selected)):
        if is_repeated[selected[start]]:
            keys[number], selected[number] = keys[start], start
            number += 1
    return keys[:number].copy(), selected[:number].copy()


def windows(hashes: Hashes, units: int, repeated: Places) -> tuple[Hashes, Places]:
    """Keys and first units of all runs of `units` units whose sampled run is one of those at
    `repeated`: no other run of this length can stand elsewhere too.
    """
    keys, starts = _windows(hashes, units, gram_units(units), repeated)
    return keys, starts


@kernel(allocates=True)
def copies_of_first(
    keys: Hashes, order: Places, first: Hashes, second: Hashes, records: Hashes, units: Any
) -> Any:
    """Of rows sorted by `order`, those that are not the preferred one of their key, and that one.

    Preference: `first`, `second`, record, unit.
    """
    copies = np.empty(len(order), np.int64)
    kept = np.empty(len(order), np.int64)
    number = start = 0
    while start < len(order):
        end = start + 1
        best = order[start]
        while end < len(order) and keys[order[end]] == keys[best]:
            row = order[end]
            if first[row] != first[best]:
                is_better = first[row] < first[best]
            elif second[row] != second[best]:
                is_better = second[row] < second[best]
            elif records[row] != records[best]:
                is_better = records[row] < records[best]
            else:
                is_better = units[row] < units[best]
            if is_better:
                best = row
            end += 1
        for place in range(start, end):
            if order[place] != best:
                copies[number], kept[number] = order[place], best
                number += 1
        start = end
    return copies[:number].copy(), kept[:number].copy()


def sentence_cuts(
    text: str, units: Units, covered: Flags, least_units: int
) -> tuple[Places, Places]:
    """The whole sentences, blocks of code and tables that lie in repeated runs: starts and ends in
    characters, in order.

    Args:
        text: the text.
        units: its units.
        covered: which of them are repeated, [units].
        least_units: sentences that follow one another are cut when they hold so many units.
    """
    starts, ends = _sentence_cuts(
        code_points(text), units.starts, units.ends, covered, least_units,
        _WIDE_ENDS, _NARROW_ENDS, _CLOSERS,
    )  # fmt: skip
    return starts, ends


@inner
def _is_in(table: Flags, point: np.uint32) -> Any:
    return point < len(table) and table[point]


@inner
def _sentence_end(
    points: CodePoints, start: int, wide: Flags, narrow: Flags, closers: Flags
) -> int:
    """Where the sentence ends that begins at `start`, the newline left out."""
    place = start
    while place < len(points) and points[place] != _NEWLINE:
        point = points[place]
        place += 1
        is_wide = _is_in(wide, point)
        if is_wide or _is_in(narrow, point):
            while place < len(points) and _is_in(closers, points[place]):
                is_wide |= _is_in(wide, points[place])
                place += 1
            if is_wide or place == len(points) or points[place] <= 0x20:
                while place < len(points) and points[place] == 0x20:
                    place += 1
                return place
    return place


@kernel(allocates=True)
def _sentence_cuts(
    points: CodePoints,
    unit_starts: Places,
    unit_ends: Places,
    covered: Flags,
    least_units: int,
    wide: Flags,
    narrow: Flags,
    closers: Flags,
) -> Any:
    starts = np.empty(len(unit_starts), np.int64)
    ends = np.empty(len(unit_starts), np.int64)
    number = 0  # cuts that stand
    pending = 0  # cuts of the run in hand, after those
    run_units = unit = 0
    start = ZERO
    while unit < len(unit_starts):
        end = _sentence_end(points, start, wide, narrow, closers)
        first = unit
        is_covered = True
        while unit < len(unit_starts) and unit_starts[unit] < end:
            is_covered &= covered[unit]
            end = max(end, unit_ends[unit])  # of a block of code or a table
            unit += 1
        if unit > first:
            if is_covered:
                starts[number + pending], ends[number + pending] = start, end
                pending += 1
                run_units += unit - first
            if not is_covered or unit == len(unit_starts):
                if run_units >= least_units:
                    number += pending
                pending = run_units = 0
        start = end
        while start < len(points) and points[start] == _NEWLINE:
            start += 1
    return starts[:number].copy(), ends[:number].copy()
